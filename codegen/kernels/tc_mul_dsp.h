/* SPDX-License-Identifier: MIT-0
 *
 * Product of two int8 tensors on Armv7E-M: of one shape, or with one of them a row that repeats (a value per channel,
 * as squeeze-and-excite multiplies by; one value; a row for all rows).
 *
 * Four elements at a time: x = 2 * (a - zero point) * (b - zero point) of each from 16-bit lanes, then, with
 * addend = 2^(shift - 1) + output zero point * 2^shift,
 *   form 0   y = SSAT8((SMMLAR(x, multiplier, addend) + (x >> 31)) >> shift)   double rounding: negative ties go down
 *   form 1   y = SSAT8(SMMLAR(x, multiplier, addend) >> shift)                 the same where negatives are clamped
 *   form 2   y = SSAT8(SMMLA(x, multiplier, addend) >> shift)                  single rounding
 * which is the requantization of x / 2 for any Q31 multiplier with 1 to 16 right shifts: floors nest, and form 0 rounds
 * twice as the specification does (its first rounding is below zero where x is, but for 0, where both give 0).
 */
#ifndef TC_MUL_DSP_H
#define TC_MUL_DSP_H

#include "tc_lanes_dsp.h"

typedef struct {
    int32_t elements; /* of a row */
    int32_t a_zero_point;
    int32_t b_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;       /* 0 to 2, see above */
    int32_t shift;      /* 1 to 16, to the right */
    int32_t multiplier; /* Q31 */
    int32_t addend;     /* see above */
} tc_mul_s8_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
/* r0 a, r1 out, r2 b, r3 end of b or out, r4 multiplier, r5 addend, r6 zero point of a in both lanes, negative. Four
 * elements of b less its zero point, doubled, as lanes (0, 2) in r11 and (1, 3) in r12: LANES has them so; BYTES has
 * bytes, and in r7 twice the zero point in both lanes, negative. */
#define TC_MUL_LANES_ASM "ldrd r11, r12, [r2], #8\n"
#define TC_MUL_BYTES_ASM                                                \
    "ldr r12, [r2], #4\n"                                               \
    "sxtab16 r11, r7, r12\n"                                            \
    "sxtab16 lr, r7, r12, ror #8\n"                                     \
    "sxtab16 r11, r11, r12\n"                                           \
    "sxtab16 r12, lr, r12, ror #8\n"
#define TC_MUL_PRODUCTS_ASM                                             \
    "sxtab16 r9, r6, r8\n"                                              \
    "sxtab16 r10, r6, r8, ror #8\n"                                     \
    "smulbb r8, r9, r11\n"                                              \
    "smultt r9, r9, r11\n"                                              \
    "smulbb r11, r10, r12\n"                                            \
    "smultt r10, r10, r12\n"
#define TC_MUL_SIGNED_ASM(x, high, shift)                               \
    "smmlar " #high ", " #x ", r4, r5\n"                                \
    "add " #high ", " #high ", " #x ", asr #31\n"                       \
    "ssat " #x ", #8, " #high ", asr #" #shift "\n"
#define TC_MUL_FORM_0(x, high, shift) TC_MUL_SIGNED_ASM(x, high, shift)
#define TC_MUL_FORM_1(x, high, shift)                                   \
    "smmlar " #x ", " #x ", r4, r5\n"                                   \
    "ssat " #x ", #8, " #x ", asr #" #shift "\n"
#define TC_MUL_FORM_2(x, high, shift)                                   \
    "smmla " #x ", " #x ", r4, r5\n"                                    \
    "ssat " #x ", #8, " #x ", asr #" #shift "\n"
#define TC_MUL_FOUR_ASM(loads, form, shift)                             \
    "ldr r8, [r0], #4\n" loads TC_MUL_PRODUCTS_ASM                      \
    TC_MUL_FORM_##form(r8, r12, shift)                                  \
    TC_MUL_FORM_##form(r11, lr, shift)                                  \
    TC_MUL_FORM_##form(r9, r12, shift)                                  \
    TC_MUL_FORM_##form(r10, lr, shift)                                  \
    "bfi r8, r11, #8, #8\n"                                             \
    "bfi r9, r10, #8, #8\n"                                             \
    "pkhbt r8, r8, r9, lsl #16\n"                                       \
    "str r8, [r1], #4\n"

