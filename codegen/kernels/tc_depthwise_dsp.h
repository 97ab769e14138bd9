/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise 3x3 convolution with stride 1, int8, on Armv7E-M: two output rows at once. Shapes: input rows
 * [input_width][channels], output rows [output_width][channels]; channels >= 4.
 *
 * For 4 channels at a time, the four input rows r0..r3 become two words of 16-bit lanes per column and channel,
 * (r0, r1) and (r2, r3): with w01 = (w0, w1) and w12 = (w1, w2) of a kernel column, the upper output takes
 * (r0, r1) . w01 + r2 * w2, the lower one (r2, r3) . w12 + r1 * w0.
 */
#ifndef TC_DEPTHWISE_DSP_H
#define TC_DEPTHWISE_DSP_H

#include "tc_requantize_dsp.h"

typedef struct {
    int32_t input_width;
    int32_t channels;
    int32_t output_width;
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;          /* see tc_requantize_dsp.h */
    int32_t pairs;         /* column pairs per round, 0 to 6; pairs * rounds = output_width / 2 */
    int32_t rounds;        /* >= 1 */
    const int32_t *stream; /* per channel: w01 of 3 kernel columns, w12 of 3, bias, multiplier, addend */
} tc_depthwise3x3_s8_dsp_params;

#define TC_DEPTHWISE_CHANNEL_WORDS 9
#define TC_DEPTHWISE_COLUMN_WORDS 8

/* 4 channels of 4 rows at one column as lanes: for each channel (r0, r1) and (r2, r3). */
TC_INLINE void tc_depthwise_column(const int8_t *r0, const int8_t *r1, const int8_t *r2, const int8_t *r3,
                                   int32_t *lanes)
{
    uint32_t a = tc_load32(r0);
    uint32_t b = tc_load32(r1);
    uint32_t c = tc_load32(r2);
    uint32_t d = tc_load32(r3);
    uint32_t upper = tc_pack_low(a, b);
    uint32_t lower = tc_pack_low(c, d);
    lanes[0] = tc_sxtb16(upper);
    lanes[1] = tc_sxtb16(lower);
    lanes[2] = tc_sxtb16_odd(upper);
    lanes[3] = tc_sxtb16_odd(lower);
    upper = tc_pack_high(a, b);
    lower = tc_pack_high(c, d);
    lanes[4] = tc_sxtb16(upper);
    lanes[5] = tc_sxtb16(lower);
    lanes[6] = tc_sxtb16_odd(upper);
    lanes[7] = tc_sxtb16_odd(lower);
}

/* Words for `columns` columns of padding. */
TC_INLINE void tc_depthwise_fill(int32_t *lanes, int32_t words, int32_t zero_point)
{
    for (int32_t i = 0; i < words; i++) {
        lanes[i] = tc_lanes(zero_point, zero_point);
    }
}

#if TC_HAS_DSP
/* clang-format off */
/* r5 r9 r6 r10: 4 channels of rows r0 r1 r2 r3; 8 words of lanes to r4. */
#define TC_DEPTHWISE_TRANSPOSE_ASM                                      \
    "pkhbt r7, r5, r9, lsl #16\n"                                       \
    "pkhtb r9, r9, r5, asr #16\n"                                       \
    "pkhbt r8, r6, r10, lsl #16\n"                                      \
    "pkhtb r10, r10, r6, asr #16\n"                                     \
    "sxtb16 r5, r7\n"                                                   \
    "sxtb16 r6, r8\n"                                                   \
    "sxtb16 r7, r7, ror #8\n"                                           \
    "sxtb16 r8, r8, ror #8\n"                                           \
    "stmia r4!, {r5-r8}\n"                                              \
    "sxtb16 r5, r9\n"                                                   \
    "sxtb16 r6, r10\n"                                                  \
    "sxtb16 r9, r9, ror #8\n"                                           \
    "sxtb16 r10, r10, ror #8\n"                                         \
    "stmia r4!, {r5, r6, r9, r10}\n"

