/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise 3x3 convolution with stride 2, int8, on Armv7E-M: two output rows at once. Shapes: input rows
 * [input_width][channels], output rows [output_width][channels]; channels >= 4. A run is of output columns, at most 12.
 *
 * Five input rows r0..r4 make two output rows, which share r2. For 4 channels at a time each pair of columns a, b
 * becomes 24 words: per channel the lanes (r0, r1) and (r3, r4) of a, then those of b, then (r2 of a, r2 of b) and a
 * gap.
 */
#ifndef TC_DEPTHWISE_STRIDE2_DSP_H
#define TC_DEPTHWISE_STRIDE2_DSP_H

#include "tc_depthwise_lanes_dsp.h"

/* Per channel: (w0, w1) of 3 kernel columns, (w1, w2) of 3, row 2's and row 0's first two taps as (left, middle), bias,
 * multiplier, addend. */
#define TC_DEPTHWISE2_CHANNEL_WORDS 11
#define TC_DEPTHWISE2_PAIR_WORDS 24

#if TC_HAS_DSP
/* clang-format off */
/* `pairs` of whole columns; `middle` is row 2. r4 lanes, r11 row 2, r12 offset, lr channels. */
TC_ASSEMBLY void tc_depthwise2_gather_asm(TC_UNREAD const int8_t *end0, TC_UNREAD const int8_t *end1,
                                          TC_UNREAD const int8_t *end3, TC_UNREAD const int8_t *end4,
                                          TC_UNREAD int32_t *lanes, TC_UNREAD int32_t offset,
                                          TC_UNREAD const int8_t *end2, TC_UNREAD int32_t channels)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldrd r4, r12, [sp, #36]\n"
        "ldrd r11, lr, [sp, #44]\n"
        "1:\n"
        "ldr r5, [r0, r12]\n"
        "ldr r9, [r1, r12]\n"
        "ldr r6, [r2, r12]\n"
        "ldr r10, [r3, r12]\n"
        TC_DEPTHWISE_TRANSPOSE_ASM
        "add r12, r12, lr\n"
        "ldr r5, [r0, r12]\n"
        "ldr r9, [r1, r12]\n"
        "ldr r6, [r2, r12]\n"
        "ldr r10, [r3, r12]\n"
        TC_DEPTHWISE_TRANSPOSE_ASM
        "sub r5, r12, lr\n"
        "ldr r6, [r11, r12]\n"
        "ldr r5, [r11, r5]\n"
        "pkhbt r7, r5, r6, lsl #16\n"
        "pkhtb r8, r6, r5, asr #16\n"
        "sxtb16 r5, r7\n"
        "sxtb16 r6, r7, ror #8\n"
        "sxtb16 r9, r8\n"
        "sxtb16 r10, r8, ror #8\n"
        "str r5, [r4], #8\n"
        "str r6, [r4], #8\n"
        "str r9, [r4], #8\n"
        "str r10, [r4], #8\n"
        "adds r12, r12, lr\n"
        "bne 1b\n"
        "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}

/* r0 lanes, r2 out, r4-r6 (w0, w1), r7-r9 (w1, w2), r10 r11 the shared row's taps for the upper and the lower output,
 * accumulators r3 r12, data r1 lr. Frame as in tc_depthwise_lanes_dsp.h. */
#define TC_DEPTHWISE2_COLUMNS_ASM(form, columns)                        \
    ".rept " #columns "\n"                                              \
    "ldrd r3, r12, [sp]\n"                                              \
    "ldrd r1, lr, [r0], #32\n"                                          \
    "smlad r3, r1, r4, r3\n"                                            \
    "smlad r12, lr, r7, r12\n"                                          \
    "ldrd r1, lr, [r0], #32\n"                                          \
    "smlad r3, r1, r5, r3\n"                                            \
    "smlad r12, lr, r8, r12\n"                                          \
    "ldr r1, [r0], #32\n"                                               \
    "smlad r3, r1, r10, r3\n"                                           \
    "smlad r12, r1, r11, r12\n"                                         \
    "ldrd r1, lr, [r0]\n"                                               \
    "smlad r3, r1, r6, r3\n"                                            \
    "smlad r12, lr, r9, r12\n"                                          \
    "ldr r1, [r0, #64]\n"                                               \
    "smlabt r3, r1, r9, r3\n"                                           \
    "smlabb r12, r1, r6, r12\n"                                         \
    TC_DEPTHWISE_TWO_##form(r3, r12)                                    \
    "ldrd r1, lr, [sp, #28]\n"                                          \
    TC_DEPTHWISE_STORE_ASM(r3, r12)                                     \
    ".endr\n"

#define TC_DEPTHWISE2_ENTER_ASM                                         \
    TC_DEPTHWISE_FRAME_ASM                                              \
    "ldmia r1!, {r4-r11}\n"                                             \
    "ldmia r1!, {r3, r12, lr}\n"                                        \
    "strd r3, r3, [sp]\n"                                               \
    "strd r12, lr, [sp, #16]\n"                                         \
    "strd r0, r1, [sp, #36]\n"                                          \
    "str r2, [sp, #44]\n"
#define TC_DEPTHWISE2_STRAIGHT(form, columns)                           \
    TC_ASSEMBLY void tc_depthwise2_##form##_##columns TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE2_ENTER_ASM                        \
                         TC_DEPTHWISE2_COLUMNS_ASM(form, columns)       \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }
