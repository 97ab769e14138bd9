/* SPDX-License-Identifier: MIT-0
 *
 * Fully connected layer of int16 activations with int8 weights on Armv7E-M: 4 outputs x 8 inputs at a time. Shapes are
 * those of tc_windowed_s16.h, parameters and forms those of tc_gemm_s16_dsp.h; `steps` groups of 8 inputs make a round.
 *
 * The stream holds, for each 4 outputs a..d, padded with zeros: biases of a b c d; per 8 inputs the weights of a, of b,
 * of c, of d, as lanes in natural order or as the bytes 0 2 1 3, 4 6 5 7; 4 multipliers.
 */
#ifndef TC_FULLY_CONNECTED_S16_DSP_H
#define TC_FULLY_CONNECTED_S16_DSP_H

#include "tc_fully_connected_dsp.h"
#include "tc_gemm_s16_dsp.h"

#if TC_HAS_DSP
/* clang-format off */
/* Registers as in tc_fully_connected_dsp.h. The stack holds lanes, out, end, end of lanes. */
#define TC_FC16_LANES_ASM TC_FC_WIDE_ASM
#define TC_FC16_OUTPUT_ASM(acc)                                         \
    "ldmia r1!, {r8, r9}\n"                                             \
    "sxtb16 r10, r8\n"                                                  \
    "sxtb16 r8, r8, ror #8\n"                                           \
    "sxtb16 r11, r9\n"                                                  \
    "sxtb16 r9, r9, ror #8\n"                                           \
    "smlad " #acc ", r10, r4, " #acc "\n"                               \
    "smlad " #acc ", r8, r5, " #acc "\n"                                \
    "smlad " #acc ", r11, r6, " #acc "\n"                               \
    "smlad " #acc ", r9, r7, " #acc "\n"
#define TC_FC16_BYTES_ASM \
    TC_FC16_OUTPUT_ASM(r2) TC_FC16_OUTPUT_ASM(r3) TC_FC16_OUTPUT_ASM(r12) TC_FC16_OUTPUT_ASM(lr)

#define TC_FC16_SCALE_ASM(saturate)                                     \
    "ldmia r1!, {r4-r7}\n"                                              \
    "ldm sp, {r0, r8, r9}\n"                                            \
    "smmulr r2, r2, r4\n"                                               \
    "smmulr r3, r3, r5\n"                                               \
    "smmulr r12, r12, r6\n"                                             \
    "smmulr lr, lr, r7\n"                                               \
    saturate(r2) saturate(r3) saturate(r12) saturate(lr)                \
    "pkhbt r2, r2, r3, lsl #16\n"                                       \
    "pkhbt r12, r12, lr, lsl #16\n"                                     \
    "str r2, [r8], #4\n"                                                \
    "str r12, [r8], #4\n"
#define TC_FC16_FORM_0 TC_FC16_SCALE_ASM(TC_GEMM16_SIGNED_ASM)
#define TC_FC16_FORM_1 TC_FC16_SCALE_ASM(TC_GEMM16_RELU_ASM)
#define TC_FC16_FORM_2                                                  \
    "ldm sp, {r0, r8, r9}\n"                                            \
    "stmia r8!, {r2, r3, r12, lr}\n"

#define TC_FC16_CORE(kind, form, unroll)                                \
    TC_ASSEMBLY void tc_fc16_##kind##_##form##_##unroll(TC_UNREAD const int32_t *lanes, TC_UNREAD const int32_t *stream, \
        TC_UNREAD void *out, TC_UNREAD const void *end, TC_UNREAD const int32_t *lanes_end) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldr r12, [sp, #36]\n"                                      \
            "push {r0, r2, r3, r12}\n"                                  \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            "2:\n"                                                      \
            ".rept " #unroll "\n"                                       \
            "ldmia r0!, {r4-r7}\n"                                      \
            TC_FC16_##kind##_ASM                                        \
            ".endr\n"                                                   \
            "ldr r4, [sp, #12]\n"                                       \
            "cmp r0, r4\n"                                              \
            "bne 2b\n"                                                  \
            TC_FC16_FORM_##form                                         \
            "str r8, [sp, #4]\n"                                        \
            "cmp r8, r9\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #16\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }
#define TC_FC16_DEFINE(kind)            \
    TC_FC_FOR(TC_FC16_CORE, kind, 0)    \
    TC_FC_FOR(TC_FC16_CORE, kind, 1)    \
    TC_FC_FOR(TC_FC16_CORE, kind, 2)
TC_FC16_DEFINE(LANES)
TC_FC16_DEFINE(BYTES)

#define TC_FC16_CASE(kind, form, count)                                 \
    case count:                                                         \
        tc_fc16_##kind##_##form##_##count(lanes, stream, out, end,      \
                                          lanes + 4 * p->steps * p->chunks); \
        break;
#define TC_FC16_CASES(kind, form)                       \
    case form:                                          \
        switch (p->steps) {                             \
            TC_FC_FOR(TC_FC16_CASE, kind, form)         \
        default:                                        \
            break;                                      \
        }                                               \
        break;
#define TC_FC16_FORMS(kind)             \
    switch (p->form) {                  \
        TC_FC16_CASES(kind, 0)          \
        TC_FC16_CASES(kind, 1)          \
        TC_FC16_CASES(kind, 2)          \
    default:                            \
        break;                          \
    }
