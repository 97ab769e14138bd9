/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise 3x3 convolution with stride 1, int8, on Armv7E-M: two output rows at once. Shapes: input rows
 * [input_width][channels], output rows [output_width][channels]; channels >= 4. A run is of column pairs, at most 6.
 *
 * For 4 channels at a time, the four input rows r0..r3 become two words of 16-bit lanes per column and channel,
 * (r0, r1) and (r2, r3): with w01 = (w0, w1) and w12 = (w1, w2) of a kernel column, the upper output takes
 * (r0, r1) . w01 + r2 * w2, the lower one (r2, r3) . w12 + r1 * w0.
 */
#ifndef TC_DEPTHWISE_DSP_H
#define TC_DEPTHWISE_DSP_H

#include "tc_depthwise_lanes_dsp.h"

/* Per channel: w01 of 3 kernel columns, w12 of 3, bias, multiplier, addend. */
#define TC_DEPTHWISE_CHANNEL_WORDS 9

#if TC_HAS_DSP
/* clang-format off */
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

/* The next two rows into lanes that hold four: (r2, r3) take the place of (r0, r1), (r4, r5) their own. `lanes` is where
 * the second column begins. */
TC_ASSEMBLY void tc_depthwise_slide_asm(TC_UNREAD const int8_t *end4, TC_UNREAD const int8_t *end5,
                                        TC_UNREAD int32_t *lanes, TC_UNREAD int32_t offset, TC_UNREAD int32_t channels)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldr r12, [sp, #36]\n"
        "1:\n"
        "ldmdb r2, {r4-r10}\n"
        "ldr r5, [r0, r3]\n"
        "ldr r7, [r1, r3]\n"
        "pkhbt r9, r5, r7, lsl #16\n"
        "pkhtb r11, r7, r5, asr #16\n"
        "sxtb16 r5, r9\n"
        "sxtb16 r7, r9, ror #8\n"
        "sxtb16 r9, r11\n"
        "sxtb16 r11, r11, ror #8\n"
        "stmdb r2, {r4-r11}\n"
        "adds r2, r2, #32\n"
        "adds r3, r3, r12\n"
        "bne 1b\n"
        "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}

/* r0 lanes, r2 out, r4-r6 w01, r7-r9 w12, accumulators r3 r10 (upper, lower output of the first column) and r11 r12 (of
 * the second), r1 lr data; the frame is that of tc_depthwise_lanes_dsp.h. */
#define TC_DEPTHWISE_TAP_ASM(upper, lower, w01, w12)                    \
    "smlad " #upper ", r1, " #w01 ", " #upper "\n"                      \
    "smlabt " #upper ", lr, " #w12 ", " #upper "\n"                     \
    "smlad " #lower ", lr, " #w12 ", " #lower "\n"                      \
    "smlatb " #lower ", r1, " #w01 ", " #lower "\n"

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

/* The same for one output row. */
#define TC_DEPTHWISE_UPPER_ASM(upper, w01, w12)                         \
    "smlad " #upper ", r1, " #w01 ", " #upper "\n"                      \
    "smlabt " #upper ", lr, " #w12 ", " #upper "\n"
#define TC_DEPTHWISE_ONE_PAIRS_ASM(form, pairs)                         \
    ".rept " #pairs "\n"                                                \
    "ldrd r3, r11, [sp]\n"                                              \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_UPPER_ASM(r3, r4, r7)                                  \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_UPPER_ASM(r3, r5, r8)                                  \
    TC_DEPTHWISE_UPPER_ASM(r11, r4, r7)                                 \
    "ldrd r1, lr, [r0]\n"                                               \
    TC_DEPTHWISE_UPPER_ASM(r3, r6, r9)                                  \
    TC_DEPTHWISE_UPPER_ASM(r11, r5, r8)                                 \
    "ldrd r1, lr, [r0, #32]\n"                                          \
    TC_DEPTHWISE_UPPER_ASM(r11, r6, r9)                                 \
    TC_DEPTHWISE_TWO_##form(r3, r11)                                    \
    "ldr r1, [sp, #28]\n"                                               \
    "strb r3, [r2]\n"                                                   \
    "strb r11, [r2, r1]\n"                                              \
    "add r2, r2, r1, lsl #1\n"                                          \
    ".endr\n"
#define TC_DEPTHWISE_ONE_LAST_0(form)
#define TC_DEPTHWISE_ONE_LAST_1(form)                                   \
    "ldrd r3, r11, [sp]\n"                                              \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_UPPER_ASM(r3, r4, r7)                                  \
    "ldrd r1, lr, [r0], #32\n"                                          \
    TC_DEPTHWISE_UPPER_ASM(r3, r5, r8)                                  \
    "ldrd r1, lr, [r0]\n"                                               \
    TC_DEPTHWISE_UPPER_ASM(r3, r6, r9)                                  \
    TC_DEPTHWISE_TWO_##form(r3, r11)                                    \
    "ldr r1, [sp, #28]\n"                                               \
    "strb r3, [r2]\n"                                                   \
    "add r2, r2, r1\n"

#define TC_DEPTHWISE_ENTER_ASM                                          \
    TC_DEPTHWISE_FRAME_ASM                                              \
    "ldmia r1!, {r4-r12}\n"                                             \
    "strd r10, r10, [sp]\n"                                             \
    "strd r10, r10, [sp, #8]\n"                                         \
    "strd r11, r12, [sp, #16]\n"                                        \
    "strd r0, r1, [sp, #36]\n"                                          \
    "str r2, [sp, #44]\n"
#define TC_DEPTHWISE_STRAIGHT(name, rows, form, pairs, last)            \
    TC_ASSEMBLY void name##_##form##_##pairs##_##last TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE_ENTER_ASM                         \
                         rows##PAIRS_ASM(form, pairs)                   \
                         rows##LAST_##last(form)                        \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }
#define TC_DEPTHWISE_LOOPED(name, rows, form, pairs, last)              \
    TC_ASSEMBLY void name##_looped_##form##_##pairs##_##last TC_DEPTHWISE_PARAMETERS \
    {                                                                   \
        __asm__ volatile(TC_DEPTHWISE_ENTER_ASM                         \
                         TC_DEPTHWISE_ROUNDS_ASM(rows##PAIRS_ASM(form, pairs)) \
                         rows##LAST_##last(form)                        \
                         TC_DEPTHWISE_LEAVE_ASM ::: TC_ASSEMBLY_CLOBBERS); \
    }

#define TC_DEPTHWISE_FOR_PAIRS(X, name, rows, form, last) \
    X(name, rows, form, 1, last) X(name, rows, form, 2, last) X(name, rows, form, 3, last) \
    X(name, rows, form, 4, last) X(name, rows, form, 5, last) X(name, rows, form, 6, last)
#define TC_DEPTHWISE_DEFINE_ROWS(name, rows, form)                      \
    TC_DEPTHWISE_STRAIGHT(name, rows, form, 0, 1)                       \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_STRAIGHT, name, rows, form, 0)  \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_STRAIGHT, name, rows, form, 1)  \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_LOOPED, name, rows, form, 0)    \
    TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_LOOPED, name, rows, form, 1)
