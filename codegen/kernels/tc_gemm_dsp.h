/* SPDX-License-Identifier: MIT-0
 *
 * The matrix core of the *_dsp kernels: 2 output channels x 2 pixels at a time, 10 instructions per 16 products.
 *
 * Activations: `acts` holds `steps` groups of 4 words: 4 values of pixel 0, then the same 4 of pixel 1, as 16-bit lanes
 * in the order (0, 2) (1, 3).
 * Weights: `stream` holds, for each pair of output channels o, o+1: bias(o) bias(o) bias(o+1) bias(o+1); then per step
 * 4 words: 4 weights of o, the same 4 of o+1, lanes as above; then multiplier and addend of o and of o+1
 * (tc_requantize_dsp.h). The core reads it from start to end once per pair of pixels.
 * Outputs: channel c of pixel 0 goes to out[c], of pixel 1 to out[delta + c]; `end` is out + channels (even).
 */
#ifndef TC_GEMM_DSP_H
#define TC_GEMM_DSP_H

#include "tc_requantize_dsp.h"

/* Up to this many steps the core is straight-line code; above, `chunks` rounds of 9 to 18 steps. */
#define TC_GEMM_MAX_STEPS 18

#if TC_HAS_DSP
/* clang-format off */
/* r0 acts, r1 stream, r2 r3 r12 lr the accumulators (o p0, o p1, o+1 p0, o+1 p1), r4-r7 acts, r8-r11 weights.
 * The stack holds acts, out, delta, end, zero_point, and the end of acts where the core loops over chunks. */
#define TC_GEMM_STEPS_ASM(steps)                                        \
    ".rept " #steps "\n"                                                \
    "ldmia r0!, {r4-r7}\n"                                              \
    "ldmia r1!, {r8-r11}\n"                                             \
    "smlad r2, r4, r8, r2\n"                                            \
    "smlad r3, r6, r8, r3\n"                                            \
    "smlad r12, r4, r10, r12\n"                                         \
    "smlad lr, r6, r10, lr\n"                                           \
    "smlad r2, r5, r9, r2\n"                                            \
    "smlad r3, r7, r9, r3\n"                                            \
    "smlad r12, r5, r11, r12\n"                                         \
    "smlad lr, r7, r11, lr\n"                                           \
    ".endr\n"

#define TC_GEMM_SHIFT_ASM(form)                                         \
    "smmla r2, r2, r4, r5\n"                                            \
    "smmla r3, r3, r4, r5\n"                                            \
    "smmla r12, r12, r6, r7\n"                                          \
    "smmla lr, lr, r6, r7\n"                                            \
    "ssat r2, #8, r2, asr #" #form "\n"                                 \
    "ssat r3, #8, r3, asr #" #form "\n"                                 \
    "ssat r12, #8, r12, asr #" #form "\n"                               \
    "ssat lr, #8, lr, asr #" #form "\n"
#define TC_GEMM_REQUANTIZE_SHIFTED(form)                                \
    "ldmia r1!, {r4-r7}\n"                                              \
    "ldm sp, {r0, r8-r10}\n"                                            \
    TC_GEMM_SHIFT_ASM(form)

#define TC_GEMM_HIGH_ASM                                                \
    "smmlar r2, r2, r4, r2\n"                                           \
    "smmlar r3, r3, r4, r3\n"                                           \
    "smmlar r12, r12, r6, r12\n"                                        \
    "smmlar lr, lr, r6, lr\n"
#define TC_GEMM_TIES_0                                                  \
    "add r2, r2, r2, asr #31\n"                                         \
    "add r3, r3, r3, asr #31\n"                                         \
    "add r12, r12, r12, asr #31\n"                                      \
    "add lr, lr, lr, asr #31\n"
#define TC_GEMM_TIES_1
#define TC_GEMM_SCALE_ASM(zero_point)                                   \
    "smmlar r2, r2, r5, " #zero_point "\n"                              \
    "smmlar r3, r3, r5, " #zero_point "\n"                              \
    "smmlar r12, r12, r7, " #zero_point "\n"                            \
    "smmlar lr, lr, r7, " #zero_point "\n"                              \
    "ssat r2, #8, r2\n"                                                 \
    "ssat r3, #8, r3\n"                                                 \
    "ssat r12, #8, r12\n"                                               \
    "ssat lr, #8, lr\n"