#define TC_DEPTHWISE2_LOOPED(form, columns)                             \
    TC_ASSEMBLY void tc_depthwise2_looped_##form##_##columns TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE2_ENTER_ASM                        \
                         TC_DEPTHWISE_ROUNDS_ASM(TC_DEPTHWISE2_COLUMNS_ASM(form, columns)) \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }
#define TC_DEPTHWISE2_FOR(X, form) \
    X(form, 1) X(form, 2) X(form, 3) X(form, 4) X(form, 5) X(form, 6) \
    X(form, 7) X(form, 8) X(form, 9) X(form, 10) X(form, 11) X(form, 12)
#define TC_DEPTHWISE2_DEFINE(form)                      \
    TC_DEPTHWISE2_FOR(TC_DEPTHWISE2_STRAIGHT, form)     \
    TC_DEPTHWISE2_FOR(TC_DEPTHWISE2_LOOPED, form)
TC_DEPTHWISE2_DEFINE(0)
TC_DEPTHWISE2_DEFINE(1)
TC_DEPTHWISE2_DEFINE(8)
TC_DEPTHWISE2_DEFINE(10)
TC_DEPTHWISE2_DEFINE(12)
TC_DEPTHWISE2_DEFINE(14)

#define TC_DEPTHWISE2_CASE_STRAIGHT(form, columns)                                                                   \
    case columns:                                                                                                    \
        tc_depthwise2_##form##_##columns(lanes, stream, out, end, p->channels, delta, p->output_zero_point, span);   \
        break;
#define TC_DEPTHWISE2_CASE_LOOPED(form, columns)                                                                     \
    case 100 + columns:                                                                                              \
        tc_depthwise2_looped_##form##_##columns(lanes, stream, out, end, p->channels, delta, p->output_zero_point,   \
                                                span);                                                               \
        break;
#define TC_DEPTHWISE2_CASES(form)                                   \
    case form:                                                      \
        switch ((p->rounds > 1 ? 100 : 0) + p->run) {           \
            TC_DEPTHWISE2_FOR(TC_DEPTHWISE2_CASE_STRAIGHT, form)    \
            TC_DEPTHWISE2_FOR(TC_DEPTHWISE2_CASE_LOOPED, form)      \
        default:                                                    \
            break;                                                  \
        }                                                           \
        break;
/* clang-format on */
#endif

/* Two output rows (`delta` apart; 0 for one row) of the channels out..end-1, at most 4. */
TC_INLINE void tc_depthwise2_rows(const tc_depthwise3x3_s8_dsp_params *p, const int32_t *lanes, const int32_t *stream,
                                  int8_t *out, const int8_t *end, int32_t delta)
{
#if TC_HAS_DSP
    const int32_t span = p->output_width * p->channels;
    switch (p->form) {
        TC_DEPTHWISE2_CASES(0)
        TC_DEPTHWISE2_CASES(1)
        TC_DEPTHWISE2_CASES(8)
        TC_DEPTHWISE2_CASES(10)
        TC_DEPTHWISE2_CASES(12)
        TC_DEPTHWISE2_CASES(14)
    default:
        break;
    }
#else
    for (; out != end; out++, lanes += 2, stream += TC_DEPTHWISE2_CHANNEL_WORDS) {
        for (int32_t x = 0; x < p->output_width; x++) {
            const int32_t *pair = lanes + x * TC_DEPTHWISE2_PAIR_WORDS;
            const int32_t *next = pair + TC_DEPTHWISE2_PAIR_WORDS;
            const int32_t *columns[3] = {pair, pair + 8, next};
            int32_t upper = stream[8], lower = stream[8];
            for (int32_t j = 0; j < 3; j++) {
                upper = tc_smlad(columns[j][0], stream[j], upper);
                lower = tc_smlad(columns[j][1], stream[3 + j], lower);
            }
            upper = tc_smlad(pair[16], stream[6], upper);
            lower = tc_smlad(pair[16], stream[7], lower);
            upper = tc_add_wrap(upper, tc_low_lane(next[16]) * tc_high_lane(stream[5]));
            lower = tc_add_wrap(lower, tc_low_lane(next[16]) * tc_low_lane(stream[2]));
            int8_t *place = out + x * p->channels;
            place[delta] = tc_requantize_dsp(p->form, lower, stream[9], stream[10], p->output_zero_point);
            *place = tc_requantize_dsp(p->form, upper, stream[9], stream[10], p->output_zero_point);
        }
    }
#endif
}

