/* SPDX-License-Identifier: MIT-0
 * 2-D convolution, depthwise convolution and fully connected layer, int8, whose weights have a zero point of their own.
 *
 * One kernel with groups for all three: a depthwise convolution has a group for each input channel, a fully connected
 * layer is a 1x1 convolution. Dimension letters: W, C input width and channels; X, O output width and channels; G
 * groups; KH, KW kernel.
 */
#ifndef TC_ASYMMETRIC_H
#define TC_ASYMMETRIC_H

#include "tc_math.h"

typedef struct {
    int32_t input_width;        /* W >= 1 */
    int32_t input_channels;     /* C, a multiple of G */
    int32_t output_width;       /* X >= 1 */
    int32_t output_channels;    /* O, a multiple of G */
    int32_t kernel_height;      /* KH >= 1 */
    int32_t kernel_width;       /* KW >= 1 */
    int32_t stride_height;      /* >= 1 */
    int32_t stride_width;       /* >= 1 */
    int32_t dilation_height;    /* >= 1 */
    int32_t dilation_width;     /* >= 1 */
    int32_t pad_left;           /* >= 0, in elements of W */
    int32_t groups;             /* G >= 1 */
    int32_t input_zero_point;   /* -128..127, the value of left and right padding */
    int32_t weights_zero_point; /* -128..127 */
    int32_t multiplier;         /* Q31 */
    int32_t shift;              /* -31..30 */
    int32_t output_zero_point;  /* -128..127 */
    int32_t activation_min;     /* -128..127 */
    int32_t activation_max;     /* activation_min..127 */
    const int8_t *weights;      /* [O][KH][KW][C/G] */
    const int32_t *bias;        /* [O], less input_zero_point times the sum of weights less their zero point */
} tc_asymmetric_params;

/* Where position k of the window at column `start` lies in its row; NULL in left or right padding. */
static inline const int8_t *tc_asymmetric_position(const tc_asymmetric_params *p, const int8_t *const *rows,
                                                   int32_t start, int32_t k)
{
    const int32_t column = start + k % p->kernel_width * p->dilation_width;
    const int8_t *row = rows[k / p->kernel_width * p->dilation_height];
    return column >= 0 && column < p->input_width ? row + column * p->input_channels : NULL;
}

/* The outputs of one group at one pixel. The weights' zero point takes its product with the window's sum off each. */
static inline void tc_asymmetric_group(const tc_asymmetric_params *p, const int8_t *const *rows, int32_t start,
                                       int32_t group, int8_t *out)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t positions = p->kernel_height * p->kernel_width;
    int32_t sum = 0;
    for (int32_t k = 0; k < positions; ++k) {
        const int8_t *x = tc_asymmetric_position(p, rows, start, k);
        sum += x != NULL ? tc_sum_s8(x + group * channels, channels) : channels * p->input_zero_point;
    }
    for (int32_t o = group * outputs; o < (group + 1) * outputs; ++o) {
        const int8_t *weights = p->weights + o * positions * channels;
        int32_t acc = p->bias[o] - p->weights_zero_point * sum;
        for (int32_t k = 0; k < positions; ++k) {
            const int8_t *x = tc_asymmetric_position(p, rows, start, k);
            acc = x != NULL ? tc_dot_s8(x + group * channels, weights, channels, acc)
                            : acc + p->input_zero_point * tc_sum_s8(weights, channels);
            weights += channels;
        }
        out[o] =
            tc_requantize_s8(acc, p->multiplier, p->shift, p->output_zero_point, p->activation_min, p->activation_max);
    }
}

static inline void tc_asymmetric_rows(const tc_asymmetric_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows)
{
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t x = 0; x < p->output_width; ++x) {
            for (int32_t g = 0; g < p->groups; ++g) {
                tc_asymmetric_group(p, in_rows + r * p->stride_height, x * p->stride_width - p->pad_left, g,
                                    out_rows[r] + x * p->output_channels);
            }
        }
    }
}

/* Rows as for tc_conv2d_s8: padding rows are filled with the input's zero point; scratch unused. */
static inline void tc_conv2d_s8_asymmetric(const tc_asymmetric_params *p, const int8_t *const *in_rows,
                                           int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_asymmetric_rows(p, in_rows, out_rows, n_rows);
}

/* Rows as for tc_depthwise_s8; G is C, weights are [C*M][KH][KW]. */
static inline void tc_depthwise_s8_asymmetric(const tc_asymmetric_params *p, const int8_t *const *in_rows,
                                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_asymmetric_rows(p, in_rows, out_rows, n_rows);
}

/* Rows as for tc_fully_connected_s8; W and X count the vectors of a row. */
static inline void tc_fully_connected_s8_asymmetric(const tc_asymmetric_params *p, const int8_t *const *in_rows,
                                                    int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_asymmetric_rows(p, in_rows, out_rows, n_rows);
}

#endif /* TC_ASYMMETRIC_H */
