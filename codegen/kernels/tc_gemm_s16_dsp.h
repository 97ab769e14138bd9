/* SPDX-License-Identifier: MIT-0
 *
 * The matrix core of int16 activations and int8 weights on Armv7E-M: 2 output channels x 2 pixels at a time, 10
 * instructions per 16 products with weights stored as 16 bits (lanes), 14 with weights stored as bytes.
 *
 * Activations: as in tc_gemm_dsp.h, but lanes in their natural order (0, 1) (2, 3).
 * Weights: `stream` holds, for each pair of output channels o, o+1: bias(o) bias(o) bias(o+1) bias(o+1); per group of 4
 * values the weights of o, then of o+1, either as lanes in natural order or as the bytes 0 2 1 3; a multiplier of o and
 * of o+1.
 * form says what becomes of the sums, which add modulo 2^32:
 *   0  they never leave 32 bits: y = saturate(round(sum * multiplier / 2^32)), ties up
 *   1  the same, negative results made 0 (ReLU)
 *   2  they are parts of a wider sum, or wrap: the caller requantizes them
 */
#ifndef TC_GEMM_S16_DSP_H
#define TC_GEMM_S16_DSP_H

#include "tc_gemm_dsp.h"
#include "tc_windowed_s16.h"

typedef struct {
    int32_t input_width; /* these as in tc_windowed_s16.h */
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
    int32_t groups;
    int32_t is_wide;
    int32_t activation_min;
    int32_t activation_max;
    int32_t requant_step;
    int32_t form;          /* see above */
    int32_t steps;         /* groups of values per round of the core */
    int32_t chunks;        /* rounds per segment */
    int32_t segments;      /* of the window, each with sums of 32 bits; 1 unless form is 2 */
    int32_t is_dense;      /* 1: what each row of the window has over groups of 4 values is joined, not padded */
    const int32_t *stream; /* weights in the core's order */
    const int32_t *bias;   /* these with form 2 only */
    const int32_t *multiplier;
    const int8_t *shift;
} tc_windowed_s16_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
/* Registers as in tc_gemm_dsp.h. The stack holds acts, out, delta, end, end of acts. */
#define TC_GEMM16_LANES_ASM(steps) TC_GEMM_STEPS_ASM(steps)
#define TC_GEMM16_BYTES_ASM(steps)                                      \
    ".rept " #steps "\n"                                                \
    "ldmia r0!, {r4-r7}\n"                                              \
    "ldmia r1!, {r8, r9}\n"                                             \
    "sxtb16 r10, r8\n"                                                  \
    "sxtb16 r11, r9\n"                                                  \
    "sxtb16 r8, r8, ror #8\n"                                           \
    "sxtb16 r9, r9, ror #8\n"                                           \
    "smlad r2, r4, r10, r2\n"                                           \
    "smlad r3, r6, r10, r3\n"                                           \
    "smlad r12, r4, r11, r12\n"                                         \
    "smlad lr, r6, r11, lr\n"                                           \
    "smlad r2, r5, r8, r2\n"                                            \
    "smlad r3, r7, r8, r3\n"                                            \
    "smlad r12, r5, r9, r12\n"                                          \
    "smlad lr, r7, r9, lr\n"                                            \
    ".endr\n"

#define TC_GEMM16_SCALE_ASM(saturate)                                   \
    "ldmia r1!, {r4, r5}\n"                                             \
    "ldm sp, {r0, r8-r10}\n"                                            \
    "smmulr r2, r2, r4\n"                                               \
    "smmulr r3, r3, r4\n"                                               \
    "smmulr r12, r12, r5\n"                                             \
    "smmulr lr, lr, r5\n"                                               \
    saturate(r2) saturate(r3) saturate(r12) saturate(lr)                \
    "pkhbt r2, r2, r12, lsl #16\n"                                      \
    "pkhbt r3, r3, lr, lsl #16\n"                                       \
    "str r3, [r8, r9]\n"                                                \
    "str r2, [r8], #4\n"
#define TC_GEMM16_SIGNED_ASM(r) "ssat " #r ", #16, " #r "\n"
#define TC_GEMM16_RELU_ASM(r) "usat " #r ", #15, " #r "\n"
#define TC_GEMM16_OUTPUT_0 TC_GEMM16_SCALE_ASM(TC_GEMM16_SIGNED_ASM)
#define TC_GEMM16_OUTPUT_1 TC_GEMM16_SCALE_ASM(TC_GEMM16_RELU_ASM)
#define TC_GEMM16_OUTPUT_2                                              \
    "ldm sp, {r0, r8-r10}\n"                                            \
    "stmia r8!, {r2, r3, r12, lr}\n"