/* tc_depthwise_column over a row: `offset` < 0 is the distance of the first column from the rows' ends. */
TC_ASSEMBLY void tc_depthwise_gather_asm(TC_UNREAD const int8_t *end0, TC_UNREAD const int8_t *end1,
                                         TC_UNREAD const int8_t *end2, TC_UNREAD const int8_t *end3,
                                         TC_UNREAD int32_t *lanes, TC_UNREAD int32_t offset, TC_UNREAD int32_t channels)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldrd r4, r12, [sp, #36]\n"
        "ldr r11, [sp, #44]\n"
        "1:\n"
        "ldr r5, [r0, r12]\n"
        "ldr r9, [r1, r12]\n"
        "ldr r6, [r2, r12]\n"
        "ldr r10, [r3, r12]\n"
        TC_DEPTHWISE_TRANSPOSE_ASM
        "adds r12, r12, r11\n"
        "bne 1b\n"
        "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}

/* r0 lanes, r2 out, r4-r6 w01, r7-r9 w12, accumulators r3 r10 (upper, lower output of the first column) and r11 r12 (of
 * the second), r1 lr data. Frame: 0 bias four times, 16 multiplier, 20 addend, 24 zero point, 28 channels, 32 delta,
 * 36 lanes, 40 stream, 44 out, 48 end of group, 52 bytes of a row's rounds, 56 end of the rounds. */
#define TC_DEPTHWISE_TAP_ASM(upper, lower, w01, w12)                    \
    "smlad " #upper ", r1, " #w01 ", " #upper "\n"                      \
    "smlabt " #upper ", lr, " #w12 ", " #upper "\n"                     \
    "smlad " #lower ", lr, " #w12 ", " #lower "\n"                      \
    "smlatb " #lower ", r1, " #w01 ", " #lower "\n"

#define TC_DEPTHWISE_SHIFTED_ASM(x, form)                               \
    "smmla " #x ", " #x ", r1, lr\n"                                    \
    "ssat " #x ", #8, " #x ", asr #" #form "\n"
#define TC_DEPTHWISE_HIGH_1(x) "smmlar " #x ", " #x ", r1, " #x "\n"
#define TC_DEPTHWISE_HIGH_0(x) TC_DEPTHWISE_HIGH_1(x) "add " #x ", " #x ", " #x ", asr #31\n"
#define TC_DEPTHWISE_SCALE_ASM(x)                                       \
    "smmlar " #x ", " #x ", r1, lr\n"                                   \
    "ssat " #x ", #8, " #x "\n"
#define TC_DEPTHWISE_TWO_ASM(a, b, form)                                \
    "ldrd r1, lr, [sp, #16]\n"                                          \
    TC_DEPTHWISE_SHIFTED_ASM(a, form) TC_DEPTHWISE_SHIFTED_ASM(b, form)
#define TC_DEPTHWISE_FOUR_ASM(a, b, c, d, form)                         \
    TC_DEPTHWISE_TWO_ASM(a, b, form)                                    \
    TC_DEPTHWISE_SHIFTED_ASM(c, form) TC_DEPTHWISE_SHIFTED_ASM(d, form)
#define TC_DEPTHWISE_TWO_LONG(a, b, high)                               \
    "ldr r1, [sp, #16]\n"                                               \
    high(a) high(b)                                                     \
    "ldrd r1, lr, [sp, #20]\n"                                          \
    TC_DEPTHWISE_SCALE_ASM(a) TC_DEPTHWISE_SCALE_ASM(b)
#define TC_DEPTHWISE_FOUR_LONG(a, b, c, d, high)                        \
    "ldr r1, [sp, #16]\n"                                               \
    high(a) high(b) high(c) high(d)                                     \
    "ldrd r1, lr, [sp, #20]\n"                                          \
    TC_DEPTHWISE_SCALE_ASM(a) TC_DEPTHWISE_SCALE_ASM(b)                 \
    TC_DEPTHWISE_SCALE_ASM(c) TC_DEPTHWISE_SCALE_ASM(d)
#define TC_DEPTHWISE_TWO_0(a, b) TC_DEPTHWISE_TWO_LONG(a, b, TC_DEPTHWISE_HIGH_0)
#define TC_DEPTHWISE_TWO_1(a, b) TC_DEPTHWISE_TWO_LONG(a, b, TC_DEPTHWISE_HIGH_1)
#define TC_DEPTHWISE_FOUR_0(a, b, c, d) TC_DEPTHWISE_FOUR_LONG(a, b, c, d, TC_DEPTHWISE_HIGH_0)
#define TC_DEPTHWISE_FOUR_1(a, b, c, d) TC_DEPTHWISE_FOUR_LONG(a, b, c, d, TC_DEPTHWISE_HIGH_1)
#define TC_DEPTHWISE_TWO_8(a, b) TC_DEPTHWISE_TWO_ASM(a, b, 8)
#define TC_DEPTHWISE_TWO_10(a, b) TC_DEPTHWISE_TWO_ASM(a, b, 10)
#define TC_DEPTHWISE_TWO_12(a, b) TC_DEPTHWISE_TWO_ASM(a, b, 12)
#define TC_DEPTHWISE_TWO_14(a, b) TC_DEPTHWISE_TWO_ASM(a, b, 14)
#define TC_DEPTHWISE_FOUR_8(a, b, c, d) TC_DEPTHWISE_FOUR_ASM(a, b, c, d, 8)
#define TC_DEPTHWISE_FOUR_10(a, b, c, d) TC_DEPTHWISE_FOUR_ASM(a, b, c, d, 10)
#define TC_DEPTHWISE_FOUR_12(a, b, c, d) TC_DEPTHWISE_FOUR_ASM(a, b, c, d, 12)
#define TC_DEPTHWISE_FOUR_14(a, b, c, d) TC_DEPTHWISE_FOUR_ASM(a, b, c, d, 14)

/* The lower output is stored first: without a lower row both go to the same place, and the upper one stays. */
#define TC_DEPTHWISE_STORE_ASM(upper, lower)                            \
    "strb " #lower ", [r2, lr]\n"                                       \
    "strb " #upper ", [r2]\n"                                           \
    "add r2, r2, r1\n"

#define TC_DEPTHWISE_PAIRS_ASM(form, pairs)                             \
    ".rept " #pairs "\n"                                                \
    "ldm sp, {r3, r10-r12}\n"                                           \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r4, r7)                               \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r5, r8)                               \
    TC_DEPTHWISE_TAP_ASM(r11, r12, r4, r7)                              \
    "ldrd r1, lr, [r0]\n"                                               \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r6, r9)                               \
    TC_DEPTHWISE_TAP_ASM(r11, r12, r5, r8)                              \
    "ldrd r1, lr, [r0, #32]\n"                                          \
    TC_DEPTHWISE_TAP_ASM(r11, r12, r6, r9)                              \
    TC_DEPTHWISE_FOUR_##form(r3, r10, r11, r12)                         \
    "ldrd r1, lr, [sp, #28]\n"                                          \
    TC_DEPTHWISE_STORE_ASM(r3, r10)                                     \
    TC_DEPTHWISE_STORE_ASM(r11, r12)                                    \
    ".endr\n"

