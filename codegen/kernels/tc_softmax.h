/* SPDX-License-Identifier: MIT-0
 * Softmax and log-softmax over the last axis of int8. Scale and zero point of the output are 1/256 and -128 for softmax
 * to int8, 1/65536 and -32768 for softmax to int16, 1/16 and 127 for log-softmax (to int8).
 *
 * Dimension letters: V vectors in a row; C classes of each vector, at most 4095.
 */
#ifndef TC_SOFTMAX_H
#define TC_SOFTMAX_H

#include "tc_fixed_point.h"

typedef struct {
    int32_t vectors;          /* V >= 1 */
    int32_t classes;          /* C, 1..4095: the sum of exponentials has 12 integer bits */
    int32_t input_multiplier; /* Q31: beta times the input's scale, as Q5.26 */
    int32_t input_shift;      /* 0..31 */
    int32_t diff_min;         /* <= 0: a class further below the largest than this contributes nothing */
    int32_t output_bytes;     /* of one element: 1 (int8) or 2 (int16) */
} tc_softmax_s8_params;

/* exp(x - largest) as Q0.31; diff = x - largest, diff_min <= diff <= 0. */
static inline int32_t tc_softmax_s8_exp(const tc_softmax_s8_params *p, int32_t diff)
{
    return tc_exp_negative(tc_requantize(diff, p->input_multiplier, p->input_shift));
}

/* Largest element of a vector. */
static inline int32_t tc_softmax_s8_largest(const int8_t *in, int32_t classes)
{
    int32_t largest = INT8_MIN;
    for (int32_t c = 0; c < classes; ++c) {
        largest = tc_max(largest, in[c]);
    }
    return largest;
}

/* Sum of exp(x - largest) over a vector, Q12.19, at least 1. */
static inline int32_t tc_softmax_s8_sum(const tc_softmax_s8_params *p, const int8_t *in, int32_t largest)
{
    int32_t sum = 0;
    for (int32_t c = 0; c < p->classes; ++c) {
        if (in[c] - largest >= p->diff_min) {
            sum += tc_round_shift(tc_softmax_s8_exp(p, in[c] - largest), 12);
        }
    }
    return sum;
}

/* An exponential is scale * 2^-exponent of the sum, in units of the output. */
typedef struct {
    int32_t scale;    /* Q0.31 */
    int32_t exponent; /* >= 4; 32 and above: all are 0 */
} tc_softmax_scale;

/* Of a sum in Q12.19 and an output of `bits` bits. */
static inline tc_softmax_scale tc_softmax_s8_scaling(int32_t sum, int32_t bits)
{
    /* sum = 2^(12 - zeros) * (1 + x) with 0 <= x < 1 */
    const int32_t zeros = tc_leading_zeros((uint32_t)sum);
    const tc_softmax_scale scale = {tc_one_over_one_plus((int32_t)(((uint32_t)sum << zeros) - 0x80000000u)),
                                    12 - zeros + 31 - bits};
    return scale;
}

/* One vector; in and out may be the same when the output is int8. */
static inline void tc_softmax_s8_vector(const tc_softmax_s8_params *p, const int8_t *in, int8_t *out)
{
    const int32_t largest = tc_softmax_s8_largest(in, p->classes);
    const int32_t bits = 8 * p->output_bytes;
    const int32_t lowest = -(1 << (bits - 1));
    const tc_softmax_scale s = tc_softmax_s8_scaling(tc_softmax_s8_sum(p, in, largest), bits);
    for (int32_t c = 0; c < p->classes; ++c) {
        const int32_t diff = in[c] - largest;
        int32_t y = lowest;
        if (diff >= p->diff_min && s.exponent <= 31) {
            y += tc_round_shift(tc_mul_high(s.scale, tc_softmax_s8_exp(p, diff)), s.exponent);
        }
        tc_store(out, p->output_bytes, c, tc_min(y, -1 - lowest));
    }
}

/* in_rows, out_rows: n_rows rows [V][C], may be the same when the output is int8; scratch unused. */
static inline void tc_softmax_s8(const tc_softmax_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                 int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t v = 0; v < p->vectors; ++v) {
            const int32_t at = v * p->classes;
            tc_softmax_s8_vector(p, in_rows[r] + at, out_rows[r] + at * p->output_bytes);
        }
    }
}

typedef struct {
    tc_softmax_s8_params exp;   /* with beta 1 */
    int32_t reverse_multiplier; /* Q31: from Q5.26 back to units of the input's scale */
    int32_t reverse_shift;      /* -31..30 */
} tc_log_softmax_s8_params;

/* One vector; in and out may be the same. */
static inline void tc_log_softmax_s8_vector(const tc_log_softmax_s8_params *p, const int8_t *in, int8_t *out)
{
    const int32_t largest = tc_softmax_s8_largest(in, p->exp.classes);
    const int32_t log_sum = tc_log_q12(tc_softmax_s8_sum(&p->exp, in, largest)); /* Q5.26 */
    /* The difference at which x - largest - log_sum leaves Q5.26. */
    const int32_t edge = tc_requantize(log_sum + INT32_MIN, p->reverse_multiplier, p->reverse_shift);
    const int32_t smallest = tc_max(p->exp.diff_min - 1, edge);
    for (int32_t c = 0; c < p->exp.classes; ++c) {
        const int32_t diff = in[c] - largest;
        int32_t y = INT8_MIN;
        if (diff > smallest) {
            const int32_t x = tc_requantize(diff, p->exp.input_multiplier, p->exp.input_shift);
            y = tc_round_shift(x - log_sum, 22) + INT8_MAX;
        }
        out[c] = (int8_t)tc_clamp(y, INT8_MIN, INT8_MAX);
    }
}

/* Rows as for tc_softmax_s8. */
static inline void tc_log_softmax_s8(const tc_log_softmax_s8_params *p, const int8_t *const *in_rows,
                                     int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t v = 0; v < p->exp.vectors; ++v) {
            tc_log_softmax_s8_vector(p, in_rows[r] + v * p->exp.classes, out_rows[r] + v * p->exp.classes);
        }
    }
}

#endif /* TC_SOFTMAX_H */
