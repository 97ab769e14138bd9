/* SPDX-License-Identifier: MIT-0
 *
 * Fully connected int8 on Armv7E-M: 4 outputs x 8 inputs at a time. Shapes: input rows [vectors][inputs], output rows
 * [vectors][outputs].
 *
 * The stream holds, for each 4 outputs a..d, padded with zeros:
 *   16-bit weights (tc_fully_connected_s8_dsp): biases of a b c d; per 8 inputs the lanes (0, 2) (1, 3) (4, 6) (5, 7)
 *     of a, of b, of c, of d; 4 multipliers; 4 addends.
 *   packed weights (tc_fully_connected_packed_s8_dsp): two outputs share a lane as 256 * a + b. 256 * bias(a) +
 * bias(b), bias(b), the same of c and d; per 4 input lanes one word of a with b and one of c with d; then as above. The
 * sum over the lanes is 256 * A + B; the low bytes alone give B; A is what is left.
 */
#ifndef TC_FULLY_CONNECTED_DSP_H
#define TC_FULLY_CONNECTED_DSP_H

#include "tc_requantize_dsp.h"

typedef struct {
    int32_t vectors;
    int32_t inputs;
    int32_t outputs;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;          /* see tc_requantize_dsp.h */
    int32_t unroll;        /* groups of 8 inputs per round, 1 to 16 */
    int32_t rounds;        /* 8 * unroll * rounds >= inputs */
    const int32_t *stream; /* see above */
} tc_fully_connected_s8_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
/* r0 lanes, r1 stream, r2 r3 r12 lr accumulators, r4-r7 lanes, r8-r11 weights.
 * The stack holds lanes, out, end, zero point, end of lanes. */
#define TC_FC_OUTPUT_ASM(acc)                                           \
    "ldmia r1!, {r8-r11}\n"                                             \
    "smlad " #acc ", r8, r4, " #acc "\n"                                \
    "smlad " #acc ", r9, r5, " #acc "\n"                                \
    "smlad " #acc ", r10, r6, " #acc "\n"                               \
    "smlad " #acc ", r11, r7, " #acc "\n"
#define TC_FC_WIDE_ASM TC_FC_OUTPUT_ASM(r2) TC_FC_OUTPUT_ASM(r3) TC_FC_OUTPUT_ASM(r12) TC_FC_OUTPUT_ASM(lr)

#define TC_FC_SHARED_ASM(word, lanes, both, low)                        \
    "smlad " #both ", " #word ", " #lanes ", " #both "\n"               \
    "sxtb16 " #word ", " #word "\n"                                     \
    "smlad " #low ", " #word ", " #lanes ", " #low "\n"
#define TC_FC_PACKED_ASM                                                \
    "ldmia r1!, {r8-r11}\n"                                             \
    TC_FC_SHARED_ASM(r8, r4, r2, r3)                                    \
    TC_FC_SHARED_ASM(r9, r4, r12, lr)                                   \
    TC_FC_SHARED_ASM(r10, r5, r2, r3)                                   \
    TC_FC_SHARED_ASM(r11, r5, r12, lr)                                  \
    "ldmia r1!, {r8-r11}\n"                                             \
    TC_FC_SHARED_ASM(r8, r6, r2, r3)                                    \
    TC_FC_SHARED_ASM(r9, r6, r12, lr)                                   \
    TC_FC_SHARED_ASM(r10, r7, r2, r3)                                   \
    TC_FC_SHARED_ASM(r11, r7, r12, lr)

#define TC_FC_SPLIT_WIDE
#define TC_FC_SPLIT_PACKED                                              \
    "sub r2, r2, r3\n"                                                  \
    "sub r12, r12, lr\n"                                                \
    "asr r2, r2, #8\n"                                                  \
    "asr r12, r12, #8\n"

#define TC_FC_SHIFTED_ASM(x, multiplier, addend, form)                  \
    "smmla " #x ", " #x ", " #multiplier ", " #addend "\n"              \
    "ssat " #x ", #8, " #x ", asr #" #form "\n"
#define TC_FC_REQUANTIZE_SHIFTED(form)                                  \
    "ldmia r1!, {r4-r11}\n"                                             \
    TC_FC_SHIFTED_ASM(r2, r4, r8, form)                                 \
    TC_FC_SHIFTED_ASM(r3, r5, r9, form)                                 \
    TC_FC_SHIFTED_ASM(r12, r6, r10, form)                               \
    TC_FC_SHIFTED_ASM(lr, r7, r11, form)
