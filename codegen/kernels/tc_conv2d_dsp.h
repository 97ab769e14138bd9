/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D int8 on Armv7E-M: gather two output pixels into 16-bit lanes, then one pass of the matrix core over all
 * output channels. Shapes: input rows [input_width][input_channels], output rows [output_width][output_channels], both int8.
 */
#ifndef TC_CONV2D_DSP_H
#define TC_CONV2D_DSP_H

#include "tc_gemm_dsp.h"

typedef struct {
    int32_t input_width;
    int32_t input_channels;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;          /* see tc_requantize_dsp.h */
    int32_t steps;         /* groups of 4 values per round of the core */
    int32_t chunks;        /* rounds; 4 * steps * chunks values hold the window, padded with zero weights */
    int32_t is_dense;      /* 1: the window's rows follow each other without padding to 4 values */
    const int32_t *stream; /* weights in the core's order, see tc_gemm_dsp.h */
} tc_conv2d_s8_dsp_params;

/* One row of a window that begins at column `first`, taps outside the row replaced by the zero point. */
TC_INLINE void tc_conv2d_copy_taps_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *row, int32_t first,
                                       int8_t *bytes)
{
    for (int32_t j = 0; j < p->kernel_width; j++) {
        int32_t column = first + j * p->dilation_width;
        int32_t inside = column >= 0 && column < p->input_width;
        const int8_t *tap = row + (inside ? column * p->input_channels : 0);
        for (int32_t c = 0; c < p->input_channels; c++) {
            *bytes++ = inside ? tap[c] : (int8_t)p->input_zero_point;
        }
    }
}

/* The window of output column x as lanes of one pixel. `bytes` has room for the whole window, padded to 4. */
TC_INLINE void tc_conv2d_gather_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                    int32_t *lane, int8_t *bytes)
{
    int32_t run = p->kernel_width * p->input_channels;
    int32_t first = x * p->stride_width - p->pad_left;
    int32_t reach = (p->output_width - 1) * p->stride_width + p->kernel_width;
    int32_t unpadded = p->pad_left == 0 && reach <= p->input_width;
    int32_t whole = p->dilation_width == 1 && (unpadded || (first >= 0 && first + p->kernel_width <= p->input_width));
    for (int32_t i = 0; i < p->kernel_height; i++) {
        const int8_t *row = rows[i * p->dilation_height];
        const int8_t *window = row + (whole ? first * p->input_channels : 0);
        if (p->is_dense) {
            if (whole) {
                __builtin_memcpy(bytes + i * run, window, (uint32_t)run);
            } else {
                tc_conv2d_copy_taps_dsp(p, row, first, bytes + i * run);
            }
        } else if (whole) {
            lane = tc_widen_row(window, run, lane, 4);
        } else {
            tc_conv2d_copy_taps_dsp(p, row, first, bytes);
            lane = tc_widen_row(bytes, run, lane, 4);
        }
    }
    if (p->is_dense) {
        (void)tc_widen_row(bytes, p->kernel_height * run, lane, 4);
    }
}

/* All channels of two gathered pixels. An odd last channel goes through `spill`, since the core writes pairs. */
TC_INLINE void tc_conv2d_pixels_dsp(const tc_conv2d_s8_dsp_params *p, const int32_t *acts, int8_t *a, int8_t *b,
                                    int8_t *spill)
{
    int32_t even = p->output_channels & ~1;
    if (even > 0) {
        tc_gemm_dsp(p->form, p->steps, p->chunks, acts, p->stream, a, (int32_t)(b - a), a + even, p->output_zero_point);
    }
    if (p->output_channels > even) {
        const int32_t *last = p->stream + even / 2 * (8 + 4 * p->steps * p->chunks);
        tc_gemm_dsp(p->form, p->steps, p->chunks, acts, last, spill, 2, spill + 2, p->output_zero_point);
        a[even] = spill[0];
        b[even] = spill[2];
    }
}

/* in_rows: (n_rows - 1) * stride_height + (kernel_height - 1) * dilation_height + 1 rows, top first, padding rows filled with the
 * zero point. scratch: 16 * steps * chunks bytes of lanes, the window's bytes padded to 4, and 4 bytes. */
TC_INLINE void tc_conv2d_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *acts = (int32_t *)scratch;
    int8_t *spill = (int8_t *)(acts + 4 * p->steps * p->chunks);
    int8_t *bytes = spill + 4;
    int32_t row = 0;
    int32_t x = 0;
    for (int32_t left = n_rows * p->output_width; left > 0; left -= 2) {
        int8_t *a = out_rows[row] + x * p->output_channels;
        int8_t *b = a;
        tc_conv2d_gather_dsp(p, in_rows + row * p->stride_height, x, acts, bytes);
        if (left > 1) {
            x++;
            if (x == p->output_width) {
                x = 0;
                row++;
            }
            b = out_rows[row] + x * p->output_channels;
        }
        tc_conv2d_gather_dsp(p, in_rows + row * p->stride_height, x, acts + 2, bytes);
        tc_conv2d_pixels_dsp(p, acts, a, b, spill);
        x++;
        if (x == p->output_width) {
            x = 0;
            row++;
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        for (int32_t i = 0; i < n_rows; i++) {
            tc_clamp_row(out_rows[i], p->output_width * p->output_channels, p->activation_min, p->activation_max);
        }
    }
}

#endif