#define TC_GEMM_REQUANTIZE_LONG(ties)                                   \
    "ldmia r1!, {r4-r7}\n"                                              \
    "ldm sp, {r0, r8-r11}\n"                                            \
    TC_GEMM_HIGH_ASM ties TC_GEMM_SCALE_ASM(r11)
#define TC_GEMM_REQUANTIZE_0 TC_GEMM_REQUANTIZE_LONG(TC_GEMM_TIES_0)
#define TC_GEMM_REQUANTIZE_1 TC_GEMM_REQUANTIZE_LONG(TC_GEMM_TIES_1)
#define TC_GEMM_REQUANTIZE_8 TC_GEMM_REQUANTIZE_SHIFTED(8)
#define TC_GEMM_REQUANTIZE_10 TC_GEMM_REQUANTIZE_SHIFTED(10)
#define TC_GEMM_REQUANTIZE_12 TC_GEMM_REQUANTIZE_SHIFTED(12)
#define TC_GEMM_REQUANTIZE_14 TC_GEMM_REQUANTIZE_SHIFTED(14)

#define TC_GEMM_STORE_ASM                                               \
    "bfi r2, r12, #8, #8\n"                                             \
    "bfi r3, lr, #8, #8\n"                                              \
    "strh r3, [r8, r9]\n"                                               \
    "strh r2, [r8], #2\n"                                               \
    "str r8, [sp, #4]\n"                                                \
    "cmp r8, r10\n"                                                     \
    "bne 1b\n"

/* Two blocks a round, for a multiple of 4 channels: 3 instructions less. The stack holds acts, out - 2, delta + 2,
 * delta + 4, then end - 2 and (unread) zero_point in the shifted forms, zero_point and end - 2 in the others. */
#define TC_GEMM_REQUANTIZE_TWO_SHIFTED(form)                            \
    "ldmia r1!, {r4-r7}\n"                                              \
    "ldm sp, {r0, r8-r11}\n"                                            \
    TC_GEMM_SHIFT_ASM(form)
#define TC_GEMM_REQUANTIZE_TWO_0 TC_GEMM_REQUANTIZE_LONG(TC_GEMM_TIES_0)
#define TC_GEMM_REQUANTIZE_TWO_1 TC_GEMM_REQUANTIZE_LONG(TC_GEMM_TIES_1)
#define TC_GEMM_REQUANTIZE_TWO_8 TC_GEMM_REQUANTIZE_TWO_SHIFTED(8)
#define TC_GEMM_REQUANTIZE_TWO_10 TC_GEMM_REQUANTIZE_TWO_SHIFTED(10)
#define TC_GEMM_REQUANTIZE_TWO_12 TC_GEMM_REQUANTIZE_TWO_SHIFTED(12)
#define TC_GEMM_REQUANTIZE_TWO_14 TC_GEMM_REQUANTIZE_TWO_SHIFTED(14)

#define TC_GEMM_END_LONG                                                \
    "ldr r11, [sp, #20]\n"
#define TC_GEMM_END_0 TC_GEMM_END_LONG
#define TC_GEMM_END_1 TC_GEMM_END_LONG
#define TC_GEMM_END_8
#define TC_GEMM_END_10
#define TC_GEMM_END_12
#define TC_GEMM_END_14
#define TC_GEMM_LAST_LONG "ldrd r6, r5, [sp, #36]\n"
#define TC_GEMM_LAST_SHIFTED "ldrd r5, r6, [sp, #36]\n"
#define TC_GEMM_LAST_0 TC_GEMM_LAST_LONG
#define TC_GEMM_LAST_1 TC_GEMM_LAST_LONG
#define TC_GEMM_LAST_8 TC_GEMM_LAST_SHIFTED
#define TC_GEMM_LAST_10 TC_GEMM_LAST_SHIFTED
#define TC_GEMM_LAST_12 TC_GEMM_LAST_SHIFTED
#define TC_GEMM_LAST_14 TC_GEMM_LAST_SHIFTED