#define TC_DEPTHWISE_LAST_0(form)
#define TC_DEPTHWISE_LAST_1(form)                                       \
    "ldrd r3, r10, [sp]\n"                                              \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r4, r7)                               \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r5, r8)                               \
    "ldrd r1, lr, [r0]\n"                                               \
    TC_DEPTHWISE_TAP_ASM(r3, r10, r6, r9)                               \
    TC_DEPTHWISE_TWO_##form(r3, r10)                                    \
    "ldrd r1, lr, [sp, #28]\n"                                          \
    TC_DEPTHWISE_STORE_ASM(r3, r10)

#define TC_DEPTHWISE_PARAMETERS                                         \
    (TC_UNREAD const int32_t *lanes, TC_UNREAD const int32_t *stream, TC_UNREAD int8_t *out, \
     TC_UNREAD const int8_t *end, TC_UNREAD int32_t channels, TC_UNREAD int32_t delta,      \
     TC_UNREAD int32_t zero_point, TC_UNREAD int32_t span)
#define TC_DEPTHWISE_ENTER_ASM                                          \
    "push {r4-r11, lr}\n"                                               \
    "ldrd r4, r5, [sp, #36]\n"                                          \
    "ldrd r6, r7, [sp, #44]\n"                                          \
    "sub sp, sp, #60\n"                                                 \
    "str r6, [sp, #24]\n"                                               \
    "strd r4, r5, [sp, #28]\n"                                          \
    "strd r3, r7, [sp, #48]\n"                                          \
    "1:\n"                                                              \
    "ldmia r1!, {r4-r12}\n"                                             \
    "strd r10, r10, [sp]\n"                                             \
    "strd r10, r10, [sp, #8]\n"                                         \
    "strd r11, r12, [sp, #16]\n"                                        \
    "strd r0, r1, [sp, #36]\n"                                          \
    "str r2, [sp, #44]\n"
