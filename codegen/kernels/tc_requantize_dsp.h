/* SPDX-License-Identifier: MIT-0
 *
 * Requantization in two to four instructions per output, byte-exact with TFLite's double rounding. The packer chooses
 * the form per layer and proves it (tinycompress/kernels/requantize_dsp.py).
 *
 *   form 0 (ties)   r = SMMLAR(x, 2Q mod 2^32, x); r += r >> 31; y = SSAT8(SMMLAR(r, 2^(32-s), zero_point))
 *                   any layer whose right shifts s are at least 2
 *   form 1          the same without the second step, where a negative result is clamped anyway (ReLU)
 *   form S          y = SSAT8(SMMLA(x', multiplier, addend) >> S), with x' = x * 2^(k+1), k = S - s >= 1
 *                   where a negative result is clamped anyway (ReLU), or rounding is single; the zero point and both
 *                   rounding constants are in `addend`, the power of two is in the weights and the bias
 */
#ifndef TC_REQUANTIZE_DSP_H
#define TC_REQUANTIZE_DSP_H

#include "tc_lanes_dsp.h"

TC_INLINE int8_t tc_requantize_dsp(int32_t form, int32_t x, int32_t multiplier, int32_t addend, int32_t zero_point)
{
    if (form <= 1) {
        int32_t r = tc_smmlar(x, multiplier, x);
        r += form == 0 && r < 0 ? -1 : 0;
        return (int8_t)tc_saturate8(tc_smmlar(r, addend, zero_point));
    }
    return (int8_t)tc_saturate8(tc_smmla(x, multiplier, addend) >> form);
}

#endif
