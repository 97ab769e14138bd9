/* SPDX-License-Identifier: MIT-0
 *
 * One step of a rank-decomposed recurrent filter (SVDF) on Armv7E-M: 4 inputs and a word of the memory at a time.
 * Parameters and shapes are those of tc_svdf.h; the state's zero point is folded into the bias, modulo 2^32.
 */
#ifndef TC_SVDF_DSP_H
#define TC_SVDF_DSP_H

#include "tc_lanes_dsp.h"
#include "tc_svdf.h"

/* acc + sum of a[i] * x[i], i < n; `lanes` are x widened. */
TC_INLINE int32_t tc_svdf_project(const int8_t *a, const int32_t *lanes, int32_t n, int32_t acc)
{
    TC_UNROLL(4)
    for (int32_t i = 0; i < n / 4; i++, a += 4, lanes += 2) {
        const uint32_t weights = tc_load32(a);
        acc = tc_smlad(lanes[0], tc_sxtb16(weights), acc);
        acc = tc_smlad(lanes[1], tc_sxtb16_odd(weights), acc);
    }
    acc += n % 4 > 0 ? a[0] * tc_low_lane(lanes[0]) : 0;
    acc += n % 4 > 1 ? a[1] * tc_low_lane(lanes[1]) : 0;
    acc += n % 4 > 2 ? a[2] * tc_high_lane(lanes[0]) : 0;
    return acc;
}

/* acc plus the products of the elements in two words of int8 or int16. */
TC_INLINE int32_t tc_svdf_products(uint32_t a, uint32_t b, int32_t element_bytes, int32_t acc)
{
    if (element_bytes == 2) {
        return tc_smlad((int32_t)a, (int32_t)b, acc);
    }
    return tc_smlad(tc_sxtb16_odd(a), tc_sxtb16_odd(b), tc_smlad(tc_sxtb16(a), tc_sxtb16(b), acc));
}

/* Shifts the memory `from` by one into `to` (they may be the same), appends `newest`, and returns acc plus the memory
 * weighted. */
TC_INLINE int32_t tc_svdf_remember(const tc_svdf_s8_params *p, const int8_t *weights, const int8_t *from, int8_t *to,
                                   int32_t newest, int32_t acc)
{
    const int32_t step = p->state_bytes;
    const int32_t last = (p->memory - 1) * step;
    int32_t at = 0;
    TC_UNROLL(4)
    for (; at + 4 <= last; at += 4) {
        const uint32_t word = tc_load32(from + at + step);
        tc_store32(to + at, word);
        acc = tc_svdf_products(word, tc_load32(weights + at), step, acc);
    }
    for (int32_t m = at / step; m < p->memory; m++) {
        tc_store(to, step, m, m + 1 < p->memory ? tc_load(from, step, m + 1) : newest);
        acc = tc_add_wrap(acc, tc_load(to, step, m) * tc_load(weights, step, m));
    }
    return acc;
}

/* Rows as for tc_svdf_s8. scratch: 8 bytes for each 4 inputs. */
TC_INLINE void tc_svdf_s8_dsp(const tc_svdf_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    int32_t *lanes = (int32_t *)scratch;
    const int8_t *features = p->feature_weights;
    const int8_t *times = (const int8_t *)p->time_weights;
    int32_t f = 0;
    (void)n_rows;
    (void)tc_widen_row(in_rows[0], p->inputs, lanes, 2);
    for (int32_t u = 0; u < p->units; u++) {
        int32_t acc = p->bias[u];
        for (int32_t r = 0; r < p->rank; r++, f++) {
            const int32_t sum = tc_svdf_project(features, lanes, p->inputs, p->feature_bias[f]);
            const int32_t feature = tc_requantize(sum, p->feature_multiplier, p->feature_shift);
            const int32_t newest = tc_clamp(feature, p->state_min, p->state_max) + p->state_zero_point;
            acc = tc_svdf_remember(p, times, in_rows[1 + f], out_rows[1 + f], newest, acc);
            features += p->inputs;
            times += p->memory * p->state_bytes;
        }
        out_rows[0][u] = tc_requantize_s8(acc, p->output_multiplier, p->output_shift, p->output_zero_point,
                                          p->activation_min, p->activation_max);
    }
}

#endif
