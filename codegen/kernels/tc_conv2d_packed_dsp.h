/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D int8 on Armv7E-M with weights kept as bytes: a strip of pixels is gathered once, then each pair of output
 * channels is widened to 16-bit lanes once per strip and taken over all its pixels. Shapes and gather are
 * those of tc_conv2d_dsp.h, and so are the parameters. Here `stream` holds, per pair of output channels o, o+1: bias(o)
 * bias(o) bias(o+1) bias(o+1), per group of 4 values the bytes of o and of o+1, then multiplier and addend of o and of
 * o+1; form is 0 or 1.
 */
#ifndef TC_CONV2D_PACKED_DSP_H
#define TC_CONV2D_PACKED_DSP_H

#include "tc_conv2d_dsp.h"

#define TC_STRIP_PIXELS 32
#define TC_STRIP_BYTES 4096

/* Pixels of a strip for `groups` groups of 4 values: even, at least 2, within both limits above where that is more. */
TC_INLINE int32_t tc_strip_pixels(int32_t groups)
{
    const int32_t fit = TC_STRIP_BYTES / (8 * groups);
    return fit < 2 ? 2 : fit > TC_STRIP_PIXELS ? TC_STRIP_PIXELS : fit & ~1;
}

#if TC_HAS_DSP
/* clang-format off */
/* Registers as in tc_gemm_dsp.h. The stack holds zero point, out, delta, step, stream, end of acts, end of weights. */
#define TC_STRIP_REQUANTIZE(ties)                                       \
    "ldmia r1!, {r4-r7}\n"                                              \
    "ldm sp, {r8-r11}\n"                                                \
    TC_GEMM_HIGH_ASM ties TC_GEMM_SCALE_ASM(r8)                         \
    "bfi r2, r12, #8, #8\n"                                             \
    "bfi r3, lr, #8, #8\n"                                              \
    "strh r3, [r9, r10]\n"                                              \
    "strh r2, [r9]\n"                                                   \
    "add r9, r9, r11\n"                                                 \
    "str r9, [sp, #4]\n"                                                \
    "ldrd r1, r4, [sp, #16]\n"                                          \
    "cmp r0, r4\n"                                                      \
    "bne 1b\n"
#define TC_STRIP_PARAMETERS                                             \
    (TC_UNREAD int32_t zero_point, TC_UNREAD int8_t *out, TC_UNREAD int32_t delta, TC_UNREAD int32_t step, \
     TC_UNREAD const int32_t *stream, TC_UNREAD const int32_t *acts_end, TC_UNREAD const int32_t *weights_end, \
     TC_UNREAD const int32_t *acts)
#define TC_STRIP_ENTER_ASM                                              \
    "push {r4-r11, lr}\n"                                               \
    "ldrd r4, r5, [sp, #36]\n"                                          \
    "ldrd r6, r7, [sp, #44]\n"                                          \
    "push {r0-r6}\n"                                                    \
    "mov r1, r4\n"                                                      \
    "mov r0, r7\n"                                                      \
    "1:\n"                                                              \
    "ldmia r1!, {r2, r3, r12, lr}\n"
#define TC_STRIP_LEAVE_ASM                                              \
    "add sp, sp, #28\n"                                                 \
    "pop {r4-r11, pc}\n"
#define TC_STRIP_FULL(form, steps)                                      \
    TC_ASSEMBLY void tc_strip_##form##_##steps TC_STRIP_PARAMETERS      \
    {                                                                   \
        __asm__ volatile(TC_STRIP_ENTER_ASM                             \
                         TC_GEMM_STEPS_ASM(steps)                       \
                         TC_STRIP_REQUANTIZE(TC_GEMM_TIES_##form)       \
                         TC_STRIP_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS);  \
    }
#define TC_STRIP_CHUNKED(form, steps)                                   \
    TC_ASSEMBLY void tc_strip_chunked_##form##_##steps TC_STRIP_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_STRIP_ENTER_ASM                             \
                         "2:\n"                                         \
                         TC_GEMM_STEPS_ASM(steps)                       \
                         "ldr r4, [sp, #24]\n"                          \
                         "cmp r1, r4\n"                                 \
                         "bne 2b\n"                                     \
                         TC_STRIP_REQUANTIZE(TC_GEMM_TIES_##form)       \
                         TC_STRIP_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS);  \
    }
