/* SPDX-License-Identifier: MIT-0
 *
 * Add, subtract and multiply of two int16 operands of one shape on Armv7E-M, a word of each at a time. Rounding is that
 * of tc_math.h, in SMMULR and its kin: x * Q / 2^31 is one of them, a right shift by s another, multiplying by
 * 2^(32-s).
 */
#ifndef TC_ELEMENTWISE_S16_DSP_H
#define TC_ELEMENTWISE_S16_DSP_H

#include "tc_elementwise_s16.h"
#include "tc_lanes_dsp.h"

typedef struct {
    int32_t elements;     /* in a row, >= 1 */
    int32_t a_multiplier; /* these as in tc_elementwise_s16.h, but: */
    int32_t a_shift;      /* -31..0 */
    int32_t b_multiplier;
    int32_t b_shift;           /* -31..0 */
    int32_t output_multiplier; /* 2^30..2^31-1 */
    int32_t output_shift;      /* -31..-2 */
    int32_t activation_min;
    int32_t activation_max;
} tc_elementwise_s16_dsp_params;

/* floor(x * multiplier / 2^32 + 1/2). */
TC_INLINE int32_t tc_smmulr(int32_t x, int32_t multiplier)
{
#if TC_HAS_DSP
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(x), "r"(multiplier));
    return high;
#else
    return tc_smmlar(x, multiplier, 0);
#endif
}

/* tc_requantize(x * 2^15, multiplier, shift) of an int16 x, given as x * 2^16. */
TC_INLINE int32_t tc_operand_s16(int32_t upper, int32_t multiplier, int32_t shift)
{
    if (multiplier == 1 << 30 && shift == 0) {
        return upper >> 2;
    }
#if defined(TC_ROUNDING_SINGLE)
    return shift == 0 ? tc_smmulr(upper, multiplier) : tc_smmla(upper, multiplier, 1 << (-shift - 1)) >> -shift;
#else
    int32_t high = tc_smmulr(upper, multiplier);
    if (shift == 0) {
        return high;
    }
    high += high >> 31;
    return shift == -1 ? (high + 1) >> 1 : tc_smmulr(high, 1 << (32 + shift));
#endif
}

TC_INLINE int32_t tc_clamp_s16(int32_t y, int32_t low, int32_t high)
{
#if TC_HAS_DSP
    int32_t saturated = y;
    if (low <= INT16_MIN && high >= INT16_MAX) {
        __asm__("ssat %0, #16, %1" : "=r"(saturated) : "r"(y));
        return saturated;
    }
    if (low == 0 && high >= INT16_MAX) {
        __asm__("usat %0, #15, %1" : "=r"(saturated) : "r"(y));
        return saturated;
    }
#endif
    return tc_clamp(y, low, high);
}

/* tc_requantize with the output's parameters, clamped. */
TC_INLINE int32_t tc_output_s16(const tc_elementwise_s16_dsp_params *p, int32_t x)
{
#if defined(TC_ROUNDING_SINGLE)
    const int32_t y = tc_smmla(x, p->output_multiplier, 1 << (-p->output_shift - 2)) >> (-p->output_shift - 1);
#else
    const int32_t high = tc_smmlar(x, tc_shift_left(p->output_multiplier, 1), x);
    const int32_t y = tc_smmulr(high + (high >> 31), 1 << (32 + p->output_shift));
#endif
    return tc_clamp_s16(y, p->activation_min, p->activation_max);
}

/* One output from operands given as x * 2^16. */
TC_INLINE int32_t tc_elementwise_s16_upper(const tc_elementwise_s16_dsp_params *p, int32_t a, int32_t b,
                                           tc_elementwise_s16_kind kind)
{
    if (kind == TC_MUL_S16) {
        return tc_output_s16(p, (a >> 16) * (b >> 16));
    }
    const int32_t left = tc_operand_s16(a, p->a_multiplier, p->a_shift);
    const int32_t right = tc_operand_s16(b, p->b_multiplier, p->b_shift);
    return tc_output_s16(p, kind == TC_ADD_S16 ? left + right : left - right);
}

TC_INLINE void tc_elementwise_s16_words(const tc_elementwise_s16_dsp_params *p, const int8_t *const *in_rows,
                                        int8_t *const *out_rows, int32_t n_rows, tc_elementwise_s16_kind kind)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const int8_t *a = in_rows[r];
        const int8_t *b = in_rows[n_rows + r];
        int8_t *out = out_rows[r];
        int32_t i = 0;
        TC_UNROLL(1)
        for (; i + 2 <= p->elements; i += 2) {
            const uint32_t x = tc_load32(a + 2 * i), y = tc_load32(b + 2 * i);
            const int32_t low =
                tc_elementwise_s16_upper(p, tc_shift_left((int32_t)x, 16), tc_shift_left((int32_t)y, 16), kind);
            const int32_t high =
                tc_elementwise_s16_upper(p, (int32_t)(x & 0xffff0000u), (int32_t)(y & 0xffff0000u), kind);
            tc_store32(out + 2 * i, tc_pack_low((uint32_t)low, (uint32_t)high));
        }
        if (i < p->elements) {
            const int32_t x = tc_load(a, 2, i) * 65536, y = tc_load(b, 2, i) * 65536;
            tc_store(out, 2, i, tc_elementwise_s16_upper(p, x, y, kind));
        }
    }
}

/* Rows as for tc_add_s16. */
TC_INLINE void tc_add_s16_dsp(const tc_elementwise_s16_dsp_params *p, const int8_t *const *in_rows,
                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_words(p, in_rows, out_rows, n_rows, TC_ADD_S16);
}

/* Rows as for tc_sub_s16. */
TC_INLINE void tc_sub_s16_dsp(const tc_elementwise_s16_dsp_params *p, const int8_t *const *in_rows,
                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_words(p, in_rows, out_rows, n_rows, TC_SUB_S16);
}

/* Rows as for tc_mul_s16. */
TC_INLINE void tc_mul_s16_dsp(const tc_elementwise_s16_dsp_params *p, const int8_t *const *in_rows,
                              int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_words(p, in_rows, out_rows, n_rows, TC_MUL_S16);
}

#endif
