/* SPDX-License-Identifier: MIT-0
 * 2-D convolution, depthwise convolution and fully connected layer of int16 activations with int8 weights.
 *
 * One kernel with groups for all three: a depthwise convolution has a group for each input channel, a fully connected
 * layer is a 1x1 convolution. Activations are symmetric. Dimension letters: W, C input width and channels; X, O output
 * width and channels; G groups; KH, KW kernel.
 */
#ifndef TC_WINDOWED_S16_H
#define TC_WINDOWED_S16_H

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
    int32_t is_wide;           /* 1: 64-bit sums and a 16-bit multiplier; 0: sums wrap at 32 bits */
    int32_t activation_min;    /* -32768..32767 */
    int32_t activation_max;    /* activation_min..32767 */
    int32_t requant_step;      /* 1: a multiplier and shift for each output channel, 0: one for all */
    const int8_t *weights;     /* [O][KH][KW][C/G] */
    const int32_t *bias;       /* [O] */
    const int32_t *multiplier; /* [O] or [1], Q31 */
    const int8_t *shift;       /* [O] or [1], -31..7 */
} tc_windowed_s16_params;

/* x * multiplier * 2^(shift - 31), the multiplier rounded to 16 bits, the result rounded once, ties up; |x| < 2^47. */
static inline int32_t tc_requantize_wide(int64_t x, int32_t multiplier, int32_t shift)
{
    const int32_t total = 15 - shift;
    const int32_t reduced = multiplier < 0x7fff0000 ? (multiplier + (1 << 15)) >> 16 : 0x7fff;
    return (int32_t)((x * reduced + ((int64_t)1 << (total - 1))) >> total);
}

/* A sum of products and bias at the output's scale: of 64 bits, or, where it is not wide, wrapping at 32. */
static inline int32_t tc_requantize_s16(int64_t sum, int32_t is_wide, int32_t multiplier, int32_t shift)
{
    return is_wide ? tc_requantize_wide(sum, multiplier, shift)
                   : tc_requantize((int32_t)(uint32_t)sum, multiplier, shift);
}

/* The sum of one output's products and its bias; padding adds nothing. `start` is the window's first column, `channel`
 * the group's first input channel. */
static inline int64_t tc_windowed_s16_sum(const tc_windowed_s16_params *p, const int8_t *const *rows, int32_t start,
                                          int32_t channel, int32_t o)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t positions = p->kernel_height * p->kernel_width;
    const int8_t *weights = p->weights + o * positions * channels;
    int64_t acc = p->bias[o];
    for (int32_t k = 0; k < positions; ++k, weights += channels) {
        const int32_t column = start + k % p->kernel_width * p->dilation_width;
        const int8_t *row = rows[k / p->kernel_width * p->dilation_height];
        if (row != NULL && column >= 0 && column < p->input_width) {
            const int32_t at = column * p->input_channels + channel;
            for (int32_t i = 0; i < channels; ++i) {
                acc += tc_load(row, 2, at + i) * weights[i];
            }
        }
    }
    return acc;
}

static inline void tc_windowed_s16_rows(const tc_windowed_s16_params *p, const int8_t *const *in_rows,
                                        int8_t *const *out_rows, int32_t n_rows)
{
    const int32_t channels = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->output_width * p->output_channels; ++i) {
            const int32_t x = i / p->output_channels, o = i % p->output_channels;
            const int32_t start = x * p->stride_width - p->pad_left;
            const int64_t sum =
                tc_windowed_s16_sum(p, in_rows + r * p->stride_height, start, o / outputs * channels, o);
            const int32_t at = o * p->requant_step;
            const int32_t y = tc_requantize_s16(sum, p->is_wide, p->multiplier[at], p->shift[at]);
            tc_store(out_rows[r], 2, i, tc_clamp(y, p->activation_min, p->activation_max));
        }
    }
}

/* in_rows: (n_rows-1)*stride_height + (KH-1)*dilation_height + 1 rows [W][C] of int16, NULL for a row of padding;
 * out_rows: n_rows rows [X][O] of int16; scratch unused. */
static inline void tc_conv2d_s16(const tc_windowed_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                 int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_windowed_s16_rows(p, in_rows, out_rows, n_rows);
}

/* Rows as for tc_conv2d_s16; G is C, weights are [C*M][KH][KW]. */
static inline void tc_depthwise_s16(const tc_windowed_s16_params *p, const int8_t *const *in_rows,
                                    int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_windowed_s16_rows(p, in_rows, out_rows, n_rows);
}

/* in_rows: n_rows rows [W][C] of int16, W vectors each; out_rows: n_rows rows [W][O]; scratch unused. */
static inline void tc_fully_connected_s16(const tc_windowed_s16_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_windowed_s16_rows(p, in_rows, out_rows, n_rows);
}

#endif /* TC_WINDOWED_S16_H */
