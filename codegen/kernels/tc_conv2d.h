/* SPDX-License-Identifier: MIT-0
 * 2-D convolution, int8, any stride, dilation, padding and number of groups.
 *
 * Dimension letters: W, C input width and channels; X, O output width and channels; G groups; KH, KW kernel.
 */
#ifndef TC_CONV2D_H
#define TC_CONV2D_H

#include "tc_math.h"

typedef struct {
    int32_t input_width;       /* W >= 1 */
    int32_t input_channels;    /* C, a multiple of G */
    int32_t output_width;      /* X >= 1 */
    int32_t output_channels;   /* O, a multiple of G */
    int32_t kernel_height;     /* KH >= 1 */
    int32_t kernel_width;      /* KW >= 1 */
    int32_t stride_height;     /* >= 1 */
    int32_t stride_width;      /* >= 1 */
    int32_t dilation_height;   /* >= 1 */
    int32_t dilation_width;    /* >= 1 */
    int32_t pad_left;          /* >= 0, in elements of W */
    int32_t groups;            /* G >= 1 */
    int32_t input_zero_point;  /* -128..127, the value of left and right padding */
    int32_t output_zero_point; /* -128..127 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    int32_t requant_step;      /* 1: a multiplier and shift for each output channel, 0: one for all */
    const int8_t *weights;     /* [O][KH][KW][C/G] */
    const int32_t *bias;       /* [O], less input_zero_point times the channel's sum of weights */
    const int32_t *multiplier; /* [O] or [1], Q31 */
    const int8_t *shift;       /* [O] or [1], -31..30 */
} tc_conv2d_s8_params;

/* One output: taps first..last-1 of each kernel row lie inside the input row, the others read the zero point. `start`
 * is the column of tap 0; `group` the first input channel. */
static inline int32_t tc_conv2d_s8_sum(const tc_conv2d_s8_params *p, const int8_t *const *rows, const int8_t *weights,
                                       int32_t start, int32_t first, int32_t last, int32_t group)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t is_run = p->dilation_width == 1 && p->groups == 1;
    int32_t acc = 0;
    for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
        const int8_t *row = rows[ky * p->dilation_height];
        acc += p->input_zero_point * tc_sum_s8(weights, first * channels);
        if (is_run) {
            const int8_t *x = row + (start + first) * channels;
            acc = tc_dot_s8(x, weights + first * channels, (last - first) * channels, acc);
        } else {
            for (int32_t kx = first; kx < last; ++kx) {
                const int8_t *x = row + (start + kx * p->dilation_width) * p->input_channels + group;
                acc = tc_dot_s8(x, weights + kx * channels, channels, acc);
            }
        }
        acc += p->input_zero_point * tc_sum_s8(weights + last * channels, (p->kernel_width - last) * channels);
        weights += p->kernel_width * channels;
    }
    return acc;
}

/* in_rows: (n_rows-1)*stride_height + (KH-1)*dilation_height + 1 rows [W][C], padding rows filled with the input's zero
 * point; out_rows: n_rows rows [X][O]; scratch unused. */
static inline void tc_conv2d_s8(const tc_conv2d_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t taps = p->kernel_height * p->kernel_width * channels;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *const *rows = in_rows + r * p->stride_height;
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            const int32_t start = x * p->stride_width - p->pad_left;
            const int32_t first = tc_first_tap(start, p->dilation_width, p->kernel_width);
            const int32_t last =
                tc_max(first, tc_last_tap(start, p->dilation_width, p->kernel_width, p->input_width));
            for (int32_t o = 0; o < p->output_channels; ++o) {
                const int32_t q = o * p->requant_step;
                const int32_t sum = tc_conv2d_s8_sum(p, rows, p->weights + o * taps, start, first, last,
                                                     o / outputs * channels);
                *out++ = tc_requantize_s8(p->bias[o] + sum, p->multiplier[q], p->shift[q], p->output_zero_point,
                                          p->activation_min, p->activation_max);
            }
        }
    }
}

#endif /* TC_CONV2D_H */
