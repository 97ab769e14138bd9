/* SPDX-License-Identifier: MIT-0
 * Fully connected layer over the last axis, int8.
 *
 * Dimension letters: V vectors in a row; I inputs, O outputs of each vector.
 */
#ifndef TC_FULLY_CONNECTED_H
#define TC_FULLY_CONNECTED_H

#include "tc_math.h"

typedef struct {
    int32_t vectors;           /* V >= 1: 1 for rows [I], w for rows [w][I] */
    int32_t inputs;            /* I >= 1 */
    int32_t outputs;           /* O >= 1 */
    int32_t output_zero_point; /* -128..127 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    int32_t requant_step;      /* 1: a multiplier and shift for each output, 0: one for all */
    const int8_t *weights;     /* [O][I] */
    const int32_t *bias;       /* [O], less the input's zero point times the output's sum of weights */
    const int32_t *multiplier; /* [O] or [1], Q31 */
    const int8_t *shift;       /* [O] or [1], -31..30 */
} tc_fully_connected_s8_params;

/* As tc_fully_connected_s8, in the plainest form: what every faster kernel is tested against. */
static inline void tc_fully_connected_s8_ref(const tc_fully_connected_s8_params *p, const int8_t *const *in_rows,
                                             int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t elements = p->vectors * p->outputs;
    (void)scratch;
    for (int32_t i = 0; i < n_rows * elements; ++i) {
        const int32_t r = i / elements, v = i % elements / p->outputs, o = i % p->outputs;
        const int32_t q = o * p->requant_step;
        const int32_t sum = tc_dot_s8(in_rows[r] + v * p->inputs, p->weights + o * p->inputs, p->inputs, p->bias[o]);
        out_rows[r][i % elements] = tc_requantize_s8(sum, p->multiplier[q], p->shift[q], p->output_zero_point,
                                                     p->activation_min, p->activation_max);
    }
}

/* in_rows: n_rows rows [V][I]; out_rows: n_rows rows [V][O]; scratch unused. */
static inline void tc_fully_connected_s8(const tc_fully_connected_s8_params *p, const int8_t *const *in_rows,
                                         int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *x = in_rows[r];
        int8_t *out = out_rows[r];
        for (int32_t v = 0; v < p->vectors; ++v, x += p->inputs) {
            for (int32_t o = 0; o < p->outputs; o += 4) {
                const int32_t count = tc_min(4, p->outputs - o);
                int32_t acc[4] = {0, 0, 0, 0};
                tc_dots_s8(x, p->weights + o * p->inputs, p->inputs, p->inputs, acc, count);
                for (int32_t j = 0; j < count; ++j) {
                    const int32_t q = (o + j) * p->requant_step;
                    *out++ = tc_requantize_s8(p->bias[o + j] + acc[j], p->multiplier[q], p->shift[q],
                                              p->output_zero_point, p->activation_min, p->activation_max);
                }
            }
        }
    }
}

#endif /* TC_FULLY_CONNECTED_H */