#define TC_DEPTHWISE_LEAVE_ASM                                          \
    "add r12, sp, #36\n"                                                \
    "ldm r12, {r0-r3}\n"                                                \
    "adds r0, #8\n"                                                     \
    "adds r2, #1\n"                                                     \
    "cmp r2, r3\n"                                                      \
    "bne 1b\n"                                                          \
    "add sp, sp, #60\n"                                                 \
    "pop {r4-r11, pc}\n"

#define TC_DEPTHWISE_STRAIGHT(form, pairs, last)                        \
    TC_ASSEMBLY void tc_depthwise_##form##_##pairs##_##last TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE_ENTER_ASM                         \
                         TC_DEPTHWISE_PAIRS_ASM(form, pairs)            \
                         TC_DEPTHWISE_LAST_##last(form)                 \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }
#define TC_DEPTHWISE_LOOPED(form, pairs, last)                          \
    TC_ASSEMBLY void tc_depthwise_looped_##form##_##pairs##_##last TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE_ENTER_ASM                         \
                         "ldr r1, [sp, #52]\n"                          \
                         "add r1, r2, r1\n"                             \
                         "str r1, [sp, #56]\n"                          \
                         "2:\n"                                         \
                         TC_DEPTHWISE_PAIRS_ASM(form, pairs)            \
                         "ldr r1, [sp, #56]\n"                          \
                         "cmp r2, r1\n"                                 \
                         "bne 2b\n"                                     \
                         TC_DEPTHWISE_LAST_##last(form)                 \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }

#define TC_DEPTHWISE_FOR_PAIRS(X, form, last) \
    X(form, 1, last) X(form, 2, last) X(form, 3, last) X(form, 4, last) X(form, 5, last) X(form, 6, last)
#define TC_DEPTHWISE_DEFINE(form)                           \
    TC_DEPTHWISE_STRAIGHT(form, 0, 1)                       \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_STRAIGHT, form, 0)  \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_STRAIGHT, form, 1)  \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_LOOPED, form, 0)    \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_LOOPED, form, 1)
TC_DEPTHWISE_DEFINE(0)
TC_DEPTHWISE_DEFINE(1)
TC_DEPTHWISE_DEFINE(8)
TC_DEPTHWISE_DEFINE(10)
TC_DEPTHWISE_DEFINE(12)
TC_DEPTHWISE_DEFINE(14)

#define TC_DEPTHWISE_CASE_STRAIGHT(form, pairs, last)                                                               \
    case 2 * pairs + last:                                                                                          \
        tc_depthwise_##form##_##pairs##_##last(lanes, stream, out, end, p->channels, delta, p->output_zero_point, span); \
        break;
#define TC_DEPTHWISE_CASE_LOOPED(form, pairs, last)                                                                 \
    case 100 + 2 * pairs + last:                                                                                    \
        tc_depthwise_looped_##form##_##pairs##_##last(lanes, stream, out, end, p->channels, delta,                  \
                                                      p->output_zero_point, span);                                  \
        break;
#define TC_DEPTHWISE_CASES(form)                                            \
    case form:                                                              \
        switch (which) {                                                    \
            TC_DEPTHWISE_CASE_STRAIGHT(form, 0, 1)                          \
            TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_STRAIGHT, form, 0)     \
            TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_STRAIGHT, form, 1)     \
            TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_LOOPED, form, 0)       \
            TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_LOOPED, form, 1)       \
        default:                                                            \
            break;                                                          \
        }                                                                   \
        break;
/* clang-format on */
#endif