#define TC_FC_TIES_0(x) "add " #x ", " #x ", " #x ", asr #31\n"
#define TC_FC_TIES_1(x)
#define TC_FC_LONG_ASM(x, multiplier, addend, ties)                     \
    "smmlar " #x ", " #x ", " #multiplier ", " #x "\n"                  \
    ties(x)                                                             \
    "ldr " #multiplier ", [sp, #12]\n"                                  \
    "smmlar " #x ", " #x ", " #addend ", " #multiplier "\n"             \
    "ssat " #x ", #8, " #x "\n"
#define TC_FC_REQUANTIZE_LONG(ties)                                     \
    "ldmia r1!, {r4-r11}\n"                                             \
    TC_FC_LONG_ASM(r2, r4, r8, ties)                                    \
    TC_FC_LONG_ASM(r3, r5, r9, ties)                                    \
    TC_FC_LONG_ASM(r12, r6, r10, ties)                                  \
    TC_FC_LONG_ASM(lr, r7, r11, ties)
#define TC_FC_REQUANTIZE_0 TC_FC_REQUANTIZE_LONG(TC_FC_TIES_0)
#define TC_FC_REQUANTIZE_1 TC_FC_REQUANTIZE_LONG(TC_FC_TIES_1)
#define TC_FC_REQUANTIZE_8 TC_FC_REQUANTIZE_SHIFTED(8)
#define TC_FC_REQUANTIZE_10 TC_FC_REQUANTIZE_SHIFTED(10)
#define TC_FC_REQUANTIZE_12 TC_FC_REQUANTIZE_SHIFTED(12)
#define TC_FC_REQUANTIZE_14 TC_FC_REQUANTIZE_SHIFTED(14)

#define TC_FC_CORE(kind, form, unroll)                                  \
    TC_ASSEMBLY void tc_fc_##kind##_##form##_##unroll(TC_UNREAD const int32_t *lanes, TC_UNREAD const int32_t *stream, \
        TC_UNREAD int8_t *out, TC_UNREAD const int8_t *end, TC_UNREAD int32_t zero_point, TC_UNREAD const int32_t *lanes_end) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r12, lr, [sp, #36]\n"                                 \
            "push {r0, r2, r3, r12, lr}\n"                              \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            "2:\n"                                                      \
            ".rept " #unroll "\n"                                       \
            "ldmia r0!, {r4-r7}\n"                                      \
            TC_FC_##kind##_ASM                                          \
            ".endr\n"                                                   \
            "ldr r4, [sp, #16]\n"                                       \
            "cmp r0, r4\n"                                              \
            "bne 2b\n"                                                  \
            TC_FC_SPLIT_##kind                                          \
            TC_FC_REQUANTIZE_##form                                     \
            "ldm sp, {r0, r4, r5}\n"                                    \
            "bfi r2, r3, #8, #8\n"                                      \
            "bfi r12, lr, #8, #8\n"                                     \
            "pkhbt r2, r2, r12, lsl #16\n"                              \
            "str r2, [r4], #4\n"                                        \
            "str r4, [sp, #4]\n"                                        \
            "cmp r4, r5\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #20\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_FC_FOR(X, kind, form)                                                                \
    X(kind, form, 1) X(kind, form, 2) X(kind, form, 3) X(kind, form, 4) X(kind, form, 5)        \
    X(kind, form, 6) X(kind, form, 7) X(kind, form, 8) X(kind, form, 9) X(kind, form, 10)       \
    X(kind, form, 11) X(kind, form, 12) X(kind, form, 13) X(kind, form, 14) X(kind, form, 15)   \
    X(kind, form, 16)
TC_FC_FOR(TC_FC_CORE, WIDE, 0)
TC_FC_FOR(TC_FC_CORE, WIDE, 1)
TC_FC_FOR(TC_FC_CORE, WIDE, 8)
TC_FC_FOR(TC_FC_CORE, WIDE, 10)
TC_FC_FOR(TC_FC_CORE, WIDE, 12)
TC_FC_FOR(TC_FC_CORE, WIDE, 14)
TC_FC_FOR(TC_FC_CORE, PACKED, 0)

#define TC_FC_CASE(kind, form, count)                                                                       \
    case count:                                                                                             \
        tc_fc_##kind##_##form##_##count(lanes, stream, out, end, p->output_zero_point,                      \
                                        lanes + 4 * p->unroll * p->rounds);                                 \
        break;
#define TC_FC_CASES(kind, form)                 \
    case form:                                  \
        switch (p->unroll) {                    \
            TC_FC_FOR(TC_FC_CASE, kind, form)   \
        default:                                \
            break;                              \
        }                                       \
        break;
