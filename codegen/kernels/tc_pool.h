/* SPDX-License-Identifier: MIT-0
 * Average and maximum pooling, int8; padding taps don't count. Input and output share scale and zero point.
 *
 * Dimension letters: W input width; X output width; C channels; KH, KW window.
 */
#ifndef TC_POOL_H
#define TC_POOL_H

#include "tc_math.h"

typedef struct {
    int32_t input_width;    /* W >= 1 */
    int32_t output_width;   /* X >= 1 */
    int32_t channels;       /* C >= 1 */
    int32_t kernel_height;  /* KH >= 1 */
    int32_t kernel_width;   /* KW >= 1 */
    int32_t stride_height;  /* >= 1 */
    int32_t stride_width;   /* >= 1 */
    int32_t pad_left;       /* >= 0, in elements of W */
    int32_t activation_min; /* -128..127 */
    int32_t activation_max; /* activation_min..127 */
} tc_average_pool_s8_params;

typedef tc_average_pool_s8_params tc_max_pool_s8_params;

/* in_rows: (n_rows-1)*stride_height + KH rows [W][C], NULL for a row of padding; out_rows: n_rows rows [X][C]; every
 * window has a tap that is not padding; scratch unused. The mean rounds half away from zero. */
static inline void tc_average_pool_s8(const tc_average_pool_s8_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *const *rows = in_rows + r * p->stride_height;
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            const int32_t start = x * p->stride_width - p->pad_left;
            const int32_t first = tc_max(0, start);
            const int32_t last = tc_min(p->input_width, start + p->kernel_width);
            for (int32_t c = 0; c < p->channels; ++c) {
                int32_t sum = 0;
                int32_t count = 0;
                for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
                    if (rows[ky] != NULL) {
                        for (int32_t i = first; i < last; ++i) {
                            sum += rows[ky][i * p->channels + c];
                        }
                        count += last - first;
                    }
                }
                const int32_t half = sum > 0 ? count / 2 : -(count / 2);
                *out++ = (int8_t)tc_clamp((sum + half) / count, p->activation_min, p->activation_max);
            }
        }
    }
}

/* Rows as for tc_average_pool_s8. */
static inline void tc_max_pool_s8(const tc_max_pool_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                  int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *const *rows = in_rows + r * p->stride_height;
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            const int32_t start = x * p->stride_width - p->pad_left;
            const int32_t first = tc_max(0, start);
            const int32_t last = tc_min(p->input_width, start + p->kernel_width);
            for (int32_t c = 0; c < p->channels; ++c) {
                int32_t largest = INT8_MIN;
                for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
                    if (rows[ky] != NULL) {
                        for (int32_t i = first; i < last; ++i) {
                            largest = tc_max(largest, rows[ky][i * p->channels + c]);
                        }
                    }
                }
                *out++ = (int8_t)tc_clamp(largest, p->activation_min, p->activation_max);
            }
        }
    }
}

#endif /* TC_POOL_H */