/* Two output rows (`delta` apart; 0 for one row) of the channels out..end-1, at most 4. */
TC_INLINE void tc_depthwise_rows(const tc_depthwise3x3_s8_dsp_params *p, const int32_t *lanes, const int32_t *stream,
                                 int8_t *out, const int8_t *end, int32_t delta)
{
#if TC_HAS_DSP
    const int32_t span = 2 * p->pairs * p->rounds * p->channels;
    const int32_t which = (p->rounds > 1 ? 100 : 0) + 2 * p->pairs + (p->output_width & 1);
    switch (p->form) {
        TC_DEPTHWISE_CASES(0)
        TC_DEPTHWISE_CASES(1)
        TC_DEPTHWISE_CASES(8)
        TC_DEPTHWISE_CASES(10)
        TC_DEPTHWISE_CASES(12)
        TC_DEPTHWISE_CASES(14)
    default:
        break;
    }
#else
    for (; out != end; out++, lanes += 2, stream += TC_DEPTHWISE_CHANNEL_WORDS) {
        for (int32_t x = 0; x < p->output_width; x++) {
            int32_t upper = stream[6], lower = stream[6];
            for (int32_t j = 0; j < 3; j++) {
                const int32_t *column = lanes + (x + j) * TC_DEPTHWISE_COLUMN_WORDS;
                upper = tc_smlad(column[0], stream[j], upper);
                upper = tc_add_wrap(upper, tc_low_lane(column[1]) * tc_high_lane(stream[3 + j]));
                lower = tc_smlad(column[1], stream[3 + j], lower);
                lower = tc_add_wrap(lower, tc_high_lane(column[0]) * tc_low_lane(stream[j]));
            }
            int8_t *place = out + x * p->channels;
            place[delta] = tc_requantize_dsp(p->form, lower, stream[7], stream[8], p->output_zero_point);
            *place = tc_requantize_dsp(p->form, upper, stream[7], stream[8], p->output_zero_point);
        }
    }
#endif
}

/* `columns` columns of 4 channels of the rows. */
TC_INLINE void tc_depthwise_gather(const int8_t *const *rows, int32_t first, int32_t columns, int32_t channels,
                                   int32_t *lanes)
{
#if TC_HAS_DSP
    const int32_t bytes = columns * channels;
    const int32_t end = first + bytes;
    tc_depthwise_gather_asm(rows[0] + end, rows[1] + end, rows[2] + end, rows[3] + end, lanes, -bytes, channels);
#else
    for (int32_t x = 0; x < columns; x++, lanes += TC_DEPTHWISE_COLUMN_WORDS) {
        const int32_t at = first + x * channels;
        tc_depthwise_column(rows[0] + at, rows[1] + at, rows[2] + at, rows[3] + at, lanes);
    }
#endif
}

/* in_rows: n_rows + 2 rows, top first, padding rows filled with the zero point. scratch: 32 * (output_width + 2)
 * bytes. */
TC_INLINE void tc_depthwise3x3_s8_dsp(const tc_depthwise3x3_s8_dsp_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *lanes = (int32_t *)scratch;
    const int32_t columns = p->output_width + 2;
    const int32_t room = columns - p->pad_left;
    const int32_t gathered = p->input_width < room ? p->input_width : room;
    int32_t *inside = lanes + p->pad_left * TC_DEPTHWISE_COLUMN_WORDS;
    tc_depthwise_fill(lanes, p->pad_left * TC_DEPTHWISE_COLUMN_WORDS, p->input_zero_point);
    tc_depthwise_fill(inside + gathered * TC_DEPTHWISE_COLUMN_WORDS, (room - gathered) * TC_DEPTHWISE_COLUMN_WORDS,
                      p->input_zero_point);
    for (int32_t y = 0; y < n_rows; y += 2) {
        const int32_t is_pair = y + 1 < n_rows;
        const int8_t *const rows[4] = {in_rows[y], in_rows[y + 1], in_rows[y + 2], in_rows[y + 2 + is_pair]};
        const int32_t delta = (int32_t)(out_rows[y + is_pair] - out_rows[y]);
        const int32_t *stream = p->stream;
        for (int32_t c = 0; c < p->channels; c += 4) {
            /* The last group reads 4 channels that end with the row, and makes the ones that are left. */
            const int32_t end = c + 4 < p->channels ? c + 4 : p->channels;
            const int32_t first = end == c + 4 ? c : p->channels - 4;
            tc_depthwise_gather(rows, first, gathered, p->channels, inside);
            tc_depthwise_rows(p, lanes + 2 * (c - first), stream, out_rows[y] + c, out_rows[y] + end, delta);
            stream += 4 * TC_DEPTHWISE_CHANNEL_WORDS;
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        for (int32_t i = 0; i < n_rows; i++) {
            tc_clamp_row(out_rows[i], p->output_width * p->channels, p->activation_min, p->activation_max);
        }
    }
}

#endif
