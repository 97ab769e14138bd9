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

/* As tc_depthwise_s8, in the plainest form: what every faster kernel is tested against. */
static inline void tc_depthwise_s8_ref(const tc_depthwise_s8_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t outputs = p->input_channels * p->multiplier_count;
    const int32_t pixels = p->output_width * outputs;
    (void)scratch;
    for (int32_t i = 0; i < n_rows * pixels; ++i) {
        const int32_t r = i / pixels, x = i % pixels / outputs, o = i % outputs;
        const int32_t q = o * p->requant_step;
        int32_t acc = p->bias[o];
        for (int32_t k = 0; k < p->kernel_height * p->kernel_width; ++k) {
            const int32_t column = x * p->stride_width - p->pad_left + k % p->kernel_width * p->dilation_width;
            const int8_t *row = in_rows[r * p->stride_height + k / p->kernel_width * p->dilation_height];
            const int32_t is_inside = column >= 0 && column < p->input_width;
            const int32_t at = column * p->input_channels + o / p->multiplier_count;
            acc += p->weights[k * outputs + o] * (is_inside ? row[at] : p->input_zero_point);
        }
        out_rows[r][i % pixels] = tc_requantize_s8(acc, p->multiplier[q], p->shift[q], p->output_zero_point,
                                                   p->activation_min, p->activation_max);
    }
}

/* acc[j] += x[j] * weights[j], j < count; count is 1 or 4. */
static inline void tc_depthwise_s8_tap(const int8_t *x, const int8_t *weights, int32_t *acc, int32_t count)
{
    acc[0] += (int32_t)x[0] * weights[0];
    if (count == 4) {
        acc[1] += (int32_t)x[1] * weights[1];
        acc[2] += (int32_t)x[2] * weights[2];
        acc[3] += (int32_t)x[3] * weights[3];
    }
}

/* Adds the products of one pixel's window for output channels o..o+count-1, which see input channels c..c+count-1;
 * `start` is the column of kernel tap 0. */
static inline void tc_depthwise_s8_window(const tc_depthwise_s8_params *p, const int8_t *const *rows, int32_t start,
                                          int32_t c, int32_t o, int32_t *acc, int32_t count)
{
    const int32_t outputs = p->input_channels * p->multiplier_count;
    const int8_t zero = (int8_t)p->input_zero_point;
    const int8_t padding[4] = {zero, zero, zero, zero};
    const int8_t *weights = p->weights + o;
    int32_t sum[4] = {0, 0, 0, 0};
    for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
        const int8_t *row = rows[ky * p->dilation_height];
        int32_t column = start;
        for (int32_t kx = 0; kx < p->kernel_width; ++kx) {
            const int32_t is_inside = column >= 0 && column < p->input_width;
            tc_depthwise_s8_tap(is_inside ? row + column * p->input_channels + c : padding, weights, sum, count);
            weights += outputs;
            column += p->dilation_width;
        }
    }
    for (int32_t j = 0; j < count; ++j) {
        acc[j] = sum[j];
    }
}

/* One output pixel: four channels at once where input and output channels are the same, else one. */
static inline void tc_depthwise_s8_pixel(const tc_depthwise_s8_params *p, const int8_t *const *rows, int32_t start,
                                         int8_t *out)
{
    const int32_t outputs = p->input_channels * p->multiplier_count;
    for (int32_t o = 0; o < outputs;) {
        int32_t acc[4];
        int32_t count = 1;
        if (p->multiplier_count == 1 && o + 4 <= outputs) {
            count = 4;
            tc_depthwise_s8_window(p, rows, start, o, o, acc, 4);
        } else {
            tc_depthwise_s8_window(p, rows, start, o / p->multiplier_count, o, acc, 1);
        }
        for (int32_t j = 0; j < count; ++j, ++o) {
            const int32_t q = o * p->requant_step;
            out[o] = tc_requantize_s8(p->bias[o] + acc[j], p->multiplier[q], p->shift[q], p->output_zero_point,
                                      p->activation_min, p->activation_max);
        }
    }
}

/* in_rows: (n_rows-1)*stride_height + (KH-1)*dilation_height + 1 rows [W][C], padding rows filled with the input's zero
 * point; out_rows: n_rows rows [X][C*M]; scratch unused. */
static inline void tc_depthwise_s8(const tc_depthwise_s8_params *p, const int8_t *const *in_rows,
                                   int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            tc_depthwise_s8_pixel(p, in_rows + r * p->stride_height, x * p->stride_width - p->pad_left, out);
            out += p->input_channels * p->multiplier_count;
        }
    }
}

#endif /* TC_DEPTHWISE_H */