#define TC_STRIP_DEFINE(form)               \
    TC_GEMM_FOR_SHORT(TC_STRIP_FULL, form)  \
    TC_GEMM_FOR_LONG(TC_STRIP_FULL, form)   \
    TC_GEMM_FOR_LONG(TC_STRIP_CHUNKED, form)
TC_STRIP_DEFINE(0)
TC_STRIP_DEFINE(1)

#define TC_STRIP_CASE_FULL(form, count)                                                                              \
    case count:                                                                                                      \
        tc_strip_##form##_##count(p->output_zero_point, out, delta, step, block, acts + pairs * pair, weights, acts); \
        break;
#define TC_STRIP_CASE_CHUNKED(form, count)                                                                           \
    case count:                                                                                                      \
        tc_strip_chunked_##form##_##count(p->output_zero_point, out, delta, step, block, acts + pairs * pair,        \
                                          weights, acts);                                                            \
        break;
#define TC_STRIP_CASES(form)                                    \
    case form:                                                  \
        if (p->chunks == 1) {                                   \
            switch (p->steps) {                                 \
                TC_GEMM_FOR_SHORT(TC_STRIP_CASE_FULL, form)     \
                TC_GEMM_FOR_LONG(TC_STRIP_CASE_FULL, form)      \
            default:                                            \
                break;                                          \
            }                                                   \
        } else {                                                \
            switch (p->steps) {                                 \
                TC_GEMM_FOR_LONG(TC_STRIP_CASE_CHUNKED, form)   \
            default:                                            \
                break;                                          \
            }                                                   \
        }                                                       \
        break;
/* clang-format on */
#endif

/* One widened pair of output channels over `pairs` pairs of pixels; outputs of a pair are `delta` apart, pairs `step`.
 */
TC_INLINE void tc_strip_pairs(const tc_conv2d_s8_dsp_params *p, const int32_t *acts, int32_t pairs,
                              const int32_t *block, int8_t *out, int32_t delta, int32_t step)
{
    const int32_t pair = 4 * p->steps * p->chunks;
#if TC_HAS_DSP
    const int32_t *weights = block + 4 + pair;
    switch (p->form) {
        TC_STRIP_CASES(0)
        TC_STRIP_CASES(1)
    default:
        break;
    }
#else
    for (int32_t i = 0; i < pairs; i++, acts += pair, out += step) {
        tc_gemm_dsp(p->form, p->steps, p->chunks, acts, block, out, delta, out + 2, p->output_zero_point);
    }
#endif
}

/* A pair of output channels of `packed` as the core reads it. Returns the next pair. */
TC_INLINE const int32_t *tc_strip_widen(const int32_t *packed, int32_t groups, int32_t *block)
{
    for (int32_t i = 0; i < 4; i++) {
        *block++ = *packed++;
    }
    for (int32_t i = 0; i < groups; i++, packed += 2, block += 4) {
        const uint32_t first = (uint32_t)packed[0];
        const uint32_t second = (uint32_t)packed[1];
        block[0] = tc_sxtb16(first);
        block[1] = tc_sxtb16_odd(first);
        block[2] = tc_sxtb16(second);
        block[3] = tc_sxtb16_odd(second);
    }
    for (int32_t i = 0; i < 4; i++) {
        *block++ = *packed++;
    }
    return packed;
}

/* A run of `count` output pixels, gathered at `acts`, for the channels o, o+1 of `block`. The last pair of an odd count
 * is its last pixel twice. */
