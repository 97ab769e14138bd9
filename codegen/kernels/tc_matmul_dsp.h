/* SPDX-License-Identifier: MIT-0
 *
 * Product of two int8 activations on Armv7E-M: the second operand becomes a stream of 16-bit weights, then the matrix
 * core takes two rows of the first at a time. Dimension letters as in tc_matmul.h.
 */
#ifndef TC_MATMUL_DSP_H
#define TC_MATMUL_DSP_H

#include "tc_gemm_dsp.h"

typedef struct {
    int32_t rows;              /* M >= 1 */
    int32_t terms;             /* K >= 1 */
    int32_t columns;           /* N >= 1 */
    int32_t is_transposed;     /* 1: the second is [N][K]; 0: [K][N] */
    int32_t first_zero_point;  /* -128..127 */
    int32_t second_zero_point; /* -128..127 */
    int32_t output_zero_point; /* -128..127 */
    int32_t form;              /* see tc_requantize_dsp.h */
    int32_t weight_shift;      /* weights and biases of the stream are times 2^weight_shift, 0..6 */
    int32_t multiplier;        /* see tc_requantize_dsp.h */
    int32_t addend;
    int32_t steps; /* 4 * steps * chunks >= K */
    int32_t chunks;
} tc_matmul_s8_dsp_params;

/* Both lanes times 2^shift. */
TC_INLINE int32_t tc_matmul_scaled(int32_t lanes, int32_t shift)
{
    const uint32_t carried = (((uint32_t)1 << shift) - 1u) << 16;
    return (int32_t)(((uint32_t)lanes << shift) & ~carried);
}

/* The next 4 terms of a column less their zero point, as two words of lanes; beyond the last term 0. */
TC_INLINE void tc_matmul_four(const tc_matmul_s8_dsp_params *p, const int8_t *column, int32_t left, int32_t *lanes)
{
    const int32_t zero = p->second_zero_point;
    const int32_t step = p->is_transposed ? 1 : p->columns;
    if (left >= 4 && step == 1) {
        const uint32_t word = tc_load32(column);
        const int32_t zeros = tc_lanes(-zero, -zero);
        lanes[0] = tc_add_even(zeros, word);
        lanes[1] = tc_add_odd(zeros, word);
    } else if (left >= 4) {
        lanes[0] = tc_lanes(column[0] - zero, column[2 * step] - zero);
        lanes[1] = tc_lanes(column[step] - zero, column[3 * step] - zero);
    } else {
        lanes[0] = tc_lanes(left > 0 ? column[0] - zero : 0, left > 2 ? column[2 * step] - zero : 0);
        lanes[1] = tc_lanes(left > 1 ? column[step] - zero : 0, 0);
    }
}

/* One column into its half of a pair of the stream: bias twice, lanes two words a step, multiplier and addend. */
TC_INLINE void tc_matmul_column(const tc_matmul_s8_dsp_params *p, const int8_t *second, int32_t n, int32_t half,
                                int32_t *pair)
{
    const int32_t steps = p->steps * p->chunks;
    const int32_t stride = p->is_transposed ? 4 : 4 * p->columns;
    const int8_t *column = second + (p->is_transposed ? n * p->terms : n);
    int32_t *lanes = pair + 4 + 2 * half;
    int32_t sum = 0;
    for (int32_t k = 0; k < steps; k++, lanes += 4) {
        tc_matmul_four(p, column + k * stride, p->terms - 4 * k, lanes);
        sum = tc_smlad(lanes[1], 0x00010001, tc_smlad(lanes[0], 0x00010001, sum));
        if (p->weight_shift != 0) {
            lanes[0] = tc_matmul_scaled(lanes[0], p->weight_shift);
            lanes[1] = tc_matmul_scaled(lanes[1], p->weight_shift);
        }
    }
    const int32_t bias = tc_shift_left(-p->first_zero_point * sum, p->weight_shift);
    pair[2 * half] = bias;
    pair[2 * half + 1] = bias;
    pair[4 + 4 * steps + 2 * half] = p->multiplier;
    pair[5 + 4 * steps + 2 * half] = p->addend;
}

/* One group: second is [N][K] or [K][N], first [M][K], out [M][N]. An odd last column is made twice; two rows of the
 * output go through `staged` then. An odd last row is paired with itself. */
TC_INLINE void tc_matmul_group(const tc_matmul_s8_dsp_params *p, const int8_t *first, const int8_t *second, int8_t *out,
                               int32_t *scratch)
{
    const int32_t steps = p->steps * p->chunks, even = (p->columns + 1) & ~1;
    int32_t *stream = scratch + 4 * steps;
    int8_t *staged = (int8_t *)(stream + even / 2 * (8 + 4 * steps));
    for (int32_t n = 0; n < even; n++) {
        int32_t *pair = stream + n / 2 * (8 + 4 * steps);
        tc_matmul_column(p, second, n < p->columns ? n : n - 1, n & 1, pair);
    }
    for (int32_t m = 0; m < p->rows; m += 2, out += 2 * p->columns) {
        const int32_t next = m + 1 < p->rows ? 1 : 0;
        tc_widen_row(first + m * p->terms, p->terms, scratch, 4);
        tc_widen_row(first + (m + next) * p->terms, p->terms, scratch + 2, 4);
        int8_t *to = even == p->columns ? out : staged;
        const int32_t delta = even == p->columns ? next * p->columns : even;
        tc_gemm_dsp(p->form, p->steps, p->chunks, scratch, stream, to, delta, to + even, p->output_zero_point);
        if (to == staged) {
            tc_copy(out, staged, p->columns);
            tc_copy(out + next * p->columns, staged + next * even, p->columns);
        }
    }
}

/* Rows as for tc_matmul_s8. scratch: 16 * steps * chunks bytes, 16 + 8 * steps * chunks for each of an even number of
 * columns, and two rows of the output. */
TC_INLINE void tc_matmul_s8_dsp(const tc_matmul_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    for (int32_t r = 0; r < n_rows; r++) {
        tc_matmul_group(p, in_rows[r], in_rows[n_rows + r], out_rows[r], (int32_t *)scratch);
    }
}

#endif