#define TC_GEMM_BLOCK_ASM(form, steps)                                  \
    "ldmia r1!, {r2, r3, r12, lr}\n"                                    \
    TC_GEMM_STEPS_ASM(steps)                                            \
    TC_GEMM_REQUANTIZE_TWO_##form                                       \
    "bfi r2, r12, #8, #8\n"                                             \
    "bfi r3, lr, #8, #8\n"

#define TC_GEMM_TWO(form, steps)                                        \
    TC_ASSEMBLY void tc_gemm_two_##form##_##steps(TC_UNREAD const int32_t *acts, TC_UNREAD const int32_t *stream, \
        TC_UNREAD int8_t *before, TC_UNREAD int32_t delta, TC_UNREAD const int8_t *end, TC_UNREAD int32_t zero_point) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            TC_GEMM_LAST_##form                                         \
            "add r4, r3, #2\n"                                          \
            "push {r0, r2-r6}\n"                                        \
            "1:\n"                                                      \
            TC_GEMM_BLOCK_ASM(form, steps)                              \
            "strh r3, [r8, r9]\n"                                       \
            "strh r2, [r8, #2]\n"                                       \
            TC_GEMM_BLOCK_ASM(form, steps)                              \
            TC_GEMM_END_##form                                          \
            "strh r3, [r8, r10]\n"                                      \
            "strh r2, [r8, #4]!\n"                                      \
            "str r8, [sp, #4]\n"                                        \
            "cmp r8, r11\n"                                             \
            "bne 1b\n"                                                  \
            "add sp, sp, #24\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_GEMM_FULL(form, steps)                                       \
    TC_ASSEMBLY void tc_gemm_##form##_##steps(TC_UNREAD const int32_t *acts, TC_UNREAD const int32_t *stream, \
        TC_UNREAD int8_t *out, TC_UNREAD int32_t delta, TC_UNREAD const int8_t *end, TC_UNREAD int32_t zero_point) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r12, lr, [sp, #36]\n"                                 \
            "push {r0, r2, r3, r12, lr}\n"                              \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            TC_GEMM_STEPS_ASM(steps)                                    \
            TC_GEMM_REQUANTIZE_##form                                   \
            TC_GEMM_STORE_ASM                                           \
            "add sp, sp, #20\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_GEMM_CHUNKED(form, steps)                                    \
    TC_ASSEMBLY void tc_gemm_chunked_##form##_##steps(TC_UNREAD const int32_t *acts, TC_UNREAD const int32_t *stream, \
        TC_UNREAD int8_t *out, TC_UNREAD int32_t delta, TC_UNREAD const int8_t *end, TC_UNREAD int32_t zero_point, \
        TC_UNREAD const int32_t *acts_end)                              \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldr r4, [sp, #44]\n"                                       \
            "ldrd r12, lr, [sp, #36]\n"                                 \
            "push {r4}\n"                                               \
            "push {r0, r2, r3, r12, lr}\n"                              \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            "2:\n"                                                      \
            TC_GEMM_STEPS_ASM(steps)                                    \
            "ldr r4, [sp, #20]\n"                                       \
            "cmp r0, r4\n"                                              \
            "bne 2b\n"                                                  \
            TC_GEMM_REQUANTIZE_##form                                   \
            TC_GEMM_STORE_ASM                                           \
            "add sp, sp, #24\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_GEMM_FOR_SHORT(X, form) \
    X(form, 1) X(form, 2) X(form, 3) X(form, 4) X(form, 5) X(form, 6) X(form, 7) X(form, 8)
#define TC_GEMM_FOR_LONG(X, form) \
    X(form, 9) X(form, 10) X(form, 11) X(form, 12) X(form, 13) X(form, 14) X(form, 15) X(form, 16) X(form, 17) X(form, 18)