TC_INLINE void tc_strip_row(const tc_conv2d_s8_dsp_params *p, const int32_t *acts, const int32_t *block, int8_t *out,
                            int32_t count, int32_t is_single, int8_t *spill)
{
    const int32_t pair = 4 * p->steps * p->chunks;
    const int32_t pairs = count / 2;
    const int32_t step = 2 * p->output_channels;
    if (is_single) {
        for (int32_t i = 0; i < count; i += 2) {
            tc_strip_pairs(p, acts + i / 2 * pair, 1, block, spill, 2, 0);
            out[i * p->output_channels] = spill[0];
            out[(i + 1 < count ? i + 1 : i) * p->output_channels] = spill[2];
        }
        return;
    }
    if (pairs > 0) {
        tc_strip_pairs(p, acts, pairs, block, out, p->output_channels, step);
    }
    if (count & 1) {
        tc_strip_pairs(p, acts + pairs * pair, 1, block, out + pairs * step, 0, 0);
    }
}

/* Output pixels of a strip: `runs` runs of `count` pixels. A run is a part of a row, or whole rows that follow each
 * other in memory. */
typedef struct {
    int32_t row;    /* first row */
    int32_t column; /* first column */
    int32_t runs;
    int32_t count;
} tc_strip;

/* Pixel `i` of run `run` as lanes of one pixel. */
TC_INLINE void tc_strip_gather(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows, const tc_strip *strip,
                               int32_t run, int32_t i, int32_t *lane, int8_t *bytes)
{
    const int32_t x = strip->column + i;
    const int32_t row = strip->row + run + x / p->output_width;
    tc_conv2d_gather_dsp(p, in_rows + row * p->stride_height, x % p->output_width, lane, bytes);
}

/* The strip that begins at a row and column, of at most `columns` columns and up to row `y_end`. */
TC_INLINE tc_strip tc_strip_at(const tc_conv2d_s8_dsp_params *p, int8_t *const *out_rows, int32_t y, int32_t y_end,
                               int32_t x, int32_t columns)
{
    const int32_t count = x + columns < p->output_width ? columns : p->output_width - x;
    int32_t joined = count == p->output_width;
    for (int32_t row = y + 1; row < y_end; row++) {
        joined &= out_rows[row] == out_rows[row - 1] + p->output_width * p->output_channels;
    }
    const tc_strip runs = {y, x, y_end - y, count};
    const tc_strip one = {y, x, 1, (y_end - y) * count};
    return joined ? one : runs;
}

/* Rows as for tc_conv2d_s8_dsp. scratch: lanes of the strip (8 bytes for each value group and pixel), a widened block
 * (16 * groups + 32 bytes), 4 bytes and the window's staging. */
TC_INLINE void tc_conv2d_packed_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t groups = p->steps * p->chunks;
    const int32_t pixels = tc_strip_pixels(groups);
    const int32_t even_width = p->output_width + (p->output_width & 1);
    const int32_t columns = even_width < pixels ? even_width : pixels;
    const int32_t rows = pixels / columns;
    int32_t *acts = (int32_t *)scratch;
    int32_t *block = acts + 2 * groups * pixels;
    int8_t *spill = (int8_t *)(block + 4 * groups + 8);
    for (int32_t y = 0; y < n_rows; y += rows) {
        const int32_t y_end = y + rows < n_rows ? y + rows : n_rows;
        for (int32_t x = 0; x < p->output_width; x += columns) {
            const tc_strip strip = tc_strip_at(p, out_rows, y, y_end, x, columns);
            const int32_t *packed = p->stream;
            int32_t *lane = acts;
            for (int32_t run = 0; run < strip.runs; run++) {
                for (int32_t i = 0; i < strip.count; i += 2, lane += 4 * groups) {
                    tc_strip_gather(p, in_rows, &strip, run, i, lane, spill + 4);
                    tc_strip_gather(p, in_rows, &strip, run, i + 1 < strip.count ? i + 1 : i, lane + 2, spill + 4);
                }
            }
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                packed = tc_strip_widen(packed, groups, block);
                for (int32_t run = 0; run < strip.runs; run++) {
                    tc_strip_row(p, acts + run * ((strip.count + 1) / 2) * 4 * groups, block,
                                 out_rows[y + run] + x * p->output_channels + o, strip.count,
                                 o + 1 == p->output_channels, spill);
                }
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