#define TC_DEPTHWISE_DEFINE(form)                                       \
    TC_DEPTHWISE_DEFINE_ROWS(tc_depthwise_two, TC_DEPTHWISE_, form)     \
    TC_DEPTHWISE_DEFINE_ROWS(tc_depthwise_one, TC_DEPTHWISE_ONE_, form)
TC_DEPTHWISE_DEFINE(0)
TC_DEPTHWISE_DEFINE(1)
TC_DEPTHWISE_DEFINE(8)
TC_DEPTHWISE_DEFINE(10)
TC_DEPTHWISE_DEFINE(12)
TC_DEPTHWISE_DEFINE(14)

#define TC_DEPTHWISE_CASE_STRAIGHT(name, rows, form, pairs, last)                                                   \
    case 2 * pairs + last:                                                                                          \
        name##_##form##_##pairs##_##last(lanes, stream, out, end, p->channels, delta, p->output_zero_point, span);  \
        break;
#define TC_DEPTHWISE_CASE_LOOPED(name, rows, form, pairs, last)                                                     \
    case 100 + 2 * pairs + last:                                                                                    \
        name##_looped_##form##_##pairs##_##last(lanes, stream, out, end, p->channels, delta, p->output_zero_point,  \
                                                span);                                                              \
        break;
#define TC_DEPTHWISE_CASES_ROWS(name, rows, form)                                   \
    switch (which) {                                                                \
        TC_DEPTHWISE_CASE_STRAIGHT(name, rows, form, 0, 1)                          \
        TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_STRAIGHT, name, rows, form, 0)     \
        TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_STRAIGHT, name, rows, form, 1)     \
        TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_LOOPED, name, rows, form, 0)       \
        TC_DEPTHWISE_FOR_PAIRS(TC_DEPTHWISE_CASE_LOOPED, name, rows, form, 1)       \
    default:                                                                        \
        break;                                                                      \
    }
