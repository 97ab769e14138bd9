/* SPDX-License-Identifier: MIT-0
 *
 * Grouped Conv2D int8 on Armv7E-M, and the depthwise convolution with several outputs a channel: for each group the
 * windows of two pixels are gathered into 16-bit lanes, then the matrix core makes the group's output channels. Shapes
 * and parameters are those of tc_conv2d_dsp.h, the stream is one group after the other; a group's output channels are
 * even in number.
 */
#ifndef TC_CONV2D_GROUPED_DSP_H
#define TC_CONV2D_GROUPED_DSP_H

#include "tc_conv2d_dsp.h"

/* The window of output column x over the group of `channels` input channels that begins with `channel`, as lanes of one
 * pixel; a row of it is padded to 4 values. `bytes` has room for such a row. */
TC_INLINE void tc_grouped_gather_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                     int32_t channel, int32_t channels, int32_t *lane, int8_t *bytes)
{
    const int32_t first = x * p->stride_width - p->pad_left;
    const int32_t whole = p->dilation_width == 1 && first >= 0 && first + p->kernel_width <= p->input_width;
    for (int32_t i = 0; i < p->kernel_height; i++) {
        const int8_t *row = rows[i * p->dilation_height] + channel;
        if (p->groups == 1 && whole) {
            lane = tc_widen_row(row + first * channels, p->kernel_width * channels, lane, 4);
        } else if (channels & 3) {
            tc_conv2d_copy_taps_dsp(p, row, first, channels, bytes);
            lane = tc_widen_row(bytes, p->kernel_width * channels, lane, 4);
        } else {
            lane = tc_conv2d_widen_taps_dsp(p, row, first, channels, lane);
        }
    }
}

/* Rows as for tc_conv2d_s8_dsp. scratch: 16 * steps * chunks bytes and a row of a group's window, padded to 4. */
TC_INLINE void tc_conv2d_grouped_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                        int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t inputs = p->input_channels / p->groups;
    const int32_t outputs = p->output_channels / p->groups;
    const int32_t group_words = outputs / 2 * (8 + 4 * p->steps * p->chunks);
    int32_t *acts = (int32_t *)scratch;
    int8_t *bytes = (int8_t *)(acts + 4 * p->steps * p->chunks);
    for (int32_t y = 0; y < n_rows; y++) {
        const int8_t *const *rows = in_rows + y * p->stride_height;
        for (int32_t x = 0; x < p->output_width; x += 2) {
            /* An odd last column is paired with itself. */
            const int32_t next = x + 1 < p->output_width ? x + 1 : x;
            const int32_t delta = (next - x) * p->output_channels;
            const int32_t *stream = p->stream;
            int8_t *out = out_rows[y] + x * p->output_channels;
            for (int32_t group = 0; group < p->groups; group++, out += outputs, stream += group_words) {
                tc_grouped_gather_dsp(p, rows, x, group * inputs, inputs, acts, bytes);
                tc_grouped_gather_dsp(p, rows, next, group * inputs, inputs, acts + 2, bytes);
                tc_gemm_dsp(p->form, p->steps, p->chunks, acts, stream, out, delta, out + outputs,
                            p->output_zero_point);
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
