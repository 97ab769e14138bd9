/* SPDX-License-Identifier: MIT-0
 * Average and maximum pooling, int16; padding taps don't count. Input and output share their scale.
 *
 * Dimension letters: W input width; X output width; C channels; KH, KW window.
 */
#ifndef TC_POOL_S16_H
#define TC_POOL_S16_H

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
    int32_t activation_min; /* -32768..32767 */
    int32_t activation_max; /* activation_min..32767 */
} tc_pool_s16_params;

/* Sum, or the largest, of the taps of a window that are not padding, in one channel; their number in count. */
static inline int32_t tc_pool_s16_window(const tc_pool_s16_params *p, const int8_t *const *rows, int32_t start,
                                         int32_t c, int32_t is_sum, int32_t *count)
{
    const int32_t first = tc_max(0, start);
    const int32_t last = tc_min(p->input_width, start + p->kernel_width);
    int32_t result = is_sum ? 0 : INT16_MIN;
    *count = 0;
    for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
        for (int32_t i = first; i < last && rows[ky] != NULL; ++i) {
            const int32_t x = tc_load(rows[ky], 2, i * p->channels + c);
            result = is_sum ? result + x : tc_max(result, x);
            ++*count;
        }
    }
    return result;
}

static inline void tc_pool_s16_rows(const tc_pool_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                    int32_t n_rows, int32_t is_mean)
{
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->output_width * p->channels; ++i) {
            const int32_t start = i / p->channels * p->stride_width - p->pad_left;
            int32_t count;
            int32_t y = tc_pool_s16_window(p, in_rows + r * p->stride_height, start, i % p->channels, is_mean, &count);
            if (is_mean) {
                y = (y + (y > 0 ? count / 2 : -(count / 2))) / count;
            }
            tc_store(out_rows[r], 2, i, tc_clamp(y, p->activation_min, p->activation_max));
        }
    }
}

/* in_rows: (n_rows-1)*stride_height + KH rows [W][C] of int16, NULL for a row of padding; out_rows: n_rows rows [X][C];
 * every window has a tap that is not padding; scratch unused. The mean rounds half away from zero. */
static inline void tc_average_pool_s16(const tc_pool_s16_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_pool_s16_rows(p, in_rows, out_rows, n_rows, 1);
}

/* Rows as for tc_average_pool_s16. */
static inline void tc_max_pool_s16(const tc_pool_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                   int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_pool_s16_rows(p, in_rows, out_rows, n_rows, 0);
}

#endif /* TC_POOL_S16_H */
