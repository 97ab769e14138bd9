/* SPDX-License-Identifier: MIT-0
 * One step of a rank-decomposed recurrent filter (SVDF): int8 input and output, int8 or int16 state.
 *
 * Each filter projects the input to one number, remembers the last M of them and weighs them; a unit adds R filters.
 * Dimension letters: I inputs; F filters; M memory; R rank; U = F / R units.
 */
#ifndef TC_SVDF_H
#define TC_SVDF_H

#include "tc_math.h"

typedef struct {
    int32_t inputs;           /* I >= 1 */
    int32_t units;            /* U >= 1 */
    int32_t rank;             /* R >= 1 */
    int32_t memory;           /* M >= 1 */
    int32_t state_bytes;      /* of one element: 1 (int8) or 2 (int16) */
    int32_t state_zero_point; /* in the state type's range, 0 for int16 */
    int32_t state_min;        /* range of the state's type */
    int32_t state_max;
    int32_t feature_multiplier;    /* Q31: input scale times feature scale over state scale */
    int32_t feature_shift;         /* -31..30 */
    int32_t output_multiplier;     /* Q31: state scale times time scale over output scale */
    int32_t output_shift;          /* -31..30 */
    int32_t output_zero_point;     /* -128..127 */
    int32_t activation_min;        /* -128..127 */
    int32_t activation_max;        /* activation_min..127 */
    const int8_t *feature_weights; /* [F][I] */
    const int32_t *feature_bias;   /* [F] minus the input's zero point times the filter's sum of weights */
    const void *time_weights;      /* [F][M], elements as the state's */
    const int32_t *bias;           /* [U] */
} tc_svdf_s8_params;

/* Filter f: shifts `from` by one into `to` (they may be the same), appends the projection of x, and returns the
 * weighted sum of the memory, wrapping at 32 bits. As in TensorFlow Lite Micro the projection saturates before the
 * state's zero point is added, and that sum wraps. */
static inline int32_t tc_svdf_s8_filter(const tc_svdf_s8_params *p, int32_t f, const int8_t *x, const int8_t *from,
                                        int8_t *to)
{
    const int8_t *weights = (const int8_t *)p->time_weights + f * p->memory * p->state_bytes;
    const int32_t sum = tc_dot_s8(x, p->feature_weights + f * p->inputs, p->inputs, p->feature_bias[f]);
    const int32_t feature = tc_requantize(sum, p->feature_multiplier, p->feature_shift);
    const int32_t newest = tc_clamp(feature, p->state_min, p->state_max) + p->state_zero_point;
    int32_t acc = 0;
    for (int32_t m = 0; m < p->memory; ++m) {
        tc_store(to, p->state_bytes, m, m + 1 == p->memory ? newest : tc_load(from, p->state_bytes, m + 1));
        acc = tc_add_wrap(acc,
                          (tc_load(to, p->state_bytes, m) - p->state_zero_point) * tc_load(weights, p->state_bytes, m));
    }
    return acc;
}

/* in_rows: the input [I], then F rows of state [M]; out_rows: the output [U], then F rows of state, which may be the
 * input's; n_rows is 1; scratch unused. */
static inline void tc_svdf_s8(const tc_svdf_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)n_rows;
    (void)scratch;
    for (int32_t u = 0; u < p->units; ++u) {
        int32_t acc = p->bias[u];
        for (int32_t f = u * p->rank; f < (u + 1) * p->rank; ++f) {
            acc = tc_add_wrap(acc, tc_svdf_s8_filter(p, f, in_rows[0], in_rows[1 + f], out_rows[1 + f]));
        }
        out_rows[0][u] = tc_requantize_s8(acc, p->output_multiplier, p->output_shift, p->output_zero_point,
                                          p->activation_min, p->activation_max);
    }
}

#endif /* TC_SVDF_H */
