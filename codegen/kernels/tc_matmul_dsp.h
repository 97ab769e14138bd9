/* SPDX-License-Identifier: MIT-0
 *
 * Product of two int8 activations on Armv7E-M: two rows by two columns, four terms at a time. Zero points come off afterwards, by the sums of each row and column. The parameters are those of tc_matmul.h.
 */
#ifndef TC_MATMUL_DSP_H
#define TC_MATMUL_DSP_H

#include "tc_lanes_dsp.h"
#include "tc_matmul.h"

/* sums[0..3] += products of rows a0, a1 with columns b0, b1, in the order a0b0 a0b1 a1b0 a1b1. */
TC_INLINE void tc_matmul_square(const int8_t *a0, const int8_t *a1, const int8_t *b0, const int8_t *b1, int32_t terms,
                                int32_t *sums)
{
    int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
    int32_t k = 0;
    TC_UNROLL(2)
    for (; k + 4 <= terms; k += 4) {
        const uint32_t wa0 = tc_load32(a0 + k), wa1 = tc_load32(a1 + k);
        const uint32_t wb0 = tc_load32(b0 + k), wb1 = tc_load32(b1 + k);
        const int32_t even0 = tc_sxtb16(wb0), even1 = tc_sxtb16(wb1);
        const int32_t odd0 = tc_sxtb16_odd(wb0), odd1 = tc_sxtb16_odd(wb1);
        int32_t lanes = tc_sxtb16(wa0);
        s00 = tc_smlad(lanes, even0, s00);
        s01 = tc_smlad(lanes, even1, s01);
        lanes = tc_sxtb16_odd(wa0);
        s00 = tc_smlad(lanes, odd0, s00);
        s01 = tc_smlad(lanes, odd1, s01);
        lanes = tc_sxtb16(wa1);
        s10 = tc_smlad(lanes, even0, s10);
        s11 = tc_smlad(lanes, even1, s11);
        lanes = tc_sxtb16_odd(wa1);
        s10 = tc_smlad(lanes, odd0, s10);
        s11 = tc_smlad(lanes, odd1, s11);
    }
    for (; k < terms; k++) {
        s00 += a0[k] * b0[k];
        s01 += a0[k] * b1[k];
        s10 += a1[k] * b0[k];
        s11 += a1[k] * b1[k];
    }
    sums[0] = s00;
    sums[1] = s01;
    sums[2] = s10;
    sums[3] = s11;
}

/* Sum of n bytes. */
TC_INLINE int32_t tc_matmul_sum(const int8_t *x, int32_t n)
{
    int32_t sum = 0, i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint32_t word = tc_load32(x + i);
        sum = tc_smlad(tc_sxtb16(word), 0x00010001, sum);
        sum = tc_smlad(tc_sxtb16_odd(word), 0x00010001, sum);
    }
    return sum + tc_sum_s8(x + i, n - i);
}

/* One group: first [M][K], second [N][K], out [M][N]; column_sums has room for N. An odd last row or column is paired
 * with itself. */
TC_INLINE void tc_matmul_group(const tc_matmul_s8_params *p, const int8_t *first, const int8_t *second, int8_t *out,
                               int32_t *column_sums)
{
    const int32_t terms = p->terms;
    for (int32_t n = 0; n < p->columns; n++) {
        column_sums[n] = p->first_zero_point * tc_matmul_sum(second + n * terms, terms);
    }
    for (int32_t m = 0; m < p->rows; m += 2) {
        const int32_t next_row = m + 1 < p->rows ? 1 : 0;
        const int8_t *a0 = first + m * terms;
        const int8_t *a1 = a0 + next_row * terms;
        const int32_t all = terms * p->first_zero_point;
        const int32_t base0 = p->second_zero_point * (all - tc_matmul_sum(a0, terms));
        const int32_t base1 = p->second_zero_point * (all - tc_matmul_sum(a1, terms));
        int8_t *y = out + m * p->columns;
        for (int32_t n = 0; n < p->columns; n += 2) {
            const int32_t next = n + 1 < p->columns ? 1 : 0;
            const int8_t *b = second + n * terms;
            int32_t sums[4] = {base0 - column_sums[n], base0 - column_sums[n + next], base1 - column_sums[n],
                               base1 - column_sums[n + next]};
            tc_matmul_square(a0, a1, b, b + next * terms, terms, sums);
            for (int32_t i = 0; i < 4; i++) {
                y[(i >> 1) * next_row * p->columns + n + (i & 1) * next] = tc_requantize_s8(
                    sums[i], p->multiplier, p->shift, p->output_zero_point, INT8_MIN, INT8_MAX);
            }
        }
    }
}

/* [K][N] as [N][K]. */
TC_INLINE const int8_t *tc_matmul_transpose(const int8_t *from, int32_t terms, int32_t columns, int8_t *to)
{
    for (int32_t n = 0; n < columns; n++) {
        for (int32_t k = 0; k < terms; k++) {
            to[n * terms + k] = from[k * columns + n];
        }
    }
    return to;
}

/* Rows as for tc_matmul_s8. scratch: 4 * N bytes, and K * N where the second is not transposed. */
TC_INLINE void tc_matmul_s8_dsp(const tc_matmul_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    for (int32_t r = 0; r < n_rows; r++) {
        const int8_t *second = in_rows[n_rows + r];
        if (p->term_step != 1) {
            second = tc_matmul_transpose(second, p->terms, p->columns, (int8_t *)(sums + p->columns));
        }
        tc_matmul_group(p, in_rows[r], second, out_rows[r], sums);
    }
}

#endif