/* Elements out..end-1, a multiple of 8, at least 8. */
#define TC_MUL_PAIRS(form, shift)                                       \
    TC_ASSEMBLY void tc_mul_pairs_##form##_##shift(TC_UNREAD const int8_t *a, TC_UNREAD int8_t *out, \
        TC_UNREAD const int8_t *b, TC_UNREAD const int8_t *end, TC_UNREAD int32_t multiplier, \
        TC_UNREAD int32_t addend, TC_UNREAD int32_t minus_a, TC_UNREAD int32_t minus_b) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r4, r5, [sp, #36]\n"                                  \
            "ldrd r6, r7, [sp, #44]\n"                                  \
            "1:\n"                                                      \
            TC_MUL_FOUR_ASM(TC_MUL_BYTES_ASM, form, shift)              \
            TC_MUL_FOUR_ASM(TC_MUL_BYTES_ASM, form, shift)              \
            "cmp r1, r3\n"                                              \
            "bne 1b\n"                                                  \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* The lanes again and again, from out to end: a multiple of their number, at least once; they are a multiple of 8. */
#define TC_MUL_REPEATED(form, shift)                                    \
    TC_ASSEMBLY void tc_mul_repeated_##form##_##shift(TC_UNREAD const int8_t *a, TC_UNREAD int8_t *out, \
        TC_UNREAD const int32_t *lanes, TC_UNREAD const int32_t *lanes_end, TC_UNREAD int32_t multiplier, \
        TC_UNREAD int32_t addend, TC_UNREAD int32_t minus_a, TC_UNREAD const int8_t *end) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldrd r4, r5, [sp, #36]\n"                                  \
            "ldrd r6, r7, [sp, #44]\n"                                  \
            "push {r2}\n"                                               \
            "1:\n"                                                      \
            "ldr r2, [sp]\n"                                            \
            "2:\n"                                                      \
            TC_MUL_FOUR_ASM(TC_MUL_LANES_ASM, form, shift)              \
            TC_MUL_FOUR_ASM(TC_MUL_LANES_ASM, form, shift)              \
            "cmp r2, r3\n"                                              \
            "bne 2b\n"                                                  \
            "cmp r1, r7\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #4\n"                                          \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_MUL_FOR(X, form)                                                                          \
    X(form, 1) X(form, 2) X(form, 3) X(form, 4) X(form, 5) X(form, 6) X(form, 7) X(form, 8) X(form, 9) \
    X(form, 10) X(form, 11) X(form, 12) X(form, 13) X(form, 14) X(form, 15) X(form, 16)
TC_MUL_FOR(TC_MUL_PAIRS, 0)
TC_MUL_FOR(TC_MUL_PAIRS, 1)
TC_MUL_FOR(TC_MUL_PAIRS, 2)
TC_MUL_FOR(TC_MUL_REPEATED, 0)
TC_MUL_FOR(TC_MUL_REPEATED, 1)
TC_MUL_FOR(TC_MUL_REPEATED, 2)

#define TC_MUL_PAIRS_CASE(form, count)                                                                   \
    case count:                                                                                          \
        tc_mul_pairs_##form##_##count(a, out, b, end, p->multiplier, p->addend, minus_a, minus_b);       \
        break;
#define TC_MUL_REPEATED_CASE(form, count)                                                                \
    case count:                                                                                          \
        tc_mul_repeated_##form##_##count(a, out, lanes, lanes_end, p->multiplier, p->addend, minus_a, end); \
        break;
#define TC_MUL_CASES(X, form)       \
    case form:                      \
        switch (p->shift) {         \
            TC_MUL_FOR(X, form)     \
        default:                    \
            break;                  \
        }                           \
        break;
/* clang-format on */
#endif

/* One output of a raw value of the first operand and a doubled one, less its zero point, of the second. */
TC_INLINE int8_t tc_mul_one_dsp(const tc_mul_s8_dsp_params *p, int32_t a, int32_t twice_b)
{
    const int32_t x = (a - p->a_zero_point) * twice_b;
    int32_t y = p->form == 2 ? tc_smmla(x, p->multiplier, p->addend) : tc_smmlar(x, p->multiplier, p->addend);
    y += p->form == 0 && x < 0 ? -1 : 0;
    return (int8_t)tc_saturate8(y >> p->shift);
}

/* in_rows: n_rows rows of the first operand, then n_rows of the second; an output row may be either operand's row.
 * scratch unused. */
TC_INLINE void tc_mul_s8_dsp(const tc_mul_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        const int8_t *a = in_rows[y];
        const int8_t *b = in_rows[n_rows + y];
        int8_t *out = out_rows[y];
        int32_t done = 0;
#if TC_HAS_DSP
        const int32_t minus_a = tc_lanes(-p->a_zero_point, -p->a_zero_point);
        const int32_t minus_b = tc_lanes(-2 * p->b_zero_point, -2 * p->b_zero_point);
        const int8_t *end = out + (p->elements & ~7);
        done = p->elements & ~7;
        if (done > 0) {
            switch (p->form) {
                TC_MUL_CASES(TC_MUL_PAIRS_CASE, 0)
                TC_MUL_CASES(TC_MUL_PAIRS_CASE, 1)
                TC_MUL_CASES(TC_MUL_PAIRS_CASE, 2)
            default:
                break;
            }
        }
#endif
        TC_UNROLL(1)
        for (int32_t i = done; i < p->elements; i++) {
            out[i] = tc_mul_one_dsp(p, a[i], 2 * (b[i] - p->b_zero_point));
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->elements, p->activation_min, p->activation_max);
}

typedef struct {
    tc_mul_s8_dsp_params product; /* a is the whole operand, b the one that repeats */
    int32_t period;               /* elements after which b begins again; within a row a multiple of it, or one row */
    int32_t lanes;                /* elements of scratch: a multiple of 8, and of period unless a row has no more */
    int32_t row_step;             /* 1: b has a row for each output row; 0: one for all */
    int32_t is_first;             /* 1: b is the first operand */
    const int8_t *constant;       /* b's row [period], or NULL where it is in in_rows */
} tc_mul_repeated_s8_dsp_params;

/* b's row as often as it takes to fill the lanes: twice the values less their zero point. */
TC_INLINE void tc_mul_repeat_dsp(const tc_mul_repeated_s8_dsp_params *p, const int8_t *row, int32_t *lanes)
{
    const int32_t minus = tc_lanes(-2 * p->product.b_zero_point, -2 * p->product.b_zero_point);
    int32_t at = 0;
    TC_UNROLL(1)
    for (int32_t i = 0; i < p->lanes; i += 4) {
        int8_t four[4];
        if ((p->period & 3) == 0) {
            __builtin_memcpy(four, row + at, 4);
            at = at + 4 == p->period ? 0 : at + 4;
        } else {
            for (int32_t j = 0; j < 4; j++) {
                four[j] = row[at];
                at = at + 1 == p->period ? 0 : at + 1;
            }
        }
        const uint32_t word = tc_load32(four);
        *lanes++ = tc_add_even(tc_add_even(minus, word), word);
        *lanes++ = tc_add_odd(tc_add_odd(minus, word), word);
    }
}

/* Outputs out..end-1, a multiple of 8, of the lanes up to lanes_end, again and again. */
TC_INLINE void tc_mul_run_dsp(const tc_mul_s8_dsp_params *p, const int8_t *a, const int32_t *lanes,
                              const int32_t *lanes_end, int8_t *out, const int8_t *end)
{
#if TC_HAS_DSP
    const int32_t minus_a = tc_lanes(-p->a_zero_point, -p->a_zero_point);
    switch (p->form) {
        TC_MUL_CASES(TC_MUL_REPEATED_CASE, 0)
        TC_MUL_CASES(TC_MUL_REPEATED_CASE, 1)
        TC_MUL_CASES(TC_MUL_REPEATED_CASE, 2)
    default:
        break;
    }
#else
    while (out != end) {
        for (const int32_t *two = lanes; two != lanes_end; two += 2, a += 4, out += 4) {
            out[0] = tc_mul_one_dsp(p, a[0], tc_low_lane(two[0]));
            out[1] = tc_mul_one_dsp(p, a[1], tc_low_lane(two[1]));
            out[2] = tc_mul_one_dsp(p, a[2], tc_high_lane(two[0]));
            out[3] = tc_mul_one_dsp(p, a[3], tc_high_lane(two[1]));
        }
    }
#endif
}

/* in_rows: rows of both operands in their order: n_rows of the one that is whole; of b n_rows, one (row_step 0), or
 * none (a constant). An output row may be the whole operand's row. scratch: 2 * lanes bytes. */
TC_INLINE void tc_mul_repeated_s8_dsp(const tc_mul_repeated_s8_dsp_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const tc_mul_s8_dsp_params *product = &p->product;
    const int32_t whole = product->elements / p->lanes * p->lanes;
    const int32_t blocks = product->elements & ~7;
    const int32_t rows_of_b = p->constant != NULL ? 0 : (p->row_step ? n_rows : 1);
    const int8_t *const *rows = in_rows + (p->is_first ? rows_of_b : 0);
    int32_t *lanes = (int32_t *)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        const int8_t *b = p->constant != NULL ? p->constant : in_rows[(p->is_first ? 0 : n_rows) + y * p->row_step];
        const int8_t *a = rows[y];
        int8_t *out = out_rows[y];
        if (y == 0 || p->row_step) {
            tc_mul_repeat_dsp(p, b, lanes);
        }
        if (whole > 0) {
            tc_mul_run_dsp(product, a, lanes, lanes + p->lanes / 2, out, out + whole);
        }
        if (blocks > whole) {
            tc_mul_run_dsp(product, a + whole, lanes, lanes + (blocks - whole) / 2, out + whole, out + blocks);
        }
        TC_UNROLL(1)
        for (int32_t i = blocks; i < product->elements; i++) {
            out[i] = tc_mul_one_dsp(product, a[i], 2 * (b[i % p->period] - product->b_zero_point));
        }
    }
    tc_clamp_rows(out_rows, n_rows, product->elements, product->activation_min, product->activation_max);
}

#endif
