/* SPDX-License-Identifier: MIT-0
 * Element-wise operators of two symmetric int16 operands: add, subtract, multiply. Broadcasting is that of the int8
 * ones, a constant's row step counting bytes.
 */
#ifndef TC_ELEMENTWISE_S16_H
#define TC_ELEMENTWISE_S16_H

#include "tc_elementwise.h"

typedef struct {
    tc_broadcast shape;
    int32_t a_multiplier; /* Q31: the operand's scale over twice the larger of the two scales */
    int32_t a_shift;      /* -31..0 */
    int32_t b_multiplier;
    int32_t b_shift;
    int32_t
        output_multiplier;   /* Q31: of a sum twice the larger scale over 2^15 times the output's scale, of a product */
    int32_t output_shift;    /* the operands' scales over the output's; -31..30 */
    int32_t activation_min;  /* -32768..32767 */
    int32_t activation_max;  /* activation_min..32767 */
    const int16_t *constant; /* [rows of the constant][...] or NULL */
} tc_elementwise_s16_params;

typedef enum { TC_ADD_S16, TC_SUB_S16, TC_MUL_S16 } tc_elementwise_s16_kind;

/* Before its output's scale. Sums are of operands widened by 15 bits and brought to one scale. */
static inline int32_t tc_elementwise_s16_one(const tc_elementwise_s16_params *p, int32_t a, int32_t b,
                                             tc_elementwise_s16_kind kind)
{
    if (kind == TC_MUL_S16) {
        return a * b;
    }
    const int32_t left = tc_requantize(a * (1 << 15), p->a_multiplier, p->a_shift);
    const int32_t right = tc_requantize(b * (1 << 15), p->b_multiplier, p->b_shift);
    return kind == TC_ADD_S16 ? left + right : left - right;
}

static inline void tc_elementwise_s16_rows(const tc_elementwise_s16_params *p, const int8_t *const *in_rows,
                                           int8_t *const *out_rows, int32_t n_rows, tc_elementwise_s16_kind kind)
{
    const tc_broadcast *s = &p->shape;
    const int8_t *constant = (const int8_t *)p->constant;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *a = tc_broadcast_a(s, constant, in_rows, r);
        const int8_t *b = tc_broadcast_b(s, constant, in_rows, n_rows, r);
        for (int32_t i = 0; i < s->width * s->channels; ++i) {
            const int32_t x = i / s->channels, c = i % s->channels;
            const int32_t left = tc_load(a, 2, x * s->a_width_step + c * s->a_channel_step);
            const int32_t right = tc_load(b, 2, x * s->b_width_step + c * s->b_channel_step);
            const int32_t y =
                tc_requantize(tc_elementwise_s16_one(p, left, right, kind), p->output_multiplier, p->output_shift);
            tc_store(out_rows[r], 2, i, tc_clamp(y, p->activation_min, p->activation_max));
        }
    }
}

/* Rows as for tc_add_s8, of int16. */
static inline void tc_add_s16(const tc_elementwise_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_rows(p, in_rows, out_rows, n_rows, TC_ADD_S16);
}

/* First operand less the second; rows as for tc_add_s16. */
static inline void tc_sub_s16(const tc_elementwise_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_rows(p, in_rows, out_rows, n_rows, TC_SUB_S16);
}

/* Product of the operands; rows as for tc_add_s16. */
static inline void tc_mul_s16(const tc_elementwise_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_elementwise_s16_rows(p, in_rows, out_rows, n_rows, TC_MUL_S16);
}

#endif /* TC_ELEMENTWISE_S16_H */
