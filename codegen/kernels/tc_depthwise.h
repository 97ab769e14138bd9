/* SPDX-License-Identifier: MIT-0
 * Depthwise 2-D convolution, int8, any stride, dilation, padding and channel multiplier.
 *
 * Dimension letters: W, C input width and channels; X output width; M multiplier; KH, KW kernel. Output channel c*M + m
 * sees input channel c only.
 */
#ifndef TC_DEPTHWISE_H
#define TC_DEPTHWISE_H

#include "tc_math.h"

typedef struct {
    int32_t input_width;       /* W >= 1 */
    int32_t input_channels;    /* C >= 1 */
    int32_t output_width;      /* X >= 1 */
    int32_t multiplier_count;  /* M >= 1 */
    int32_t kernel_height;     /* KH >= 1 */
    int32_t kernel_width;      /* KW >= 1 */
    int32_t stride_height;     /* >= 1 */
    int32_t stride_width;      /* >= 1 */
    int32_t dilation_height;   /* >= 1 */
    int32_t dilation_width;    /* >= 1 */
    int32_t pad_left;          /* >= 0, in elements of W */
    int32_t input_zero_point;  /* -128..127, the value of left and right padding */
    int32_t output_zero_point; /* -128..127 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    int32_t requant_step;      /* 1: a multiplier and shift for each output channel, 0: one for all */
    const int8_t *weights;     /* [KH][KW][C*M] */
    const int32_t *bias;       /* [C*M], less input_zero_point times the channel's sum of weights */
    const int32_t *multiplier; /* [C*M] or [1], Q31 */
    const int8_t *shift;       /* [C*M] or [1], -31..30 */
} tc_depthwise_s8_params;

/* One output of channel `o`, whose input channel is `c`; `start` is the column of kernel tap 0. */
static inline int32_t tc_depthwise_s8_sum(const tc_depthwise_s8_params *p, const int8_t *const *rows, int32_t start,
                                          int32_t c, int32_t o)
{
    const int32_t outputs = p->input_channels * p->multiplier_count;
    const int8_t *weight = p->weights + o;
    int32_t acc = 0;
    for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
        const int8_t *row = rows[ky * p->dilation_height];
        int32_t column = start;
        for (int32_t kx = 0; kx < p->kernel_width; ++kx) {
            const int32_t is_inside = column >= 0 && column < p->input_width;
            const int32_t x = is_inside ? row[column * p->input_channels + c] : p->input_zero_point;
            acc += x * *weight;
            weight += outputs;
            column += p->dilation_width;
        }
    }
    return acc;
}

/* in_rows: (n_rows-1)*stride_height + (KH-1)*dilation_height + 1 rows [W][C], padding rows filled with the input's zero
 * point; out_rows: n_rows rows [X][C*M]; scratch unused. */
static inline void tc_depthwise_s8(const tc_depthwise_s8_params *p, const int8_t *const *in_rows,
                                   int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *const *rows = in_rows + r * p->stride_height;
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            const int32_t start = x * p->stride_width - p->pad_left;
            int32_t o = 0;
            for (int32_t c = 0; c < p->input_channels; ++c) {
                for (int32_t m = 0; m < p->multiplier_count; ++m, ++o) {
                    const int32_t q = o * p->requant_step;
                    const int32_t sum = p->bias[o] + tc_depthwise_s8_sum(p, rows, start, c, o);
                    *out++ = tc_requantize_s8(sum, p->multiplier[q], p->shift[q], p->output_zero_point,
                                              p->activation_min, p->activation_max);
                }
            }
        }
    }
}

#endif /* TC_DEPTHWISE_H */
