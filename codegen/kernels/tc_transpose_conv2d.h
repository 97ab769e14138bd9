/* SPDX-License-Identifier: MIT-0
 * Transposed 2-D convolution, int8: output (y, x) sums the taps (ky, kx) for which y + pad_top - ky is a multiple of
 * stride_height and x + pad_left - kx one of stride_width.
 *
 * Dimension letters: H, W, C input height, width, channels; X, O output width and channels; KH, KW kernel.
 */
#ifndef TC_TRANSPOSE_CONV2D_H
#define TC_TRANSPOSE_CONV2D_H

#include "tc_math.h"

typedef struct {
    int32_t input_height;      /* H >= 1 */
    int32_t input_width;       /* W >= 1 */
    int32_t input_channels;    /* C >= 1 */
    int32_t output_width;      /* X >= 1 */
    int32_t output_channels;   /* O >= 1 */
    int32_t kernel_height;     /* KH >= 1 */
    int32_t kernel_width;      /* KW >= 1 */
    int32_t stride_height;     /* >= 1 */
    int32_t stride_width;      /* >= 1 */
    int32_t pad_top;           /* >= 0: rows cut from the full output above */
    int32_t pad_left;          /* >= 0: columns cut from the full output on the left */
    int32_t input_zero_point;  /* -128..127 */
    int32_t output_zero_point; /* -128..127 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    int32_t requant_step;      /* 1: a multiplier and shift for each output channel, 0: one for all */
    const int8_t *weights;     /* [O][KH][KW][C] */
    const int32_t *bias;       /* [O] as in the model: outputs differ in the number of taps */
    const int32_t *multiplier; /* [O] or [1], Q31 */
    const int8_t *shift;       /* [O] or [1], -31..30 */
} tc_transpose_conv2d_s8_params;

/* Sum over the taps of output (y, x), counted without the cut; `weights` are one output channel's. */
static inline int32_t tc_transpose_conv2d_s8_sum(const tc_transpose_conv2d_s8_params *p, const int8_t *const *rows,
                                                 const int8_t *weights, int32_t y, int32_t x)
{
    int32_t acc = 0;
    for (int32_t ky = y % p->stride_height; ky < p->kernel_height && ky <= y; ky += p->stride_height) {
        const int32_t iy = (y - ky) / p->stride_height;
        for (int32_t kx = x % p->stride_width; kx < p->kernel_width && kx <= x; kx += p->stride_width) {
            const int32_t ix = (x - kx) / p->stride_width;
            if (iy < p->input_height && ix < p->input_width) {
                const int8_t *in = rows[iy] + ix * p->input_channels;
                const int8_t *w = weights + (ky * p->kernel_width + kx) * p->input_channels;
                acc = tc_dot_s8(in, w, p->input_channels, acc);
                acc -= p->input_zero_point * tc_sum_s8(w, p->input_channels);
            }
        }
    }
    return acc;
}

/* in_rows: all H rows [W][C]; out_rows: all n_rows rows [X][O]; scratch unused. */
static inline void tc_transpose_conv2d_s8(const tc_transpose_conv2d_s8_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t taps = p->kernel_height * p->kernel_width * p->input_channels;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            for (int32_t o = 0; o < p->output_channels; ++o) {
                const int32_t q = o * p->requant_step;
                const int32_t sum =
                    tc_transpose_conv2d_s8_sum(p, in_rows, p->weights + o * taps, r + p->pad_top, x + p->pad_left);
                *out++ = tc_requantize_s8(p->bias[o] + sum, p->multiplier[q], p->shift[q], p->output_zero_point,
                                          p->activation_min, p->activation_max);
            }
        }
    }
}

#endif /* TC_TRANSPOSE_CONV2D_H */
