/* SPDX-License-Identifier: MIT-0
 *
 * All steps of an LSTM on Armv7E-M: the 4 gates of a unit x 4 elements at a time. Parameters and shapes are those of
 * tc_lstm.h.
 */
#ifndef TC_LSTM_DSP_H
#define TC_LSTM_DSP_H

#include "tc_lanes_dsp.h"
#include "tc_lstm.h"

/* sums[gate] += sum of weights[gate][i] * x[i], i < n; `lanes` are x widened, gates lie `step` bytes apart. */
TC_INLINE void tc_lstm_s8_products(const int8_t *weights, int32_t step, const int32_t *lanes, int32_t n, int32_t *sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t i = 0;
    for (; i + 4 <= n; i += 4, lanes += 2) {
        const int8_t *at = weights + i;
        uint32_t word = tc_load32(at);
        a = tc_smlad(lanes[1], tc_sxtb16_odd(word), tc_smlad(lanes[0], tc_sxtb16(word), a));
        word = tc_load32(at + step);
        b = tc_smlad(lanes[1], tc_sxtb16_odd(word), tc_smlad(lanes[0], tc_sxtb16(word), b));
        word = tc_load32(at + 2 * step);
        c = tc_smlad(lanes[1], tc_sxtb16_odd(word), tc_smlad(lanes[0], tc_sxtb16(word), c));
        word = tc_load32(at + 3 * step);
        d = tc_smlad(lanes[1], tc_sxtb16_odd(word), tc_smlad(lanes[0], tc_sxtb16(word), d));
    }
    for (int32_t k = 0; i < n; ++i, ++k) {
        const int32_t x = k == 2 ? tc_high_lane(lanes[0]) : tc_low_lane(lanes[k]);
        a += x * weights[i];
        b += x * weights[i + step];
        c += x * weights[i + 2 * step];
        d += x * weights[i + 3 * step];
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* Rows as for tc_lstm_s8. scratch: 8 bytes for each 4 inputs, then for each 4 units. */
TC_INLINE void tc_lstm_s8_dsp(const tc_lstm_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    const int32_t inputs = p->inputs, units = p->units;
    int32_t *x = (int32_t *)scratch;
    int32_t *state = x + 2 * ((inputs + 3) / 4);
    int8_t *cells = out_rows[n_rows + 1];
    const int8_t *hidden = tc_lstm_s8_begin(p, in_rows + n_rows, cells);
    for (int32_t t = 0; t < n_rows; ++t) {
        const int32_t row = p->is_reversed ? n_rows - 1 - t : t;
        (void)tc_widen_row(in_rows[row], inputs, x, 2);
        (void)tc_widen_row(hidden, units, state, 2);
        for (int32_t u = 0; u < units; ++u) {
            int32_t fed[4], kept[4];
            for (int32_t gate = 0; gate < 4; ++gate) {
                fed[gate] = p->input_bias[gate * units + u];
                kept[gate] = p->recurrent_bias[gate * units + u];
            }
            tc_lstm_s8_products(p->input_weights + u * inputs, units * inputs, x, inputs, fed);
            tc_lstm_s8_products(p->recurrent_weights + u * units, units * units, state, units, kept);
            out_rows[row][u] = tc_lstm_s8_unit(p, u, fed, kept, cells);
        }
        hidden = out_rows[row];
    }
    tc_copy(out_rows[n_rows], hidden, units);
}

#endif
