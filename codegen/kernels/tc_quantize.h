/* SPDX-License-Identifier: MIT-0
 * From the user's real values to quantized inputs.
 */
#ifndef TC_QUANTIZE_H
#define TC_QUANTIZE_H

#include <stdint.h>

/* (x * scale - mean) / std, every operation rounded to float: the volatile keeps compilers from fusing them. */
static inline float tc_normalize(float x, float scale, float mean, float std)
{
    const volatile float scaled = x * scale;
    const volatile float centred = scaled - mean;
    return centred / std;
}

/* clamp(round(x / scale) + zero_point), halves away from zero; NaN gives the low end. Within low..high: int8 or int16.
 */
static inline int32_t tc_quantize(float x, float scale, int32_t zero_point, int32_t low, int32_t high)
{
    const float limit = 131072.0f;
    float q = x / scale;
    q = q > -limit ? q : -limit;
    q = q < limit ? q : limit;
    int32_t whole = (int32_t)q;
    const float rest = q - (float)whole;
    if (rest >= 0.5f) {
        whole += 1;
    } else if (rest <= -0.5f) {
        whole -= 1;
    }
    whole += zero_point;
    return whole < low ? low : (whole > high ? high : whole);
}

#endif /* TC_QUANTIZE_H */
