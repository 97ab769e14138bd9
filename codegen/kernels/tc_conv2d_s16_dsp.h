/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D of int16 activations with int8 weights on Armv7E-M: gather two output pixels, then one pass of the matrix core
 * over all output channels. Shapes and parameters are those of tc_windowed_s16.h, without groups.
 */
#ifndef TC_CONV2D_S16_DSP_H
#define TC_CONV2D_S16_DSP_H

#include "tc_gemm_s16_dsp.h"

/* `count` values as lanes of one pixel: two words for each 4 values (the last ones padded with 0), groups 4 words
 * apart. Returns the place of the next group. */
TC_INLINE int32_t *tc_lanes_row_s16(const int8_t *values, int32_t count, int32_t *lane)
{
    int32_t i = 0;
    TC_UNROLL(4)
    for (; i + 4 <= count; i += 4, lane += 4) {
        lane[0] = (int32_t)tc_load32(values + 2 * i);
        lane[1] = (int32_t)tc_load32(values + 2 * i + 4);
    }
    if (i < count) {
        lane[0] = tc_lanes(tc_load(values, 2, i), i + 1 < count ? tc_load(values, 2, i + 1) : 0);
        lane[1] = tc_lanes(i + 2 < count ? tc_load(values, 2, i + 2) : 0, 0);
        lane += 4;
    }
    return lane;
}

/* Input column `column` of a row, NULL where it is padding. */
TC_INLINE const int8_t *tc_column_s16(const tc_windowed_s16_dsp_params *p, const int8_t *row, int32_t column)
{
    return row != NULL && column >= 0 && column < p->input_width ? row + 2 * column * p->input_channels : NULL;
}

/* A row of a window that begins at column `first` and that padding or dilation interrupts, where channels are a
 * multiple of 4. */
TC_INLINE int32_t *tc_conv2d_taps_s16(const tc_windowed_s16_dsp_params *p, const int8_t *row, int32_t first,
                                      int32_t *lane)
{
    for (int32_t j = 0; j < p->kernel_width; j++) {
        const int8_t *tap = tc_column_s16(p, row, first + j * p->dilation_width);
        if (tap != NULL) {
            lane = tc_lanes_row_s16(tap, p->input_channels, lane);
        } else {
            for (int32_t c = 0; c < p->input_channels; c += 4, lane += 4) {
                lane[0] = 0;
                lane[1] = 0;
            }
        }
    }
    return lane;
}

/* The same as int16 in their order, for any number of channels. */
TC_INLINE void tc_conv2d_stage_s16(const tc_windowed_s16_dsp_params *p, const int8_t *row, int32_t first,
                                   int8_t *staging)
{
    const int32_t bytes = 2 * p->input_channels;
    for (int32_t j = 0; j < p->kernel_width; j++) {
        const int8_t *tap = tc_column_s16(p, row, first + j * p->dilation_width);
        if (tap != NULL) {
            __builtin_memcpy(staging + j * bytes, tap, (size_t)bytes);
        } else {
            __builtin_memset(staging + j * bytes, 0, (size_t)bytes);
        }
    }
}

/* One row of the window of output column x: its groups of 4 values as lanes, what is left of it (when dense) to `left`.
 * `staging` has room for the row. Returns the place of the next group. */
TC_INLINE int32_t *tc_conv2d_gather_row_s16(const tc_windowed_s16_dsp_params *p, const int8_t *row, int32_t x,
                                            int32_t *lane, int8_t *staging, int8_t *left)
{
    const int32_t run = p->kernel_width * p->input_channels;
    const int32_t rest = p->is_dense ? run & 3 : 0;
    const int32_t first = x * p->stride_width - p->pad_left;
    const int32_t is_inside = row != NULL && first >= 0 && first + p->kernel_width <= p->input_width;
    const int8_t *window = row;
    if (is_inside && p->dilation_width == 1) {
        window += 2 * first * p->input_channels;
    } else if ((p->input_channels & 3) == 0) {
        return tc_conv2d_taps_s16(p, row, first, lane);
    } else {
        window = staging;
        tc_conv2d_stage_s16(p, row, first, staging);
    }
    lane = tc_lanes_row_s16(window, run - rest, lane);
    for (int32_t j = 0; j < rest; j++) {
        tc_store(left, 2, j, tc_load(window, 2, run - rest + j));
    }
    return lane;
}

/* The window of output pixel `i` of the rows as lanes of one pixel: of each of its rows the groups of 4 values, then,
 * when dense, what is left of all rows. `staging` has room for a row of the window and for what is left, each padded to
 * 4 values. */
