/* SPDX-License-Identifier: MIT-0
 *
 * What the depthwise 3x3 kernels for Armv7E-M have in common: columns of 4 channels as 16-bit lanes of two rows, and
 * the parts of assembly around the sums.
 */
#ifndef TC_DEPTHWISE_LANES_DSP_H
#define TC_DEPTHWISE_LANES_DSP_H

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
    int32_t form;   /* see tc_requantize_dsp.h */
    int32_t run;    /* column pairs or columns of one round of straight-line code */
    int32_t rounds; /* >= 1; run * rounds is the output's width (odd last columns of pairs apart) */
    const int32_t *stream;
} tc_depthwise3x3_s8_dsp_params;

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

#define TC_DEPTHWISE_PARAMETERS                                         \
    (TC_UNREAD const int32_t *lanes, TC_UNREAD const int32_t *stream, TC_UNREAD int8_t *out, \
     TC_UNREAD const int8_t *end, TC_UNREAD int32_t channels, TC_UNREAD int32_t delta,      \
     TC_UNREAD int32_t zero_point, TC_UNREAD int32_t span)
/* A frame on the stack: 0 bias (up to four times), 16 multiplier, 20 addend, 24 zero point, 28 channels, 32 delta,
 * 36 lanes, 40 stream, 44 out, 48 end of group, 52 bytes of a row's rounds, 56 end of the rounds. One round of label 1 a
 * channel, from r0 lanes, r1 stream, r2 out, r3 end of group. */
#define TC_DEPTHWISE_FRAME_ASM                                          \
    "push {r4-r11, lr}\n"                                               \
    "ldrd r4, r5, [sp, #36]\n"                                          \
    "ldrd r6, r7, [sp, #44]\n"                                          \
    "sub sp, sp, #60\n"                                                 \
    "str r6, [sp, #24]\n"                                               \
    "strd r4, r5, [sp, #28]\n"                                          \
    "strd r3, r7, [sp, #48]\n"                                          \
    "1:\n"
/* `body` in rounds up to the end of the row. */
#define TC_DEPTHWISE_ROUNDS_ASM(body)                                   \
    "ldr r1, [sp, #52]\n"                                               \
    "add r1, r2, r1\n"                                                  \
    "str r1, [sp, #56]\n"                                               \
    "2:\n"                                                              \
    body                                                                \
    "ldr r1, [sp, #56]\n"                                               \
    "cmp r2, r1\n"                                                      \
    "bne 2b\n"
#define TC_DEPTHWISE_LEAVE_ASM                                          \
    "add r12, sp, #36\n"                                                \
    "ldm r12, {r0-r3}\n"                                                \
    "adds r0, #8\n"                                                     \
    "adds r2, #1\n"                                                     \
    "cmp r2, r3\n"                                                      \
    "bne 1b\n"                                                          \
    "add sp, sp, #60\n"                                                 \
    "pop {r4-r11, pc}\n"

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

#define TC_DEPTHWISE_STORE_ASM(upper, lower)                            \
    "strb " #lower ", [r2, lr]\n"                                       \
    "strb " #upper ", [r2]\n"                                           \
    "add r2, r2, r1\n"
/* clang-format on */
#endif

#endif
