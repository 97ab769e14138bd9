/* SPDX-License-Identifier: MIT-0
 * Softmax over the last axis of int16; the output's scale is 1/32768 and its zero point 0.
 *
 * Exponential and reciprocal are interpolated between 513 values each. Dimension letters: V vectors in a row; C classes
 * of each vector.
 */
#ifndef TC_SOFTMAX_S16_H
#define TC_SOFTMAX_S16_H

#include "tc_fixed_point.h"

typedef struct {
    int32_t vectors;           /* V >= 1 */
    int32_t classes;           /* C, 1..65535 */
    int32_t input_multiplier;  /* Q31: beta times the input's scale, in units of 10 / 65535 */
    int32_t input_shift;       /* -31..30 */
    const int16_t *exp;        /* [513] exp(x), Q0.15, x from -10 to 0 */
    const int16_t *reciprocal; /* [513] 1 / (1 + x), Q0.15, x from 0 to 1 */
} tc_softmax_s16_params;

/* table at 256 + x / 128, interpolated and rounded; x in the range of int16. */
static inline int32_t tc_between_s16(const int16_t *table, int32_t x)
{
    const int16_t *at = table + 256 + (x >> 7);
    return at[0] + (((at[1] - at[0]) * (x & 127) + 64) >> 7);
}

/* One vector; in and out may be the same. */
static inline void tc_softmax_s16_vector(const tc_softmax_s16_params *p, const int8_t *in, int8_t *out)
{
    int32_t largest = INT16_MIN;
    int32_t sum = 0;
    for (int32_t c = 0; c < p->classes; ++c) {
        largest = tc_max(largest, tc_load(in, 2, c));
    }
    for (int32_t c = 0; c < p->classes; ++c) {
        const int32_t scaled = tc_requantize(tc_load(in, 2, c) - largest, p->input_multiplier, p->input_shift);
        const int32_t y = tc_between_s16(p->exp, tc_clamp(scaled + INT16_MAX, INT16_MIN, INT16_MAX));
        tc_store(out, 2, c, y);
        sum += y;
    }
    /* sum = 2^(31 - zeros) * (1 + x) with 0 <= x < 1; x is asked for in units of 2^-16, centred. */
    const int32_t zeros = tc_leading_zeros((uint32_t)sum);
    const int32_t shifted = (int32_t)((((int64_t)sum << (zeros - 1)) + (1 << 13)) >> 14) - (1 << 15) - (1 << 16);
    const int32_t scale = tc_between_s16(p->reciprocal, tc_clamp(shifted, INT16_MIN, INT16_MAX));
    const int32_t right = 31 - zeros;
    for (int32_t c = 0; c < p->classes; ++c) {
        const int32_t y = (tc_load(out, 2, c) * scale + (1 << (right - 1))) >> right;
        tc_store(out, 2, c, tc_clamp(y, 0, INT16_MAX));
    }
}

/* in_rows, out_rows: n_rows rows [V][C] of int16, may be the same; scratch unused. */
static inline void tc_softmax_s16(const tc_softmax_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                  int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t v = 0; v < p->vectors; ++v) {
            const int32_t at = 2 * v * p->classes;
            tc_softmax_s16_vector(p, in_rows[r] + at, out_rows[r] + at);
        }
    }
}

#endif /* TC_SOFTMAX_S16_H */
