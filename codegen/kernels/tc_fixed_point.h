/* SPDX-License-Identifier: MIT-0
 * Exponential, reciprocal and logarithm of 32-bit fixed-point numbers. Qm.n has m integer and n = 31 - m fraction bits.
 *
 * Bit for bit the arithmetic of the int8 softmax kernels of TensorFlow Lite Micro (gemmlowp's fixed-point functions).
 */
#ifndef TC_FIXED_POINT_H
#define TC_FIXED_POINT_H

#include "tc_math.h"

/* x * 2^shift, saturating; shift 0..30. */
static inline int32_t tc_shift_left_sat(int32_t x, int32_t shift)
{
    const int32_t limit = INT32_MAX >> shift;
    return x > limit ? INT32_MAX : (x < -limit ? INT32_MIN : tc_shift_left(x, shift));
}

/* exp(x) as Q0.31 for x in Q0.31, -1/4 <= x < 0: Taylor's series around -1/8. */
static inline int32_t tc_exp_quarter(int32_t x)
{
    const int32_t exp_eighth = 1895147668; /* exp(-1/8) */
    const int32_t third = 715827883;
    const int32_t y = x + (1 << 28);
    const int32_t y2 = tc_mul_high(y, y);
    const int32_t y3 = tc_mul_high(y2, y);
    const int32_t y4 = tc_mul_high(y2, y2);
    const int32_t tail = tc_round_shift(tc_mul_high(tc_round_shift(y4, 2) + y3, third) + y2, 1);
    return exp_eighth + tc_mul_high(exp_eighth, y + tail);
}

/* exp(x) as Q0.31 for x <= 0 in Q5.26; exp(0) is INT32_MAX. */
static inline int32_t tc_exp_negative(int32_t x)
{
    /* exp(-2^(i-2)) as Q0.31 */
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = 1 << 24;
    const int32_t fraction = (x & (quarter - 1)) - quarter;
    const int32_t rest = fraction - x;
    int32_t result = tc_exp_quarter(tc_shift_left(fraction, 5));
    if (x == 0) {
        return INT32_MAX;
    }
    for (int32_t i = 0; i < 7; ++i) {
        if ((rest & (1 << (24 + i))) != 0) {
            result = tc_mul_high(result, factors[i]);
        }
    }
    return result;
}

/* Number of leading zero bits of x > 0. */
static inline int32_t tc_leading_zeros(uint32_t x)
{
    int32_t count = 0;
    while ((x & 0x80000000u) == 0u) {
        x <<= 1;
        ++count;
    }
    return count;
}

/* 1 / (1 + x) as Q0.31 for x in Q0.31, 0 <= x < 1: three Newton-Raphson steps on half the denominator. */
static inline int32_t tc_one_over_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + tc_mul_high(half, -1010580540); /* 48/17 - 32/17 * half, Q2.29 */
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t error = (1 << 29) - tc_mul_high(half, y);
        y = tc_add_wrap(y, tc_shift_left_sat(tc_mul_high(y, error), 2));
    }
    return tc_shift_left_sat(y, 1);
}

/* Natural logarithm as Q5.26 of x in Q12.19, 1 <= x < 4096.
 *
 * x = 2^e * r with r near 2^(-1/4): the better of two candidates half an octave apart. Then e * log(2) plus a rational
 * approximation of log(r); sums are Q6.25 until the end. */
static inline int32_t tc_log_q12(int32_t x)
{
    const int32_t sqrt_half = 1518500250;
    const int32_t fourth_root_half = 1805811301;
    const int32_t quarter = 1 << 23; /* Q6.25 */
    const int32_t zeros_a = tc_leading_zeros((uint32_t)x);
    const int32_t r_a = tc_shift_left_sat(tc_mul_high(tc_shift_left(x, zeros_a - 1), sqrt_half), 1);
    const int32_t e_a = (12 - zeros_a) * (1 << 25) + quarter;
    const int32_t zeros_b = tc_leading_zeros((uint32_t)tc_mul_high(x, sqrt_half)) - 1;
    const int32_t r_b = tc_shift_left_sat(x, zeros_b);
    const int32_t e_b = (12 - zeros_b) * (1 << 25) - quarter;
    const int32_t r = tc_min(r_a, r_b);
    const int32_t p = (int32_t)(((int64_t)r + fourth_root_half + 1) / 2);
    const int32_t q = (r - fourth_root_half) * 2;
    const int32_t q2 = tc_mul_high(q, q);
    const int32_t top = tc_mul_high(q, r) + tc_mul_high(tc_mul_high(q, q2), 117049297);
    const int32_t bottom = tc_mul_high(p, 1057819769 + q + tc_mul_high(127690142, q2)) + tc_mul_high(638450708, q);
    const int32_t log_r = tc_mul_high(tc_round_shift(top, 6), tc_one_over_one_plus(bottom));
    return tc_shift_left_sat(tc_mul_high(tc_max(e_a, e_b), 1488522236) + log_r, 1);
}

#endif /* TC_FIXED_POINT_H */
