/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution of int16 activations with int8 weights on Armv7E-M, one output a channel: 2 channels of 2
 * pixels at a time, wherever these are; pixels beside each other inside the image share what a 3x3 kernel reads. Shapes
 * are those of tc_windowed_s16.h, parameters and forms those of tc_gemm_s16_dsp.h; C >= 2, at most 50 taps, taken
 * `steps` in a round.
 *
 * The lanes of a word are channels here, not summed: SMLABB and SMLATT, one product each. SMLAD would need the words of
 * two taps interleaved first, as many instructions as it saves.
 *
 * The stream holds, for each 2 channels: their biases; a word of two weights for each tap; their multipliers. The last
 * 2 of an odd number of channels are the last and the one before it.
 */
#ifndef TC_DEPTHWISE_S16_DSP_H
#define TC_DEPTHWISE_S16_DSP_H

#include "tc_gemm_s16_dsp.h"

#define TC_DEPTHWISE16_TAPS 54 /* whole rounds of at most 50 taps */

#if TC_HAS_DSP
/* clang-format off */
/* r0 taps, r1 stream, r2 channel in bytes, r3 delta, r4 r5 the sums of pixel 0, r6 r7 of pixel 1, r8 r9 where a tap of
 * each lies, r10 r11 its values, r12 weights, lr end of taps. The stack holds taps, out, end. */
#define TC_DEPTHWISE16_TAP_ASM                                          \
    "ldrd r8, r9, [r0], #8\n"                                           \
    "ldr r12, [r1], #4\n"                                               \
    "ldr r10, [r8, r2]\n"                                               \
    "ldr r11, [r9, r2]\n"                                               \
    "smlabb r4, r10, r12, r4\n"                                         \
    "smlatt r5, r10, r12, r5\n"                                         \
    "smlabb r6, r11, r12, r6\n"                                         \
    "smlatt r7, r11, r12, r7\n"

/* r0 rows, r1 stream, r2 channel in bytes, r3 bytes of a pixel, r12 of three, r8-r10 weights, r11 values, lr row; sums
 * as above. */
#define TC_DEPTHWISE16_BOTH_ASM(first, second, weights)                 \
    "smlabb " #first ", r11, " #weights ", " #first "\n"                \
    "smlatt " #second ", r11, " #weights ", " #second "\n"
#define TC_DEPTHWISE16_ROW_ASM                                          \
    "ldr lr, [r0], #4\n"                                                \
    "ldmia r1!, {r8-r10}\n"                                             \
    "add lr, lr, r2\n"                                                  \
    "ldr r11, [lr]\n"                                                   \
    TC_DEPTHWISE16_BOTH_ASM(r4, r5, r8)                                 \
    "ldr r11, [lr, r3]\n"                                               \
    TC_DEPTHWISE16_BOTH_ASM(r4, r5, r9)
#define TC_DEPTHWISE16_ROW_1                                            \
    TC_DEPTHWISE16_ROW_ASM                                              \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r8)                                 \
    "ldr r11, [lr, r3, lsl #1]\n"                                       \
    TC_DEPTHWISE16_BOTH_ASM(r4, r5, r10)                                \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r9)                                 \
    "ldr r11, [lr, r12]\n"                                              \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r10)
#define TC_DEPTHWISE16_ROW_2                                            \
    TC_DEPTHWISE16_ROW_ASM                                              \
    "ldr r11, [lr, r3, lsl #1]\n"                                       \
    TC_DEPTHWISE16_BOTH_ASM(r4, r5, r10)                                \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r8)                                 \
    "ldr r11, [lr, r12]\n"                                              \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r9)                                 \
    "ldr r11, [lr, r3, lsl #2]\n"                                       \
    TC_DEPTHWISE16_BOTH_ASM(r6, r7, r10)

#define TC_DEPTHWISE16_BEGIN_ASM                                        \
    "1:\n"                                                              \
    "ldmia r1!, {r4, r5}\n"                                             \
    "mov r6, r4\n"                                                      \
    "mov r7, r5\n"
#define TC_DEPTHWISE16_SCALE_ASM(saturate)                              \
    "ldmia r1!, {r8, r9}\n"                                             \
    "smmulr r4, r4, r8\n"                                               \
    "smmulr r5, r5, r9\n"                                               \
    "smmulr r6, r6, r8\n"                                               \
    "smmulr r7, r7, r9\n"                                               \
    saturate(r4) saturate(r5) saturate(r6) saturate(r7)                 \
    "pkhbt r4, r4, r5, lsl #16\n"                                       \
    "pkhbt r6, r6, r7, lsl #16\n"                                       \
    "ldm sp, {r0, r8, r9}\n"
