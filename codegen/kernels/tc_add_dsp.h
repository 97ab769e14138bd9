/* SPDX-License-Identifier: MIT-0
 *
 * Add and Sub of two int8 tensors of one shape on Armv7E-M, by tables: an operand rescaled to the common scale is a
 * function of one byte, so each operand has a table of 256 words, indexed by the byte as unsigned. In TFLite's scheme
 * one operand's multiplier is usually exactly 1/2; it then needs no table: its term is the byte times 2^19 (times 4 in
 * a shifted form, see tc_requantize_dsp.h), its zero point folded into the other's table.
 */
#ifndef TC_ADD_DSP_H
#define TC_ADD_DSP_H

#include "tc_requantize_dsp.h"

typedef struct {
    int32_t elements;       /* of a row */
    int32_t table_operand;  /* 0 or 1: the operand that goes through the first table */
    int32_t has_two_tables; /* 0: the other operand is the byte times a power of two */
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;          /* 0, or 15 to 22: see tc_requantize_dsp.h */
    int32_t multiplier;    /* of the output, for the form */
    int32_t addend;        /* of the output, for the form */
    const int32_t *tables; /* 256 words, or 512 */
} tc_add_s8_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
/* r0 the table's operand, r1 the other, r2 out, r3 tables, r4 multiplier, r5 addend, r6 end of blocks, r7 end,
 * r8 zero point, r9 second table. */
#define TC_ADD_HALF_SHIFTED "ldrsb r11, [r1], #1\n" "ldr r10, [r3, r10, lsl #2]\n" "add r10, r10, r11, lsl #21\n"
#define TC_ADD_HALF_TIES "ldrsb r11, [r1], #1\n" "ldr r10, [r3, r10, lsl #2]\n" "add r10, r10, r11, lsl #19\n"
#define TC_ADD_TABLES                                                   \
    "ldrb r11, [r1], #1\n"                                              \
    "ldr r10, [r3, r10, lsl #2]\n"                                      \
    "ldr r11, [r9, r11, lsl #2]\n"                                      \
    "add r10, r10, r11\n"
#define TC_ADD_SHIFTED(form)                                            \
    "smmla r10, r10, r4, r5\n"                                          \
    "ssat r10, #8, r10, asr #" #form "\n"
#define TC_ADD_TIES                                                     \
    "smmlar r10, r10, r4, r10\n"                                        \
    "add r10, r10, r10, asr #31\n"                                      \
    "smmlar r10, r10, r5, r8\n"                                         \
    "ssat r10, #8, r10\n"
#define TC_ADD_CORE(name, terms, requantize)                            \
    TC_ASSEMBLY void name(TC_UNREAD const int8_t *a, TC_UNREAD const int8_t *b, TC_UNREAD int8_t *out, \
        TC_UNREAD const int32_t *tables, TC_UNREAD int32_t multiplier, TC_UNREAD int32_t addend,       \
        TC_UNREAD const int8_t *blocks_end, TC_UNREAD const int8_t *end, TC_UNREAD int32_t zero_point) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r4, r5, [sp, #36]\n"                                  \
            "ldrd r6, r7, [sp, #44]\n"                                  \
            "ldr r8, [sp, #52]\n"                                       \
            "add r9, r3, #1024\n"                                       \
            "b 2f\n"                                                    \
            "1:\n"                                                      \
            ".rept 8\n"                                                 \
            "ldrb r10, [r0], #1\n" terms requantize                     \
            "strb r10, [r2], #1\n"                                      \
            ".endr\n"                                                   \
            "2:\n"                                                      \
            "cmp r2, r6\n"                                              \
            "bne 1b\n"                                                  \
            "b 4f\n"                                                    \
            "3:\n"                                                      \
            "ldrb r10, [r0], #1\n" terms requantize                     \
            "strb r10, [r2], #1\n"                                      \
            "4:\n"                                                      \
            "cmp r2, r7\n"                                              \
            "bne 3b\n"                                                  \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }
#define TC_ADD_FOR(X) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22)
#define TC_ADD_DEFINE(form)                                                             \
    TC_ADD_CORE(tc_add_half_##form, TC_ADD_HALF_SHIFTED, TC_ADD_SHIFTED(form))          \
    TC_ADD_CORE(tc_add_tables_##form, TC_ADD_TABLES, TC_ADD_SHIFTED(form))
TC_ADD_FOR(TC_ADD_DEFINE)
TC_ADD_CORE(tc_add_half_0, TC_ADD_HALF_TIES, TC_ADD_TIES)
TC_ADD_CORE(tc_add_tables_0, TC_ADD_TABLES, TC_ADD_TIES)

#define TC_ADD_CALL(form)                                                                                     \
    case form:                                                                                                \
        if (p->has_two_tables) {                                                                              \
            tc_add_tables_##form(a, b, out, p->tables, p->multiplier, p->addend, blocks, end, p->output_zero_point); \
        } else {                                                                                              \
            tc_add_half_##form(a, b, out, p->tables, p->multiplier, p->addend, blocks, end, p->output_zero_point);   \
        }                                                                                                     \
        break;
/* clang-format on */
#endif

TC_INLINE void tc_add_row_dsp(const tc_add_s8_dsp_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
#if TC_HAS_DSP
    const int8_t *blocks = out + (p->elements & ~7);
    const int8_t *end = out + p->elements;
    switch (p->form) {
        TC_ADD_CALL(0)
        TC_ADD_FOR(TC_ADD_CALL)
    default:
        break;
    }
#else
    const int32_t unit = p->form == 0 ? 1 << 19 : 1 << 21;
    for (int32_t i = 0; i < p->elements; i++) {
        int32_t sum = p->tables[(uint8_t)a[i]];
        sum = tc_add_wrap(sum, p->has_two_tables ? p->tables[256 + (uint8_t)b[i]] : b[i] * unit);
        out[i] = tc_requantize_dsp(p->form, sum, p->multiplier, p->addend, p->output_zero_point);
    }
#endif
}

/* in_rows: n_rows rows of the first operand, then n_rows of the second; an output row may be either operand's row.
 * scratch unused. */
TC_INLINE void tc_add_s8_dsp(const tc_add_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t i = 0; i < n_rows; i++) {
        const int32_t first = p->table_operand ? n_rows + i : i;
        const int32_t second = p->table_operand ? i : n_rows + i;
        tc_add_row_dsp(p, in_rows[first], in_rows[second], out_rows[i]);
    }
    tc_clamp_rows(out_rows, n_rows, p->elements, p->activation_min, p->activation_max);
}

#endif