TC_INLINE void tc_conv2d_gather_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows, int32_t i,
                                    int32_t *lane, int8_t *staging)
{
    const int32_t run = p->kernel_width * p->input_channels;
    const int32_t rest = p->is_dense ? run & 3 : 0;
    const int8_t *const *rows = in_rows + i / p->output_width * p->stride_height;
    int8_t *left = staging + 2 * ((run + 3) & ~3);
    for (int32_t k = 0; k < p->kernel_height; k++) {
        lane = tc_conv2d_gather_row_s16(p, rows[k * p->dilation_height], i % p->output_width, lane, staging,
                                        left + 2 * k * rest);
    }
    (void)tc_lanes_row_s16(left, p->kernel_height * rest, lane);
}

/* All channels of two gathered pixels whose sums need more than 32 bits, or wrap. */
TC_INLINE void tc_conv2d_sums_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *acts, int8_t *a,
                                  int8_t *b)
{
    const int32_t groups = p->steps * p->chunks;
    const int32_t *stream = p->stream;
    for (int32_t o = 0; o < p->output_channels; o += 2) {
        int64_t wide[4] = {0, 0, 0, 0};
        for (int32_t s = 0; s < p->segments; s++) {
            int32_t sums[4];
            int8_t *to = (int8_t *)sums;
            tc_gemm_s16_dsp(p, is_lanes, acts + 4 * s * groups, stream, to, 0, to + sizeof sums);
            stream += 6 + tc_words_s16(is_lanes, 2) * groups;
            for (int32_t i = 0; i < 4; i++) {
                wide[i] += sums[i];
            }
        }
        for (int32_t i = 0; i < 2 && o + i < p->output_channels; i++) {
            tc_store(a, 2, o + i, tc_requantize_sum_s16(p, wide[2 * i], o + i));
            tc_store(b, 2, o + i, tc_requantize_sum_s16(p, wide[2 * i + 1], o + i));
        }
    }
}

/* All channels of two gathered pixels. An odd last channel is written with a neighbour first, since the core writes
 * pairs. */
TC_INLINE void tc_conv2d_pixels_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *acts,
                                    int8_t *a, int8_t *b)
{
    const int32_t even = p->output_channels & ~1;
    if (p->form == 2) {
        tc_conv2d_sums_s16(p, is_lanes, acts, a, b);
        return;
    }
    if (even > 0) {
        tc_gemm_s16_dsp(p, is_lanes, acts, p->stream, a, (int32_t)(b - a), a + 2 * even);
    }
    if (p->output_channels > even) {
        int32_t pairs[2];
        int8_t *to = (int8_t *)pairs;
        const int32_t *last = p->stream + even / 2 * (6 + tc_words_s16(is_lanes, 2) * p->steps * p->chunks);
        tc_gemm_s16_dsp(p, is_lanes, acts, last, to, 4, to + 4);
        tc_store(a, 2, even, tc_load(to, 2, 0));
        tc_store(b, 2, even, tc_load(to, 2, 2));
    }
}

TC_INLINE int8_t *tc_conv2d_pixel_s16(const tc_windowed_s16_dsp_params *p, int8_t *const *out_rows, int32_t i)
{
    return out_rows[i / p->output_width] + 2 * (i % p->output_width) * p->output_channels;
}

/* Pairs of pixels go on from one row to the next; an odd last one is paired with itself. */
TC_INLINE void tc_conv2d_rows_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int8_t *const *in_rows,
                                  int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *acts = (int32_t *)scratch;
    int8_t *staging = (int8_t *)(acts + 4 * p->steps * p->chunks * p->segments);
    const int32_t pixels = n_rows * p->output_width;
    for (int32_t i = 0; i < pixels; i += 2) {
        const int32_t j = tc_min(i + 1, pixels - 1);
        tc_conv2d_gather_s16(p, in_rows, i, acts, staging);
        tc_conv2d_gather_s16(p, in_rows, j, acts + 2, staging);
        tc_conv2d_pixels_s16(p, is_lanes, acts, tc_conv2d_pixel_s16(p, out_rows, i),
                             tc_conv2d_pixel_s16(p, out_rows, j));
    }
    tc_clamp_rows_s16(p, out_rows, n_rows);
}

/* Rows as for tc_conv2d_s16; weights as lanes. scratch: 16 * steps * chunks * segments bytes and the window's staging.
 */
TC_INLINE void tc_conv2d_s16_dsp(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                 int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_conv2d_rows_s16(p, 1, in_rows, out_rows, n_rows, scratch);
}

/* Rows and scratch as for tc_conv2d_s16_dsp; weights as bytes. */
TC_INLINE void tc_conv2d_packed_s16_dsp(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                        int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_conv2d_rows_s16(p, 0, in_rows, out_rows, n_rows, scratch);
}

#endif