/* A pair of columns of which one is padding: `is_left` says that the left one is real. */
TC_INLINE void tc_depthwise2_half(const int8_t *const *rows, int32_t at, int32_t is_left, int32_t zero_point,
                                  int32_t *lanes)
{
    const uint32_t word = tc_load32(rows[2] + at);
    const int32_t even = tc_sxtb16(word);
    const int32_t odd = tc_sxtb16_odd(word);
    const int32_t middle[4] = {tc_low_lane(even), tc_low_lane(odd), tc_high_lane(even), tc_high_lane(odd)};
    tc_depthwise_fill(lanes + (is_left ? 8 : 0), 8, zero_point);
    tc_depthwise_column(rows[0] + at, rows[1] + at, rows[3] + at, rows[4] + at, lanes + (is_left ? 0 : 8));
    for (int32_t i = 0; i < 4; i++) {
        lanes[16 + 2 * i] = is_left ? tc_lanes(middle[i], zero_point) : tc_lanes(zero_point, middle[i]);
    }
}

/* `pairs` pairs of real columns, the first column `at` bytes into the rows. */
TC_INLINE void tc_depthwise2_gather(const int8_t *const *rows, int32_t at, int32_t pairs, int32_t channels,
                                    int32_t *lanes)
{
#if TC_HAS_DSP
    const int32_t bytes = 2 * pairs * channels;
    const int32_t end = at + bytes;
    if (pairs > 0) {
        tc_depthwise2_gather_asm(rows[0] + end, rows[1] + end, rows[3] + end, rows[4] + end, lanes, -bytes,
                                 rows[2] + end, channels);
    }
#else
    for (int32_t i = 0; i < pairs; i++, lanes += TC_DEPTHWISE2_PAIR_WORDS, at += 2 * channels) {
        const int32_t next = at + channels;
        const uint32_t a = tc_load32(rows[2] + at);
        const uint32_t b = tc_load32(rows[2] + next);
        tc_depthwise_column(rows[0] + at, rows[1] + at, rows[3] + at, rows[4] + at, lanes);
        tc_depthwise_column(rows[0] + next, rows[1] + next, rows[3] + next, rows[4] + next, lanes + 8);
        lanes[16] = tc_sxtb16(tc_pack_low(a, b));
        lanes[18] = tc_sxtb16_odd(tc_pack_low(a, b));
        lanes[20] = tc_sxtb16(tc_pack_high(a, b));
        lanes[22] = tc_sxtb16_odd(tc_pack_high(a, b));
    }
#endif
}

/* in_rows: 2 * n_rows + 1 rows, top first, padding rows filled with the zero point. scratch: 96 * (output_width + 1)
 * bytes. */
TC_INLINE void tc_depthwise3x3_stride2_s8_dsp(const tc_depthwise3x3_s8_dsp_params *p, const int8_t *const *in_rows,
                                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *lanes = (int32_t *)scratch;
    /* Columns are counted from the left padding; the window of the last output ends at 2 * output_width. */
    const int32_t last = 2 * p->output_width + 1 - p->pad_left;
    const int32_t real = p->input_width < last ? p->input_width : last;
    const int32_t lead = p->pad_left & 1;
    const int32_t pairs = (real - lead) / 2;
    const int32_t first_pair = p->pad_left / 2;
    const int32_t tail = first_pair + lead + pairs;
    tc_depthwise_fill(lanes, TC_DEPTHWISE2_PAIR_WORDS * (p->output_width + 1), p->input_zero_point);
    for (int32_t y = 0; y < n_rows; y += 2) {
        const int32_t is_pair = y + 1 < n_rows;
        const int8_t *const *rows_at = in_rows + 2 * y;
        const int8_t *const rows[5] = {rows_at[0], rows_at[1], rows_at[2], rows_at[2 + is_pair],
                                       rows_at[2 + 2 * is_pair]};
        const int32_t delta = (int32_t)(out_rows[y + is_pair] - out_rows[y]);
        const int32_t *stream = p->stream;
        for (int32_t c = 0; c < p->channels; c += 4) {
            /* The last group reads 4 channels that end with the row, and makes the ones that are left. */
            const int32_t end = c + 4 < p->channels ? c + 4 : p->channels;
            const int32_t first = end == c + 4 ? c : p->channels - 4;
            const int32_t begin = first + lead * p->channels;
            if (lead) {
                tc_depthwise2_half(rows, first, 0, p->input_zero_point, lanes + first_pair * TC_DEPTHWISE2_PAIR_WORDS);
            }
            tc_depthwise2_gather(rows, begin, pairs, p->channels,
                                 lanes + (first_pair + lead) * TC_DEPTHWISE2_PAIR_WORDS);
            if (real - lead > 2 * pairs) {
                tc_depthwise2_half(rows, begin + 2 * pairs * p->channels, 1, p->input_zero_point,
                                   lanes + tail * TC_DEPTHWISE2_PAIR_WORDS);
            }
            tc_depthwise2_rows(p, lanes + 2 * (c - first), stream, out_rows[y] + c, out_rows[y] + end, delta);
            stream += 4 * TC_DEPTHWISE2_CHANNEL_WORDS;
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->channels, p->activation_min, p->activation_max);
}

#endif
