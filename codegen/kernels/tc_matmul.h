/* SPDX-License-Identifier: MIT-0
 * Product of two int8 activations, as in attention. Dimension letters: M rows and K terms of the first, N columns of
 * the second.
 */
#ifndef TC_MATMUL_H
#define TC_MATMUL_H

#include "tc_math.h"

typedef struct {
    int32_t rows;              /* M >= 1 */
    int32_t terms;             /* K >= 1 */
    int32_t columns;           /* N >= 1 */
    int32_t term_step;         /* between terms of the second: 1 when it is transposed, [N][K]; else N, [K][N] */
    int32_t column_step;       /* between its columns: K when transposed, else 1 */
    int32_t first_zero_point;  /* -128..127 */
    int32_t second_zero_point; /* -128..127 */
    int32_t multiplier;        /* Q31 */
    int32_t shift;             /* -31..30 */
    int32_t output_zero_point; /* -128..127 */
} tc_matmul_s8_params;

/* Output i of a group: first is [M][K], second [N][K] or [K][N]. */
static inline int8_t tc_matmul_output(const tc_matmul_s8_params *p, const int8_t *first, const int8_t *second,
                                      int32_t i)
{
    const int8_t *a = first + i / p->columns * p->terms;
    const int8_t *b = second + i % p->columns * p->column_step;
    int32_t sum = 0;
    for (int32_t k = 0; k < p->terms; ++k, b += p->term_step) {
        sum += (a[k] - p->first_zero_point) * (*b - p->second_zero_point);
    }
    return tc_requantize_s8(sum, p->multiplier, p->shift, p->output_zero_point, INT8_MIN, INT8_MAX);
}

/* in_rows: n_rows rows [M][K] of the first, then n_rows rows of the second; out_rows: n_rows rows [M][N]; scratch
 * unused. */
static inline void tc_matmul_s8(const tc_matmul_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->rows * p->columns; ++i) {
            out_rows[r][i] = tc_matmul_output(p, in_rows[r], in_rows[n_rows + r], i);
        }
    }
}

#endif /* TC_MATMUL_H */