#define TC_DEPTHWISE_CASES(form)                                        \
    case form:                                                          \
        if (is_pair) {                                                  \
            TC_DEPTHWISE_CASES_ROWS(tc_depthwise_two, TC_DEPTHWISE_, form)      \
        } else {                                                        \
            TC_DEPTHWISE_CASES_ROWS(tc_depthwise_one, TC_DEPTHWISE_ONE_, form)  \
        }                                                               \
        break;
/* clang-format on */
#endif

/* Two output rows (`delta` apart), or one, of the channels out..end-1, at most 4. */
TC_INLINE void tc_depthwise_rows(const tc_depthwise3x3_s8_dsp_params *p, int32_t is_pair, const int32_t *lanes,
                                 const int32_t *stream, int8_t *out, const int8_t *end, int32_t delta)
{
#if TC_HAS_DSP
    const int32_t span = 2 * p->run * p->rounds * p->channels;
    const int32_t which = (p->rounds > 1 ? 100 : 0) + 2 * p->run + (p->output_width & 1);
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
            if (is_pair) {
                place[delta] = tc_requantize_dsp(p->form, lower, stream[7], stream[8], p->output_zero_point);
            }
            *place = tc_requantize_dsp(p->form, upper, stream[7], stream[8], p->output_zero_point);
        }
    }
#endif
}

/* `columns` columns of 4 channels of the rows. */
TC_INLINE void tc_depthwise_gather(const int8_t *r0, const int8_t *r1, const int8_t *r2, const int8_t *r3,
                                   int32_t first, int32_t columns, int32_t channels, int32_t *lanes)
{
#if TC_HAS_DSP
    const int32_t bytes = columns * channels;
    const int32_t end = first + bytes;
    tc_depthwise_gather_asm(r0 + end, r1 + end, r2 + end, r3 + end, lanes, -bytes, channels);
#else
    for (int32_t x = 0; x < columns; x++, lanes += TC_DEPTHWISE_COLUMN_WORDS) {
        const int32_t at = first + x * channels;
        tc_depthwise_column(r0 + at, r1 + at, r2 + at, r3 + at, lanes);
    }
#endif
}

/* The same columns two rows further down, where r4 and r5 are new. */
TC_INLINE void tc_depthwise_slide(const int8_t *r4, const int8_t *r5, int32_t first, int32_t columns, int32_t channels,
                                  int32_t *lanes)
{
#if TC_HAS_DSP
    const int32_t bytes = columns * channels;
    const int32_t end = first + bytes;
    tc_depthwise_slide_asm(r4 + end, r5 + end, lanes + TC_DEPTHWISE_COLUMN_WORDS, -bytes, channels);
#else
    for (int32_t x = 0; x < columns; x++, lanes += TC_DEPTHWISE_COLUMN_WORDS) {
        const int32_t at = first + x * channels;
        const int32_t upper[4] = {lanes[1], lanes[3], lanes[5], lanes[7]};
        tc_depthwise_column(r4 + at, r5 + at, r4 + at, r5 + at, lanes);
        for (int32_t i = 0; i < 4; i++) {
            lanes[2 * i] = upper[i];
        }
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
    const int32_t *stream = p->stream;
    for (int32_t c = 0; c < p->channels; c += 4) {
        /* The last group reads 4 channels that end with the row, and makes the ones that are left. */
        const int32_t end = c + 4 < p->channels ? c + 4 : p->channels;
        const int32_t first = end == c + 4 ? c : p->channels - 4;
        const int32_t *from = lanes + 2 * (c - first);
        int32_t y = 0;
        tc_depthwise_gather(in_rows[0], in_rows[1], in_rows[2], in_rows[n_rows > 1 ? 3 : 2], first, gathered,
                            p->channels, inside);
        while (n_rows - y > 1) {
            const int32_t delta = (int32_t)(out_rows[y + 1] - out_rows[y]);
            tc_depthwise_rows(p, 1, from, stream, out_rows[y] + c, out_rows[y] + end, delta);
            y += 2;
            if (n_rows > y) {
                /* The last of an odd number of rows has no second new row: the first stands in for it, unread. */
                tc_depthwise_slide(in_rows[y + 2], in_rows[y + 2 + (n_rows - y > 1)], first, gathered, p->channels,
                                   inside);
            }
        }
        if (n_rows > y) {
            tc_depthwise_rows(p, 0, from, stream, out_rows[y] + c, out_rows[y] + end, 0);
        }
        stream += 4 * TC_DEPTHWISE_CHANNEL_WORDS;
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->channels, p->activation_min, p->activation_max);
}

#endif
