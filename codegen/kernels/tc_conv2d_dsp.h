/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D int8 on Armv7E-M: gather two output pixels into 16-bit lanes, then one pass of the matrix core over all
 * output channels. Shapes: input rows [input_width][input_channels], output rows [output_width][output_channels], both
 * int8.
 */
#ifndef TC_CONV2D_DSP_H
#define TC_CONV2D_DSP_H

#include "tc_gemm_dsp.h"

#include <stddef.h>

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
    int32_t groups;        /* of channels; more than 1 in tc_conv2d_grouped_dsp.h only */
    const int32_t *stream; /* weights in the core's order, see tc_gemm_dsp.h */
} tc_conv2d_s8_dsp_params;

/* One row of a window that begins at column `first`, `channels` of each tap; taps beside the row are the zero point. */
TC_INLINE void tc_conv2d_copy_taps_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *row, int32_t first,
                                       int32_t channels, int8_t *bytes)
{
    TC_UNROLL(8)
    for (int32_t j = 0; j < p->kernel_width; j++) {
        const int32_t column = first + j * p->dilation_width;
        if (column >= 0 && column < p->input_width) {
            __builtin_memcpy(bytes, row + column * p->input_channels, (size_t)channels);
        } else {
            __builtin_memset(bytes, p->input_zero_point, (size_t)channels);
        }
        bytes += channels;
    }
}

/* The same as lanes of one pixel, where `channels` is a multiple of 4. Returns the place of the next group. */
TC_INLINE int32_t *tc_conv2d_widen_taps_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *row, int32_t first,
                                            int32_t channels, int32_t *lane)
{
    TC_UNROLL(8)
    for (int32_t j = 0; j < p->kernel_width; j++) {
        const int32_t column = first + j * p->dilation_width;
        if (column >= 0 && column < p->input_width) {
            lane = tc_widen_row(row + column * p->input_channels, channels, lane, 4);
        } else {
            for (int32_t c = 0; c < channels; c += 4, lane += 4) {
                lane[0] = tc_lanes(p->input_zero_point, p->input_zero_point);
                lane[1] = lane[0];
            }
        }
    }
    return lane;
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

/* `rounds` (at least 1) times 16 bytes at a and at b as lanes of two pixels. */
TC_ASSEMBLY void tc_conv2d_widen_asm(TC_UNREAD const int8_t *a, TC_UNREAD const int8_t *b, TC_UNREAD int32_t *lanes,
                                     TC_UNREAD int32_t rounds)
{
    __asm__ volatile(
        "push {r4-r7}\n"
        "1:\n"
        ".rept 4\n"
        "ldr r4, [r0], #4\n"
        "ldr r6, [r1], #4\n"
        "sxtb16 r5, r4, ror #8\n"
        "sxtb16 r4, r4\n"
        "sxtb16 r7, r6, ror #8\n"
        "sxtb16 r6, r6\n"
        "stmia r2!, {r4-r7}\n"
        ".endr\n"
        "subs r3, r3, #1\n"
        "bne 1b\n"
        "pop {r4-r7}\n"
        "bx lr\n" ::: TC_ASSEMBLY_CLOBBERS);
}
/* clang-format on */
#endif

/* One row of the window of output column x: its groups of 4 values as lanes, what is left of it (when dense) to `left`.
 * `bytes` has room for the row, padded to 4. Returns the place of the next group. */
TC_INLINE int32_t *tc_conv2d_gather_part_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *row, int32_t x,
                                             int32_t *lane, int8_t *bytes, int8_t *left)
{
    int32_t run = p->kernel_width * p->input_channels;
    int32_t rest = p->is_dense ? run & 3 : 0;
    int32_t first = x * p->stride_width - p->pad_left;
    int32_t reach = (p->output_width - 1) * p->stride_width + p->kernel_width;
    int32_t unpadded = p->pad_left == 0 && reach <= p->input_width;
    int32_t whole = p->dilation_width == 1 && (unpadded || (first >= 0 && first + p->kernel_width <= p->input_width));
    const int8_t *window = row + (whole ? first * p->input_channels : 0);
    if (!whole && (p->input_channels & 3) == 0) {
        return tc_conv2d_widen_taps_dsp(p, row, first, p->input_channels, lane);
    }
    if (!whole) {
        tc_conv2d_copy_taps_dsp(p, row, first, p->input_channels, bytes);
        window = bytes;
    }
    lane = tc_widen_row(window, run - rest, lane, 4);
    for (int32_t j = 0; j < rest; j++) {
        left[j] = window[run - rest + j];
    }
    return lane;
}

/* The window of output column x as lanes of one pixel: of each of its rows the groups of 4 values, then, when dense,
 * what is left of all rows. `bytes` has room for one row of the window and for what is left, each padded to 4. */