#define TC_DEPTHWISE16_SCALE_0 TC_DEPTHWISE16_SCALE_ASM(TC_GEMM16_SIGNED_ASM)
#define TC_DEPTHWISE16_SCALE_1 TC_DEPTHWISE16_SCALE_ASM(TC_GEMM16_RELU_ASM)
#define TC_DEPTHWISE16_STORE_ASM(delta)                                 \
    "str r6, [r8, " #delta "]\n"                                        \
    "str r4, [r8], #4\n"
#define TC_DEPTHWISE16_OUTPUT_0 TC_DEPTHWISE16_SCALE_0 TC_DEPTHWISE16_STORE_ASM(r3)
#define TC_DEPTHWISE16_OUTPUT_1 TC_DEPTHWISE16_SCALE_1 TC_DEPTHWISE16_STORE_ASM(r3)
#define TC_DEPTHWISE16_OUTPUT_2                                         \
    "ldm sp, {r0, r8, r9}\n"                                            \
    "stmia r8!, {r4-r7}\n"
#define TC_DEPTHWISE16_NEXT_ASM                                         \
    "add r2, r2, #4\n"                                                  \
    "str r8, [sp, #4]\n"                                                \
    "cmp r8, r9\n"                                                      \
    "bne 1b\n"                                                          \
    "add sp, sp, #12\n"                                                 \
    "pop {r4-r11, pc}\n"

#define TC_DEPTHWISE16_CORE(form, steps)                                \
    TC_ASSEMBLY void tc_depthwise16_##form##_##steps(TC_UNREAD const int8_t *const *taps, TC_UNREAD const int32_t *stream, \
        TC_UNREAD int32_t channel, TC_UNREAD int32_t delta, TC_UNREAD void *out, TC_UNREAD const void *end, \
        TC_UNREAD const int8_t *const *taps_end)                        \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r4, r5, [sp, #36]\n"                                  \
            "ldr lr, [sp, #44]\n"                                       \
            "push {r0, r4, r5}\n"                                       \
            TC_DEPTHWISE16_BEGIN_ASM                                    \
            "2:\n"                                                      \
            ".rept " #steps "\n"                                        \
            TC_DEPTHWISE16_TAP_ASM                                      \
            ".endr\n"                                                   \
            "cmp r0, lr\n"                                              \
            "bne 2b\n"                                                  \
            TC_DEPTHWISE16_OUTPUT_##form                                \
            TC_DEPTHWISE16_NEXT_ASM ::: TC_ASSEMBLY_CLOBBERS);          \
    }
#define TC_DEPTHWISE16_FOR(X, form)                                     \
    X(form, 1) X(form, 2) X(form, 3) X(form, 4) X(form, 5) X(form, 6) X(form, 7) X(form, 8) X(form, 9)
TC_DEPTHWISE16_FOR(TC_DEPTHWISE16_CORE, 0)
TC_DEPTHWISE16_FOR(TC_DEPTHWISE16_CORE, 1)
TC_DEPTHWISE16_FOR(TC_DEPTHWISE16_CORE, 2)

#define TC_DEPTHWISE16_BESIDE(form, stride)                             \
    TC_ASSEMBLY void tc_depthwise16_beside_##form##_##stride(TC_UNREAD const int8_t *const *rows, \
        TC_UNREAD const int32_t *stream, TC_UNREAD int32_t channel, TC_UNREAD int32_t pixel_bytes, TC_UNREAD int8_t *out, \
        TC_UNREAD const int8_t *end)                                    \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r4, r5, [sp, #36]\n"                                  \
            "add r12, r3, r3, lsl #1\n"                                 \
            "push {r0, r4, r5}\n"                                       \
            TC_DEPTHWISE16_BEGIN_ASM                                    \
            TC_DEPTHWISE16_ROW_##stride                                 \
            TC_DEPTHWISE16_ROW_##stride                                 \
            TC_DEPTHWISE16_ROW_##stride                                 \
            TC_DEPTHWISE16_OUTPUT_##form                                \
            TC_DEPTHWISE16_NEXT_ASM ::: TC_ASSEMBLY_CLOBBERS);          \
    }
TC_DEPTHWISE16_BESIDE(0, 1)
TC_DEPTHWISE16_BESIDE(0, 2)
TC_DEPTHWISE16_BESIDE(1, 1)
TC_DEPTHWISE16_BESIDE(1, 2)

#define TC_DEPTHWISE16_CASE(form, count)                                \
    case count:                                                         \
        tc_depthwise16_##form##_##count(taps, stream, channel, delta, out, end, taps + 2 * p->steps * p->chunks); \
        break;