/* clang-format on */
#else
/* Four sums from the stream at `weights`, over 8 inputs a group, from the biases in `sums`. */
TC_INLINE void tc_fc_sums(const int32_t *lanes, const int32_t *weights, int32_t groups, int32_t is_packed,
                          int32_t *sums)
{
    for (int32_t g = 0; g < 4 * groups; g++) {
        for (int32_t i = 0; i < 4; i += 2) {
            if (is_packed) {
                const int32_t word = *weights++;
                sums[i] = tc_smlad(word, lanes[g], sums[i]);
                sums[i + 1] = tc_smlad(tc_sxtb16((uint32_t)word), lanes[g], sums[i + 1]);
            } else {
                const int32_t *first = weights + 16 * (g / 4) + 4 * i + g % 4;
                sums[i] = tc_smlad(first[0], lanes[g], sums[i]);
                sums[i + 1] = tc_smlad(first[4], lanes[g], sums[i + 1]);
            }
        }
    }
    for (int32_t i = 0; i < 4 && is_packed; i += 2) {
        sums[i] = tc_add_wrap(sums[i], -sums[i + 1]) >> 8;
    }
}
#endif

/* Outputs out..end-1, a multiple of 4, of one vector in lanes. */
TC_INLINE void tc_fc_outputs(const tc_fully_connected_s8_dsp_params *p, int32_t is_packed, const int32_t *lanes,
                             const int32_t *stream, int8_t *out, const int8_t *end)
{
#if TC_HAS_DSP
    if (is_packed) {
        switch (p->form) {
            TC_FC_CASES(PACKED, 0)
        default:
            break;
        }
    } else {
        switch (p->form) {
            TC_FC_CASES(WIDE, 0)
            TC_FC_CASES(WIDE, 1)
            TC_FC_CASES(WIDE, 8)
            TC_FC_CASES(WIDE, 10)
            TC_FC_CASES(WIDE, 12)
            TC_FC_CASES(WIDE, 14)
        default:
            break;
        }
    }
#else
    const int32_t words = (is_packed ? 8 : 16) * p->unroll * p->rounds;
    for (; out != end; out += 4, stream += 4 + words + 8) {
        const int32_t *constants = stream + 4 + words;
        int32_t sums[4] = {stream[0], stream[1], stream[2], stream[3]};
        tc_fc_sums(lanes, stream + 4, p->unroll * p->rounds, is_packed, sums);
        for (int32_t i = 0; i < 4; i++) {
            out[i] = tc_requantize_dsp(p->form, sums[i], constants[i], constants[4 + i], p->output_zero_point);
        }
    }
#endif
}

TC_INLINE void tc_fc_rows(const tc_fully_connected_s8_dsp_params *p, int32_t is_packed, const int8_t *const *in_rows,
                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *lanes = (int32_t *)scratch;
    int8_t *spill = (int8_t *)(lanes + 4 * p->unroll * p->rounds);
    const int32_t block = 12 + (is_packed ? 8 : 16) * p->unroll * p->rounds;
    const int32_t whole = p->outputs & ~3;
    for (int32_t i = 0; i < n_rows * p->vectors; i++) {
        const int8_t *x = in_rows[i / p->vectors] + i % p->vectors * p->inputs;
        int8_t *out = out_rows[i / p->vectors] + i % p->vectors * p->outputs;
        const int32_t *last = tc_widen_row(x, p->inputs, lanes, 2);
        for (int32_t *pad = lanes + (last - lanes); pad != (int32_t *)(void *)spill; pad++) {
            *pad = 0;
        }
        if (whole > 0) {
            tc_fc_outputs(p, is_packed, lanes, p->stream, out, out + whole);
        }
        if (p->outputs > whole) {
            tc_fc_outputs(p, is_packed, lanes, p->stream + whole / 4 * block, spill, spill + 4);
            for (int32_t o = whole; o < p->outputs; o++) {
                out[o] = spill[o - whole];
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->vectors * p->outputs, p->activation_min, p->activation_max);
}

/* in_rows, out_rows: n_rows rows. scratch: 16 * unroll * rounds + 4 bytes. */
TC_INLINE void tc_fully_connected_s8_dsp(const tc_fully_connected_s8_dsp_params *p, const int8_t *const *in_rows,
                                         int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_fc_rows(p, 0, in_rows, out_rows, n_rows, scratch);
}

/* Rows and scratch as for tc_fully_connected_s8_dsp; form 0 only. */
TC_INLINE void tc_fully_connected_packed_s8_dsp(const tc_fully_connected_s8_dsp_params *p, const int8_t *const *in_rows,
                                                int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_fc_rows(p, 1, in_rows, out_rows, n_rows, scratch);
}

#endif