#define TC_GEMM16_CORE(kind, form, steps)                               \
    TC_ASSEMBLY void tc_gemm16_##kind##_##form##_##steps(TC_UNREAD const int32_t *acts, TC_UNREAD const int32_t *stream, \
        TC_UNREAD void *out, TC_UNREAD int32_t delta, TC_UNREAD const void *end, TC_UNREAD const int32_t *acts_end) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r12, lr, [sp, #36]\n"                                 \
            "push {r0, r2, r3, r12, lr}\n"                              \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            "2:\n"                                                      \
            TC_GEMM16_##kind##_ASM(steps)                               \
            "ldr r4, [sp, #16]\n"                                       \
            "cmp r0, r4\n"                                              \
            "bne 2b\n"                                                  \
            TC_GEMM16_OUTPUT_##form                                     \
            "str r8, [sp, #4]\n"                                        \
            "cmp r8, r10\n"                                             \
            "bne 1b\n"                                                  \
            "add sp, sp, #20\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }
#define TC_GEMM16_FOR(X, kind, form)                                                            \
    X(kind, form, 1) X(kind, form, 2) X(kind, form, 3) X(kind, form, 4) X(kind, form, 5)        \
    X(kind, form, 6) X(kind, form, 7) X(kind, form, 8) X(kind, form, 9) X(kind, form, 10)       \
    X(kind, form, 11) X(kind, form, 12) X(kind, form, 13) X(kind, form, 14) X(kind, form, 15)   \
    X(kind, form, 16) X(kind, form, 17) X(kind, form, 18)
#define TC_GEMM16_DEFINE(kind)              \
    TC_GEMM16_FOR(TC_GEMM16_CORE, kind, 0)  \
    TC_GEMM16_FOR(TC_GEMM16_CORE, kind, 1)  \
    TC_GEMM16_FOR(TC_GEMM16_CORE, kind, 2)
TC_GEMM16_DEFINE(LANES)
TC_GEMM16_DEFINE(BYTES)

#define TC_GEMM16_CASE(kind, form, count)                                       \
    case count:                                                                 \
        tc_gemm16_##kind##_##form##_##count(acts, stream, out, delta, end,      \
                                            acts + 4 * p->steps * p->chunks);   \
        break;
#define TC_GEMM16_CASES(kind, form)                     \
    case form:                                          \
        switch (p->steps) {                             \
            TC_GEMM16_FOR(TC_GEMM16_CASE, kind, form)   \
        default:                                        \
            break;                                      \
        }                                               \
        break;
#define TC_GEMM16_FORMS(kind)           \
    switch (p->form) {                  \
        TC_GEMM16_CASES(kind, 0)        \
        TC_GEMM16_CASES(kind, 1)        \
        TC_GEMM16_CASES(kind, 2)        \
    default:                            \
        break;                          \
    }
/* clang-format on */
#endif

/* A sum that never leaves 32 bits as form 0 or 1 has it. */
TC_INLINE int32_t tc_scale_s16(int32_t form, int32_t sum, int32_t multiplier)
{
    return tc_clamp(tc_smmlar(sum, multiplier, 0), form == 1 ? 0 : INT16_MIN, INT16_MAX);
}

/* Words of the stream for each group of values of `outputs` channels. */
TC_INLINE int32_t tc_words_s16(int32_t is_lanes, int32_t outputs)
{
    return is_lanes ? 2 * outputs : outputs;
}

/* Weights of channel `o` for 4 values, of a group that begins at `words`, as lanes. */
TC_INLINE void tc_weights_s16(const int32_t *words, int32_t is_lanes, int32_t o, int32_t *lanes)
{
    const uint32_t bytes = (uint32_t)words[o];
    lanes[0] = is_lanes ? words[2 * o] : tc_sxtb16(bytes);
    lanes[1] = is_lanes ? words[2 * o + 1] : tc_sxtb16_odd(bytes);
}

/* Output channels of a pair of pixels up to `end`: of pixel 0 from `out` on, of pixel 1 `delta` bytes further; with
 * form 2 one pair's sums: o of both pixels, o+1 of both. */
TC_INLINE void tc_gemm_s16_dsp(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *acts,
                               const int32_t *stream, int8_t *out, int32_t delta, const int8_t *end)
{
#if TC_HAS_DSP
    if (is_lanes) {
        TC_GEMM16_FORMS(LANES)
    } else {
        TC_GEMM16_FORMS(BYTES)
    }
#else
    for (; out != end; out += 4) {
        int32_t sums[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t g = 0; g < p->steps * p->chunks; g++, stream += tc_words_s16(is_lanes, 2)) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t *x = acts + 4 * g + 2 * (i & 1);
                int32_t w[2] = {stream[0], stream[1]};
                tc_weights_s16(stream, is_lanes, i >> 1, w);
                sums[i] = tc_smlad(x[1], w[1], tc_smlad(x[0], w[0], sums[i]));
            }
        }
        if (p->form == 2) {
            __builtin_memcpy(out, sums, sizeof sums);
            return;
        }
        for (int32_t i = 0; i < 4; i++) {
            tc_store(out + (i & 1) * delta, 2, i >> 1, tc_scale_s16(p->form, sums[i], stream[i >> 1]));
        }
        stream += 2;
    }
#endif
}

/* Output `o` from the sum of its products, with form 2. */
TC_INLINE int32_t tc_requantize_sum_s16(const tc_windowed_s16_dsp_params *p, int64_t sum, int32_t o)
{
    const int32_t at = o * p->requant_step;
    const int32_t y = tc_requantize_s16(sum + p->bias[o], p->is_wide, p->multiplier[at], p->shift[at]);
    return tc_clamp(y, p->activation_min, p->activation_max);
}

/* Clamps the rows in place, for activations narrower than what forms 0 and 1 make. */
TC_INLINE void tc_clamp_rows_s16(const tc_windowed_s16_dsp_params *p, int8_t *const *rows, int32_t n_rows)
{
    const int32_t low = p->form == 1 ? 0 : INT16_MIN;
    if (p->form == 2 || (p->activation_min <= low && p->activation_max >= INT16_MAX)) {
        return;
    }
    for (int32_t r = 0; r < n_rows; r++) {
        for (int32_t i = 0; i < p->output_width * p->output_channels; i++) {
            tc_store(rows[r], 2, i, tc_clamp(tc_load(rows[r], 2, i), p->activation_min, p->activation_max));
        }
    }
}

#endif