TC_INLINE void tc_conv2d_gather_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                    int32_t *lane, int8_t *bytes)
{
    int32_t run = p->kernel_width * p->input_channels;
    int32_t rest = p->is_dense ? run & 3 : 0;
    int8_t *left = bytes + ((run + 3) & ~3);
    if (run < 16) {
        TC_UNROLL(10)
        for (int32_t i = 0; i < p->kernel_height; i++) {
            lane = tc_conv2d_gather_part_dsp(p, rows[i * p->dilation_height], x, lane, bytes, left + i * rest);
        }
    } else {
        TC_UNROLL(1)
        for (int32_t i = 0; i < p->kernel_height; i++) {
            lane = tc_conv2d_gather_part_dsp(p, rows[i * p->dilation_height], x, lane, bytes, left + i * rest);
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

/* The channels of two pixels at a and b as lanes. */
TC_INLINE void tc_conv2d_widen_pair_dsp(const int8_t *a, const int8_t *b, int32_t channels, int32_t *lanes)
{
    int32_t done = 0;
#if TC_HAS_DSP
    if (channels >= 16) {
        tc_conv2d_widen_asm(a, b, lanes, channels / 16);
        done = channels & ~15;
    }
#endif
    (void)tc_widen_row(a + done, channels - done, lanes + done, 4);
    (void)tc_widen_row(b + done, channels - done, lanes + done + 2, 4);
}

/* A 1x1 convolution with stride 1 of `pixels` adjacent pixels. */
TC_INLINE void tc_conv2d_pointwise_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *in, int8_t *out, int32_t pixels,
                                       int32_t *acts, int8_t *spill)
{
    for (int32_t x = 0; x + 1 < pixels; x += 2) {
        tc_conv2d_widen_pair_dsp(in, in + p->input_channels, p->input_channels, acts);
        tc_conv2d_pixels_dsp(p, acts, out, out + p->output_channels, spill);
        in += 2 * p->input_channels;
        out += 2 * p->output_channels;
    }
    if (pixels & 1) {
        tc_conv2d_widen_pair_dsp(in, in, p->input_channels, acts);
        tc_conv2d_pixels_dsp(p, acts, out, out, spill);
    }
}

/* Whether `n` rows of `bytes` bytes follow each other in memory. */
TC_INLINE int32_t tc_conv2d_is_joined(const int8_t *const *rows, int32_t n, int32_t bytes)
{
    for (int32_t i = 1; i < n; i++) {
        if (rows[i] != rows[i - 1] + bytes) {
            return 0;
        }
    }
    return 1;
}

/* Rows that follow each other are one long row: no odd pixel but the last. */
TC_INLINE void tc_conv2d_pointwise_rows_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                            int8_t *const *out_rows, int32_t n_rows, int32_t *acts, int8_t *spill)
{
    const int8_t *const *made = (const int8_t *const *)out_rows;
    const int32_t pixels = p->output_width;
    const int32_t joined = tc_conv2d_is_joined(in_rows, n_rows, pixels * p->input_channels) &&
                           tc_conv2d_is_joined(made, n_rows, pixels * p->output_channels);
    const int32_t rows = joined ? 1 : n_rows;
    for (int32_t row = 0; row < rows; row++) {
        tc_conv2d_pointwise_dsp(p, in_rows[row], out_rows[row], joined ? n_rows * pixels : pixels, acts, spill);
    }
}

/* Windows whose rows are one group of 4 values, column by column of the output: an input row is widened once, and the
 * window of the next output row begins `stride_height` groups further on. An odd last column is paired with itself one
 * output row further down; of an odd number of rows the last but one is computed twice. */
TC_INLINE void tc_conv2d_columns_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                     int8_t *const *out_rows, int32_t n_rows, int32_t *acts, int8_t *spill)
{
    const int32_t below = p->stride_height;
    const int32_t taken = (n_rows - 1) * below + p->kernel_height;
    for (int32_t x = 0; x < p->output_width; x += 2) {
        const int32_t is_pair = x + 1 < p->output_width;
        const int32_t ahead = is_pair || n_rows == 1 ? 0 : below;
        for (int32_t i = 0; i < taken; i++) {
            const int32_t second = i + ahead < taken ? i + ahead : i;
            (void)tc_conv2d_gather_part_dsp(p, in_rows[i], x, acts + 4 * i, spill + 4, NULL);
            (void)tc_conv2d_gather_part_dsp(p, in_rows[second], x + is_pair, acts + 4 * i + 2, spill + 4, NULL);
        }
        for (int32_t y = 0; y < n_rows; y += is_pair ? 1 : 2) {
            const int32_t top = y - (ahead > 0 && y + 1 == n_rows);
            int8_t *a = out_rows[top] + x * p->output_channels;
            int8_t *b = is_pair ? a + p->output_channels : out_rows[top + (ahead > 0)] + x * p->output_channels;
            tc_conv2d_pixels_dsp(p, acts + 4 * top * below, a, b, spill);
        }
    }
}

/* in_rows: (n_rows - 1) * stride_height + (kernel_height - 1) * dilation_height + 1 rows, top first, padding rows
 * filled with the zero point. scratch: 16 * steps * chunks + 4 bytes and the window's staging; where a row of the
 * window has 4 values, 16 bytes for each input row if that is more. */
TC_INLINE void tc_conv2d_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    const int32_t is_pointwise = p->kernel_height == 1 && p->kernel_width == 1 && p->stride_height == 1 &&
                                 p->stride_width == 1 && p->output_width == p->input_width;
    const int32_t has_groups =
        p->kernel_width * p->input_channels == 4 && p->kernel_height > p->stride_height && p->dilation_height == 1;
    const int32_t taken = (n_rows - 1) * p->stride_height + p->kernel_height;
    const int32_t groups = p->steps * p->chunks;
    int32_t *acts = (int32_t *)scratch;
    int8_t *spill = (int8_t *)(acts + 4 * (has_groups && taken > groups ? taken : groups));
    if (is_pointwise) {
        tc_conv2d_pointwise_rows_dsp(p, in_rows, out_rows, n_rows, acts, spill);
    } else if (has_groups) {
        tc_conv2d_columns_dsp(p, in_rows, out_rows, n_rows, acts, spill);
    } else if (p->output_width & 1) {
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
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
