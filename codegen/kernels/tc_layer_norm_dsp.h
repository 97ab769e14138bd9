/* SPDX-License-Identifier: MIT-0
 *
 * LayerNorm int8 on Armv7E-M: sums four values at a time, then 13 instructions a value. Shapes as in tc_layer_norm.h.
 */
#ifndef TC_LAYER_NORM_DSP_H
#define TC_LAYER_NORM_DSP_H

#include "tc_layer_norm.h"
#include "tc_requantize_dsp.h"

TC_INLINE tc_layer_norm_scale tc_layer_norm_scaling_dsp(const tc_layer_norm_s8_params *p, const int8_t *in)
{
    int32_t sum = 0, squares = 0, c = 0;
    TC_UNROLL(4)
    for (; c + 4 <= p->channels; c += 4) {
        const uint32_t word = tc_load32(in + c);
        const int32_t even = tc_sxtb16(word), odd = tc_sxtb16_odd(word);
        sum = tc_smlad(even, 0x00010001, sum);
        squares = tc_smlad(even, even, squares);
        sum = tc_smlad(odd, 0x00010001, sum);
        squares = tc_smlad(odd, odd, squares);
    }
    return tc_layer_norm_scaling(p, sum + tc_sum_s8(in + c, p->channels - c),
                                 tc_dot_s8(in + c, in + c, p->channels - c, squares));
}

/* Rows as for tc_layer_norm_s8; double rounding, shift -30..-2: form 0 of tc_requantize_dsp.h. */
TC_INLINE void tc_layer_norm_s8_dsp(const tc_layer_norm_s8_params *p, const int8_t *const *in_rows,
                                    int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t channels = p->channels;
    const int32_t multiplier = tc_shift_left(p->multiplier, 1), addend = tc_shift_left(1, 32 + p->shift);
    (void)scratch;
    for (int32_t i = 0; i < n_rows * p->vectors; i++) {
        const int8_t *in = in_rows[i / p->vectors] + i % p->vectors * channels;
        int8_t *out = out_rows[i / p->vectors] + i % p->vectors * channels;
        const tc_layer_norm_scale s = tc_layer_norm_scaling_dsp(p, in);
        TC_UNROLL(4)
        for (int32_t c = 0; c < channels; c++) {
            const int32_t normalised = tc_smmla(tc_layer_norm_difference(&s, in[c]), s.inverse, s.half) >> s.down;
            out[c] =
                tc_requantize_dsp(0, normalised * p->gamma[c] + p->beta[c], multiplier, addend, p->output_zero_point);
        }
    }
}

#endif
