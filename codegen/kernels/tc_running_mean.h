/* SPDX-License-Identifier: MIT-0
 * Averages over a whole image, int8, summed up row by row: the image need not exist as a whole.
 *
 * Dimension letters: W input width; C channels; H input rows.
 */
#ifndef TC_RUNNING_MEAN_H
#define TC_RUNNING_MEAN_H

#include "tc_math.h"

typedef struct {
    int32_t width;             /* W >= 1 */
    int32_t channels;          /* C >= 1 */
    int32_t count;             /* H*W <= 2^23: elements averaged */
    int32_t output_zero_point; /* -128..127; used by the mean only */
    int32_t input_sum;         /* input zero point times count; used by the mean only */
    int32_t output_multiplier; /* Q31: input scale over output scale and count; used by the mean only */
    int32_t output_shift;
    int32_t activation_min; /* -128..127 */
    int32_t activation_max; /* activation_min..127 */
} tc_running_average_pool_s8_params;

typedef tc_running_average_pool_s8_params tc_running_mean_s8_params;

/* sums[C] += the columns of n_rows rows [W][C]. */
static inline void tc_running_sum_s8(int32_t width, int32_t channels, const int8_t *const *in_rows, int32_t n_rows,
                                     int32_t *sums)
{
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *x = in_rows[r];
        for (int32_t i = 0; i < width; ++i) {
            for (int32_t c = 0; c < channels; ++c) {
                sums[c] += *x++;
            }
        }
    }
}

/* in_rows: the next n_rows input rows [W][C]; scratch: int32_t [C], zero before the first call; out_rows: one row [C]
 * in the last call, NULL before. Rounds half away from zero. */
static inline void tc_running_average_pool_s8(const tc_running_average_pool_s8_params *p, const int8_t *const *in_rows,
                                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t *const sums = (const int32_t *)scratch;
    tc_running_sum_s8(p->width, p->channels, in_rows, n_rows, (int32_t *)scratch);
    if (out_rows[0] != NULL) {
        for (int32_t c = 0; c < p->channels; ++c) {
            const int32_t half = sums[c] > 0 ? p->count / 2 : -(p->count / 2);
            out_rows[0][c] = (int8_t)tc_clamp((sums[c] + half) / p->count, p->activation_min, p->activation_max);
        }
    }
}

/* As tc_running_average_pool_s8, with the output's own scale. */
static inline void tc_running_mean_s8(const tc_running_mean_s8_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t *const sums = (const int32_t *)scratch;
    tc_running_sum_s8(p->width, p->channels, in_rows, n_rows, (int32_t *)scratch);
    if (out_rows[0] != NULL) {
        for (int32_t c = 0; c < p->channels; ++c) {
            out_rows[0][c] = tc_requantize_s8(sums[c] - p->input_sum, p->output_multiplier, p->output_shift,
                                              p->output_zero_point, p->activation_min, p->activation_max);
        }
    }
}

#endif /* TC_RUNNING_MEAN_H */
