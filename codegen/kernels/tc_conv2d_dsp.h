/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D int8 on Armv7E-M: gather two output pixels into 16-bit lanes, then one pass of the matrix core over all
 * output channels. Shapes: input rows [input_width][input_channels], output rows [output_width][output_channels], both
 * int8.
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
    int32_t is_dense;      /* 1: what each row has over groups of 4 values is joined, not padded */
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

#if TC_HAS_DSP
/* clang-format off */
/* Three rows of 9 bytes at r1 + offset as 7 groups of lanes at `lane`; the ninth bytes are the last group. */
#define TC_CONV2D_NINE_ASM(row, ninth, lane)                            \
    "add r4, " #row ", r1\n"                                            \
    "ldr r5, [r4]\n"                                                    \
    "ldr r6, [r4, #4]\n"                                                \
    "ldrsb " #ninth ", [r4, #8]\n"                                      \
    "sxtb16 r7, r5\n"                                                   \
    "sxtb16 r5, r5, ror #8\n"                                           \
    "strd r7, r5, [r2, #" #lane "]\n"                                   \
    "sxtb16 r7, r6\n"                                                   \
    "sxtb16 r6, r6, ror #8\n"                                           \
    "strd r7, r6, [r2, #(" #lane " + 16)]\n"
#define TC_CONV2D_WINDOW27_ASM                                          \
    TC_CONV2D_NINE_ASM(r8, r11, 0)                                      \
    TC_CONV2D_NINE_ASM(r9, r12, 32)                                     \
    TC_CONV2D_NINE_ASM(r10, r4, 64)                                     \
    "pkhbt r11, r11, r4, lsl #16\n"                                     \
    "uxth r12, r12\n"                                                   \
    "strd r11, r12, [r2, #96]\n"

/* Windows of 3 rows of 9 bytes, of two pixels `step` bytes apart, in the dense order of tc_conv2d_gather_dsp. */
TC_ASSEMBLY void tc_conv2d_gather27_asm(TC_UNREAD const int8_t *const *rows, TC_UNREAD int32_t offset,
                                        TC_UNREAD int32_t *lanes, TC_UNREAD int32_t step)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldm r0, {r8-r10}\n"
        TC_CONV2D_WINDOW27_ASM
        "add r1, r1, r3\n"
        "add r2, r2, #8\n"
        TC_CONV2D_WINDOW27_ASM
        "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}
/* clang-format on */
#endif

/* The window of output column x as lanes of one pixel: of each of its rows the groups of 4 values, then, when dense,
 * what is left of all rows. `bytes` has room for one row of the window and for what is left, each padded to 4. */
TC_INLINE void tc_conv2d_gather_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                    int32_t *lane, int8_t *bytes)
{
    int32_t run = p->kernel_width * p->input_channels;
    int32_t rest = p->is_dense ? run & 3 : 0;
    int8_t *left = bytes + ((run + 3) & ~3);
    int32_t first = x * p->stride_width - p->pad_left;
    int32_t reach = (p->output_width - 1) * p->stride_width + p->kernel_width;
    int32_t unpadded = p->pad_left == 0 && reach <= p->input_width;
    int32_t whole = p->dilation_width == 1 && (unpadded || (first >= 0 && first + p->kernel_width <= p->input_width));
    TC_UNROLL(10)
    for (int32_t i = 0; i < p->kernel_height; i++) {
        const int8_t *window = rows[i * p->dilation_height] + (whole ? first * p->input_channels : 0);
        if (!whole) {
            tc_conv2d_copy_taps_dsp(p, window, first, bytes);
            window = bytes;
        }
        lane = tc_widen_row(window, run - rest, lane, 4);
        for (int32_t j = 0; j < rest; j++) {
            left[i * rest + j] = window[run - rest + j];
        }
    }
    (void)tc_widen_row(left, p->kernel_height * rest, lane, 4);
}

/* Output columns x and x + 1 of one row. */
TC_INLINE void tc_conv2d_gather_pair_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                         int32_t *acts, int8_t *bytes)
{
#if TC_HAS_DSP
    int32_t first = x * p->stride_width - p->pad_left;
    int32_t whole = first >= 0 && first + p->stride_width + p->kernel_width <= p->input_width;
    int32_t is_rgb = p->is_dense && p->kernel_height == 3 && p->kernel_width * p->input_channels == 9;
    if (is_rgb && whole && p->dilation_height == 1 && p->dilation_width == 1) {
        tc_conv2d_gather27_asm(rows, first * p->input_channels, acts, p->stride_width * p->input_channels);
        return;
    }
#endif
    tc_conv2d_gather_dsp(p, rows, x, acts, bytes);
    tc_conv2d_gather_dsp(p, rows, x + 1, acts + 2, bytes);
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

/* Pairs of pixels that go on from one row to the next, for odd widths. */
TC_INLINE void tc_conv2d_running_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                     int8_t *const *out_rows, int32_t n_rows, int32_t *acts, int8_t *spill)
{
    int32_t row = 0;
    int32_t x = 0;
    for (int32_t left = n_rows * p->output_width; left > 0; left -= 2) {
        int8_t *a = out_rows[row] + x * p->output_channels;
        int8_t *b = a;
        tc_conv2d_gather_dsp(p, in_rows + row * p->stride_height, x, acts, spill + 4);
        if (left > 1) {
            x++;
            if (x == p->output_width) {
                x = 0;
                row++;
            }
            b = out_rows[row] + x * p->output_channels;
        }
        tc_conv2d_gather_dsp(p, in_rows + row * p->stride_height, x, acts + 2, spill + 4);
        tc_conv2d_pixels_dsp(p, acts, a, b, spill);
        x++;
        if (x == p->output_width) {
            x = 0;
            row++;
        }
    }
}

/* in_rows: (n_rows - 1) * stride_height + (kernel_height - 1) * dilation_height + 1 rows, top first, padding rows
 * filled with the zero point. scratch: 16 * steps * chunks + 4 bytes and the window's staging. */
TC_INLINE void tc_conv2d_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    int32_t *acts = (int32_t *)scratch;
    int8_t *spill = (int8_t *)(acts + 4 * p->steps * p->chunks);
    if (p->output_width & 1) {
        tc_conv2d_running_dsp(p, in_rows, out_rows, n_rows, acts, spill);
    } else {
        for (int32_t row = 0; row < n_rows; row++) {
            for (int32_t x = 0; x < p->output_width; x += 2) {
                int8_t *out = out_rows[row] + x * p->output_channels;
                tc_conv2d_gather_pair_dsp(p, in_rows + row * p->stride_height, x, acts, spill + 4);
                tc_conv2d_pixels_dsp(p, acts, out, out + p->output_channels, spill);
            }
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        for (int32_t i = 0; i < n_rows; i++) {
            tc_clamp_row(out_rows[i], p->output_width * p->output_channels, p->activation_min, p->activation_max);
        }
    }
}

#endif
