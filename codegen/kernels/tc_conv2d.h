/* SPDX-License-Identifier: MIT-0
 * 2-D convolution, int8, any stride, dilation, padding and number of groups.
 *
 * Dimension letters: W, C input width and channels; X, O output width and channels; G groups; KH, KW kernel.
 * Portable C: up to four output channels share each read of the input.
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

/* As tc_conv2d_s8, in the plainest form: what every faster kernel is tested against. */
static inline void tc_conv2d_s8_ref(const tc_conv2d_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                    int32_t n_rows, void *scratch)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t positions = p->kernel_height * p->kernel_width;
    const int32_t pixels = p->output_width * p->output_channels;
    (void)scratch;
    for (int32_t i = 0; i < n_rows * pixels; ++i) {
        const int32_t r = i / pixels, x = i % pixels / p->output_channels, o = i % p->output_channels;
        const int8_t *weight = p->weights + o * positions * channels;
        const int32_t q = o * p->requant_step;
        int32_t acc = p->bias[o];
        for (int32_t k = 0; k < positions * channels; ++k) {
            const int32_t ky = k / channels / p->kernel_width, kx = k / channels % p->kernel_width;
            const int32_t column = x * p->stride_width - p->pad_left + kx * p->dilation_width;
            const int32_t channel = o / outputs * channels + k % channels;
            const int8_t *row = in_rows[r * p->stride_height + ky * p->dilation_height];
            const int32_t is_inside = column >= 0 && column < p->input_width;
            acc += weight[k] * (is_inside ? row[column * p->input_channels + channel] : p->input_zero_point);
        }
        out_rows[r][i % pixels] = tc_requantize_s8(acc, p->multiplier[q], p->shift[q], p->output_zero_point,
                                                   p->activation_min, p->activation_max);
    }
}

/* Which taps of a kernel row lie inside the input row, and where: tap k reads column start + k * dilation_width. Taps
 * below `first` and from `last` on read padding. */
typedef struct {
    int32_t start;
    int32_t first;
    int32_t last;
} tc_conv2d_s8_span;

/* acc[j] += n weights of channel j times the input's zero point, j < count. */
static inline void tc_conv2d_s8_padding(const tc_conv2d_s8_params *p, const int8_t *weights, int32_t step, int32_t n,
                                        int32_t *acc, int32_t count)
{
    for (int32_t j = 0; n > 0 && j < count; ++j) {
        acc[j] += p->input_zero_point * tc_sum_s8(weights + j * step, n);
    }
}

/* Adds the products of one pixel's window for `count` (1..4) output channels to acc. `weights` are the first channel's,
 * `channel` is the first input channel of its group. */
static inline void tc_conv2d_s8_window(const tc_conv2d_s8_params *p, const int8_t *const *rows,
                                       const tc_conv2d_s8_span *span, int32_t channel, const int8_t *weights,
                                       int32_t *acc, int32_t count)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t step = p->kernel_height * p->kernel_width * channels;
    const int32_t is_run = p->dilation_width == 1 && p->groups == 1;
    for (int32_t ky = 0; ky < p->kernel_height; ++ky) {
        const int8_t *row = rows[ky * p->dilation_height] + channel;
        const int8_t *inside = weights + span->first * channels;
        const int8_t *behind = weights + span->last * channels;
        tc_conv2d_s8_padding(p, weights, step, span->first * channels, acc, count);
        if (is_run) {
            const int8_t *x = row + (span->start + span->first) * channels;
            tc_dots_s8(x, inside, step, (span->last - span->first) * channels, acc, count);
        } else {
            for (int32_t kx = span->first; kx < span->last; ++kx) {
                const int8_t *x = row + (span->start + kx * p->dilation_width) * p->input_channels;
                tc_dots_s8(x, weights + kx * channels, step, channels, acc, count);
            }
        }
        tc_conv2d_s8_padding(p, behind, step, (p->kernel_width - span->last) * channels, acc, count);
        weights += p->kernel_width * channels;
    }
}

/* One output pixel: groups in turn, up to four channels of a group at once. */
static inline void tc_conv2d_s8_pixel(const tc_conv2d_s8_params *p, const int8_t *const *rows,
                                      const tc_conv2d_s8_span *span, int8_t *out)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t taps = p->kernel_height * p->kernel_width * channels;
    for (int32_t group = 0; group < p->groups; ++group) {
        for (int32_t i = 0; i < outputs; i += 4) {
            const int32_t o = group * outputs + i;
            const int32_t count = tc_min(4, outputs - i);
            int32_t acc[4] = {0, 0, 0, 0};
            tc_conv2d_s8_window(p, rows, span, group * channels, p->weights + o * taps, acc, count);
            for (int32_t j = 0; j < count; ++j) {
                const int32_t q = (o + j) * p->requant_step;
                out[o + j] = tc_requantize_s8(p->bias[o + j] + acc[j], p->multiplier[q], p->shift[q],
                                              p->output_zero_point, p->activation_min, p->activation_max);
            }
        }
    }
}

/* in_rows: (n_rows-1)*stride_height + (KH-1)*dilation_height + 1 rows [W][C], padding rows filled with the input's zero
 * point; out_rows: n_rows rows [X][O]; scratch unused. */
static inline void tc_conv2d_s8(const tc_conv2d_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t x = 0; x < p->output_width; ++x) {
            tc_conv2d_s8_span span;
            span.start = x * p->stride_width - p->pad_left;
            span.first = tc_first_tap(span.start, p->dilation_width, p->kernel_width);
            span.last = tc_max(span.first, tc_last_tap(span.start, p->dilation_width, p->kernel_width, p->input_width));
            tc_conv2d_s8_pixel(p, in_rows + r * p->stride_height, &span, out_rows[r] + x * p->output_channels);
        }
    }
}

#endif /* TC_CONV2D_H */