#define TC_DEPTHWISE16_CASES(form)                      \
    case form:                                          \
        switch (p->steps) {                             \
            TC_DEPTHWISE16_FOR(TC_DEPTHWISE16_CASE, form) \
        default:                                        \
            break;                                      \
        }                                               \
        break;
/* clang-format on */
#endif

/* Channels from `channel` bytes on of two pixels, up to `end`, of pixel 1 `delta` bytes after those of pixel 0; with
 * form 2 the sums of 2 channels of pixel 0, then of pixel 1. `taps` says where each tap of pixel 0 and of pixel 1 lies.
 */
TC_INLINE void tc_depthwise_channels_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *taps,
                                         const int32_t *stream, int32_t channel, int32_t delta, int8_t *out,
                                         const int8_t *end)
{
#if TC_HAS_DSP
    switch (p->form) {
        TC_DEPTHWISE16_CASES(0)
        TC_DEPTHWISE16_CASES(1)
        TC_DEPTHWISE16_CASES(2)
    default:
        break;
    }
#else
    const int32_t count = p->steps * p->chunks;
    for (; out != end; out += 4, channel += 4, stream += 4 + count) {
        int32_t sums[4] = {stream[0], stream[1], stream[0], stream[1]};
        for (int32_t t = 0; t < count; t++) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t weights = stream[2 + t];
                const int32_t x = tc_load(taps[2 * t + (i >> 1)] + channel, 2, i & 1);
                sums[i] = tc_add_wrap(sums[i], x * (i & 1 ? tc_high_lane(weights) : tc_low_lane(weights)));
            }
        }
        if (p->form == 2) {
            __builtin_memcpy(out, sums, sizeof sums);
            return;
        }
        for (int32_t i = 0; i < 4; i++) {
            tc_store(out + (i >> 1) * delta, 2, i & 1, tc_scale_s16(p->form, sums[i], stream[2 + count + (i & 1)]));
        }
    }
#endif
}

/* Where the taps of output column x of a row lie, every second word of `taps`; those of padding at `zeros`, as are
 * those that fill up the last round. */
TC_INLINE void tc_depthwise_taps_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *rows, int32_t x,
                                     const int8_t *zeros, const int8_t **taps)
{
    const int32_t count = p->kernel_height * p->kernel_width;
    const int32_t first = x * p->stride_width - p->pad_left;
    for (int32_t i = 0; i < p->kernel_height; i++) {
        const int8_t *row = rows[i * p->dilation_height];
        TC_UNROLL(7)
        for (int32_t j = 0; j < p->kernel_width; j++, taps += 2) {
            const int32_t column = first + j * p->dilation_width;
            const int32_t is_inside = row != NULL && column >= 0 && column < p->input_width;
            *taps = is_inside ? row + 2 * column * p->input_channels : zeros;
        }
    }
    for (int32_t t = count; t < p->steps * p->chunks; t++, taps += 2) {
        *taps = zeros;
    }
}

/* Output pixels a and b of the rows. */
TC_INLINE void tc_depthwise_pixels_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t a, int32_t b, const int8_t *zeros)
{
    const int32_t a_row = a / p->output_width, b_row = b / p->output_width;
    const int32_t a_column = a % p->output_width, b_column = b % p->output_width;
    const int32_t even = p->output_channels & ~1;
    const int32_t block = 4 + p->steps * p->chunks;
    int8_t *out = out_rows[a_row] + 2 * a_column * p->output_channels;
    int8_t *other = out_rows[b_row] + 2 * b_column * p->output_channels;
    const int8_t *taps[2 * TC_DEPTHWISE16_TAPS];
    tc_depthwise_taps_s16(p, in_rows + a_row * p->stride_height, a_column, zeros, taps);
    tc_depthwise_taps_s16(p, in_rows + b_row * p->stride_height, b_column, zeros, taps + 1);
    if (p->form == 2) {
        for (int32_t c = 0; c < p->output_channels; c += 2) {
            const int32_t o = tc_min(c, p->output_channels - 2);
            int32_t sums[4];
            int8_t *to = (int8_t *)sums;
            tc_depthwise_channels_s16(p, taps, p->stream + c / 2 * block, 2 * o, 0, to, to + sizeof sums);
            for (int32_t i = 0; i < 2; i++) {
                tc_store(out, 2, o + i, tc_requantize_sum_s16(p, sums[i], o + i));
                tc_store(other, 2, o + i, tc_requantize_sum_s16(p, sums[2 + i], o + i));
            }
        }
        return;
    }
    tc_depthwise_channels_s16(p, taps, p->stream, 0, (int32_t)(other - out), out, out + 2 * even);
    if (p->output_channels > even) {
        const int32_t last = 2 * even - 2;
        tc_depthwise_channels_s16(p, taps, p->stream + even / 2 * block, last, (int32_t)(other - out), out + last,
                                  out + last + 4);
    }
}