#define TC_GEMM_DEFINE(form)                \
    TC_GEMM_FOR_SHORT(TC_GEMM_FULL, form)   \
    TC_GEMM_FOR_LONG(TC_GEMM_FULL, form)    \
    TC_GEMM_FOR_SHORT(TC_GEMM_TWO, form)    \
    TC_GEMM_FOR_LONG(TC_GEMM_TWO, form)     \
    TC_GEMM_FOR_LONG(TC_GEMM_CHUNKED, form)
TC_GEMM_DEFINE(0)
TC_GEMM_DEFINE(1)
TC_GEMM_DEFINE(8)
TC_GEMM_DEFINE(10)
TC_GEMM_DEFINE(12)
TC_GEMM_DEFINE(14)

#define TC_GEMM_CASE_FULL(form, count)                                              \
    case count:                                                                     \
        tc_gemm_##form##_##count(acts, stream, out, delta, end, zero_point);        \
        break;
#define TC_GEMM_CASE_TWO(form, count)                                               \
    case count:                                                                     \
        tc_gemm_two_##form##_##count(acts, stream, out - 2, delta + 2, end - 2, zero_point); \
        break;
#define TC_GEMM_CASE_CHUNKED(form, count)                                           \
    case count:                                                                     \
        tc_gemm_chunked_##form##_##count(acts, stream, out, delta, end, zero_point, \
                                         acts + 4 * steps * chunks);                \
        break;
#define TC_GEMM_CASES(form)                                                         \
    case form:                                                                      \
        if (chunks == 1 && ((end - out) & 3) == 0) {                                \
            switch (steps) {                                                        \
                TC_GEMM_FOR_SHORT(TC_GEMM_CASE_TWO, form)                           \
                TC_GEMM_FOR_LONG(TC_GEMM_CASE_TWO, form)                            \
            default:                                                                \
                break;                                                              \
            }                                                                       \
        } else if (chunks == 1) {                                                   \
            switch (steps) {                                                        \
                TC_GEMM_FOR_SHORT(TC_GEMM_CASE_FULL, form)                          \
                TC_GEMM_FOR_LONG(TC_GEMM_CASE_FULL, form)                           \
            default:                                                                \
                break;                                                              \
            }                                                                       \
        } else {                                                                    \
            switch (steps) {                                                        \
                TC_GEMM_FOR_LONG(TC_GEMM_CASE_CHUNKED, form)                        \
            default:                                                                \
                break;                                                              \
            }                                                                       \
        }                                                                           \
        break;
/* clang-format on */
#endif

/* All channels of one pair of pixels; K = 4 * steps * chunks. With constant form, steps and chunks one core remains. */
TC_INLINE void tc_gemm_dsp(int32_t form, int32_t steps, int32_t chunks, const int32_t *acts, const int32_t *stream,
                           int8_t *out, int32_t delta, const int8_t *end, int32_t zero_point)
{
#if TC_HAS_DSP
    switch (form) {
        TC_GEMM_CASES(0)
        TC_GEMM_CASES(1)
        TC_GEMM_CASES(8)
        TC_GEMM_CASES(10)
        TC_GEMM_CASES(12)
        TC_GEMM_CASES(14)
    default:
        break;
    }
#else
    for (; out != end; out += 2) {
        int32_t a = stream[0], b = stream[1], c = stream[2], d = stream[3];
        stream += 4;
        for (int32_t k = 0; k < 4 * steps * chunks; k += 4, stream += 4) {
            a = tc_smlad(acts[k + 1], stream[1], tc_smlad(acts[k], stream[0], a));
            b = tc_smlad(acts[k + 3], stream[1], tc_smlad(acts[k + 2], stream[0], b));
            c = tc_smlad(acts[k + 1], stream[3], tc_smlad(acts[k], stream[2], c));
            d = tc_smlad(acts[k + 3], stream[3], tc_smlad(acts[k + 2], stream[2], d));
        }
        out[delta] = tc_requantize_dsp(form, b, stream[0], stream[1], zero_point);
        out[delta + 1] = tc_requantize_dsp(form, d, stream[2], stream[3], zero_point);
        out[0] = tc_requantize_dsp(form, a, stream[0], stream[1], zero_point);
        out[1] = tc_requantize_dsp(form, c, stream[2], stream[3], zero_point);
        stream += 4;
    }
#endif
}

#endif