/* clang-format on */
#endif

/* Outputs out..end, a multiple of 4, of one vector in lanes; with form 2 the sums of 4 outputs. */
TC_INLINE void tc_fc_outputs_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *lanes,
                                 const int32_t *stream, int8_t *out, const int8_t *end)
{
#if TC_HAS_DSP
    if (is_lanes) {
        TC_FC16_FORMS(LANES)
    } else {
        TC_FC16_FORMS(BYTES)
    }
#else
    for (; out != end; out += 8) {
        int32_t sums[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t g = 0; g < p->steps * p->chunks; g++, stream += 2 * tc_words_s16(is_lanes, 4)) {
            for (int32_t i = 0; i < 8; i++) {
                const int32_t *x = lanes + 4 * g + 2 * (i & 1);
                int32_t w[2] = {0, 0};
                tc_weights_s16(stream, is_lanes, i, w);
                sums[i >> 1] = tc_smlad(x[1], w[1], tc_smlad(x[0], w[0], sums[i >> 1]));
            }
        }
        if (p->form == 2) {
            __builtin_memcpy(out, sums, sizeof sums);
            return;
        }
        for (int32_t i = 0; i < 4; i++) {
            tc_store(out, 2, i, tc_scale_s16(p->form, sums[i], stream[i]));
        }
        stream += 4;
    }
#endif
}

/* All outputs of a vector whose sums need more than 32 bits, or wrap. */
TC_INLINE void tc_fc_sums_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *lanes, int8_t *out)
{
    const int32_t groups = p->steps * p->chunks;
    const int32_t *stream = p->stream;
    for (int32_t o = 0; o < p->output_channels; o += 4) {
        int64_t wide[4] = {0, 0, 0, 0};
        for (int32_t s = 0; s < p->segments; s++) {
            int32_t sums[4];
            int8_t *to = (int8_t *)sums;
            tc_fc_outputs_s16(p, is_lanes, lanes + 4 * s * groups, stream, to, to + sizeof sums);
            stream += 8 + 2 * tc_words_s16(is_lanes, 4) * groups;
            for (int32_t i = 0; i < 4; i++) {
                wide[i] += sums[i];
            }
        }
        for (int32_t i = 0; i < 4 && o + i < p->output_channels; i++) {
            tc_store(out, 2, o + i, tc_requantize_sum_s16(p, wide[i], o + i));
        }
    }
}

/* One vector in lanes. Up to 3 last outputs are written with others beside them first. */
TC_INLINE void tc_fc_vector_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int32_t *lanes,
                                int8_t *out)
{
    const int32_t whole = p->output_channels & ~3;
    if (p->form == 2) {
        tc_fc_sums_s16(p, is_lanes, lanes, out);
        return;
    }
    if (whole > 0) {
        tc_fc_outputs_s16(p, is_lanes, lanes, p->stream, out, out + 2 * whole);
    }
    if (p->output_channels > whole) {
        int32_t four[2];
        int8_t *to = (int8_t *)four;
        const int32_t block = 8 + 2 * tc_words_s16(is_lanes, 4) * p->steps * p->chunks;
        tc_fc_outputs_s16(p, is_lanes, lanes, p->stream + whole / 4 * block, to, to + sizeof four);
        for (int32_t o = whole; o < p->output_channels; o++) {
            tc_store(out, 2, o, tc_load(to, 2, o - whole));
        }
    }
}

TC_INLINE void tc_fc_rows_s16(const tc_windowed_s16_dsp_params *p, int32_t is_lanes, const int8_t *const *in_rows,
                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *lanes = (int32_t *)scratch;
    const int32_t inputs = p->input_channels;
    const int32_t words = 4 * p->steps * p->chunks * p->segments;
    for (int32_t i = 0; i < n_rows * p->output_width; i++) {
        const int8_t *x = in_rows[i / p->output_width] + 2 * (i % p->output_width) * inputs;
        int8_t *out = out_rows[i / p->output_width] + 2 * (i % p->output_width) * p->output_channels;
        int32_t at = inputs / 2;
        TC_UNROLL(8)
        for (int32_t k = 0; k < inputs / 2; k++) {
            lanes[k] = (int32_t)tc_load32(x + 4 * k);
        }
        if (inputs & 1) {
            lanes[at++] = tc_lanes(tc_load(x, 2, inputs - 1), 0);
        }
        for (; at < words; at++) {
            lanes[at] = 0;
        }
        tc_fc_vector_s16(p, is_lanes, lanes, out);
    }
    tc_clamp_rows_s16(p, out_rows, n_rows);
}

/* Rows as for tc_fully_connected_s16; weights as lanes. scratch: 16 * steps * chunks * segments bytes. */
TC_INLINE void tc_fully_connected_s16_dsp(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_fc_rows_s16(p, 1, in_rows, out_rows, n_rows, scratch);
}

/* Rows and scratch as for tc_fully_connected_s16_dsp; weights as bytes. */
TC_INLINE void tc_fully_connected_packed_s16_dsp(const tc_windowed_s16_dsp_params *p, const int8_t *const *in_rows,
                                                 int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_fc_rows_s16(p, 0, in_rows, out_rows, n_rows, scratch);
}

#endif