/* Whether output columns x and x + 1 of a row share a 3x3 kernel's reads: both windows lie within the image. */
TC_INLINE int32_t tc_depthwise_are_beside_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *rows, int32_t x)
{
    const int32_t first = x * p->stride_width - p->pad_left;
    const int32_t is_3x3 = p->kernel_height == 3 && p->kernel_width == 3 && p->dilation_width == 1;
    const int32_t is_possible = is_3x3 && p->stride_width <= 2 && p->form != 2;
    return is_possible && x + 1 < p->output_width && first >= 0 && first + p->stride_width + 3 <= p->input_width &&
           rows[0] != NULL && rows[p->dilation_height] != NULL && rows[2 * p->dilation_height] != NULL;
}

/* Channels from `channel` bytes on of two pixels beside each other, up to `end`; the rows of the window of the first
 * one begin at `begin`. */
TC_INLINE void tc_depthwise_beside_channels_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *begin,
                                                const int32_t *stream, int32_t channel, int8_t *out, const int8_t *end)
{
    const int32_t pixel_bytes = 2 * p->input_channels;
#if TC_HAS_DSP
    if (p->form == 0 && p->stride_width == 1) {
        tc_depthwise16_beside_0_1(begin, stream, channel, pixel_bytes, out, end);
    } else if (p->form == 0) {
        tc_depthwise16_beside_0_2(begin, stream, channel, pixel_bytes, out, end);
    } else if (p->stride_width == 1) {
        tc_depthwise16_beside_1_1(begin, stream, channel, pixel_bytes, out, end);
    } else {
        tc_depthwise16_beside_1_2(begin, stream, channel, pixel_bytes, out, end);
    }
#else
    const int8_t *taps[18];
    for (int32_t t = 0; t < 9; t++) {
        taps[2 * t] = begin[t / 3] + t % 3 * pixel_bytes;
        taps[2 * t + 1] = taps[2 * t] + p->stride_width * pixel_bytes;
    }
    tc_depthwise_channels_s16(p, taps, stream, channel, pixel_bytes, out, end);
#endif
}

/* Output columns x and x + 1 of a row. */
TC_INLINE void tc_depthwise_beside_s16(const tc_windowed_s16_dsp_params *p, const int8_t *const *rows, int32_t x,
                                       int8_t *out)
{
    const int32_t even = p->output_channels & ~1;
    const int32_t at = 2 * (x * p->stride_width - p->pad_left) * p->input_channels;
    const int8_t *const begin[3] = {rows[0] + at, rows[p->dilation_height] + at, rows[2 * p->dilation_height] + at};
    tc_depthwise_beside_channels_s16(p, begin, p->stream, 0, out, out + 2 * even);
    if (p->output_channels > even) {
        const int32_t last = 2 * even - 2;
        tc_depthwise_beside_channels_s16(p, begin, p->stream + even / 2 * (4 + p->steps * p->chunks), last, out + last,
                                         out + last + 4);
    }
}
/* Rows as for tc_depthwise_s16. A pixel that shares nothing with the next waits for another such. scratch: 2 * C bytes.
 */
TC_INLINE void tc_depthwise_s16_dsp(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                    int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int8_t *zeros = (int8_t *)scratch;
    int32_t waiting = -1;
    for (int32_t c = 0; c < p->output_channels; c++) {
        tc_store(zeros, 2, c, 0);
    }
    for (int32_t i = 0; i < n_rows * p->output_width; i++) {
        const int8_t *const *rows = in_rows + i / p->output_width * p->stride_height;
        const int32_t x = i % p->output_width;
        if (tc_depthwise_are_beside_s16(p, rows, x)) {
            tc_depthwise_beside_s16(p, rows, x, out_rows[i / p->output_width] + 2 * x * p->output_channels);
            i++;
            continue;
        }
        if (waiting < 0) {
            waiting = i;
        } else {
            tc_depthwise_pixels_s16(p, in_rows, out_rows, waiting, i, zeros);
            waiting = -1;
        }
    }
    if (waiting >= 0) {
        tc_depthwise_pixels_s16(p, in_rows, out_rows, waiting, waiting, zeros);
    }
    tc_clamp_rows_s16(p, out_rows, n_rows);
}

#endif
