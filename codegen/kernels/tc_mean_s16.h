/* SPDX-License-Identifier: MIT-0
 * Mean over any axes, symmetric int16, with its own output scale.
 *
 * An axis is described by how far one step along it moves through the input: by rows, or by elements within a row.
 */
#ifndef TC_MEAN_S16_H
#define TC_MEAN_S16_H

#include "tc_math.h"

typedef struct {
    int32_t kept[3];             /* output shape: [0] is the output row, [1] and [2] lie within it; each >= 1 */
    int32_t kept_rows[3];        /* input rows per step along kept axis i */
    int32_t kept_elements[3];    /* input elements per step along kept axis i */
    int32_t reduced[3];          /* extent of each axis averaged over, 1 where there are fewer than three */
    int32_t reduced_rows;        /* input rows per step along reduced axis 0; the other two lie within a row */
    int32_t reduced_elements[3]; /* input elements per step along reduced axis i */
    int32_t output_multiplier;   /* Q31: input scale over output scale and number of elements */
    int32_t output_shift;        /* -31..30 */
} tc_mean_s16_params;

/* Sum of the elements averaged into one output; the first lies in rows[0] at `column`. */
static inline int32_t tc_mean_s16_sum(const tc_mean_s16_params *p, const int8_t *const *rows, int32_t column)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < p->reduced[0]; ++i) {
        for (int32_t j = 0; j < p->reduced[1]; ++j) {
            const int32_t at = column + i * p->reduced_elements[0] + j * p->reduced_elements[1];
            for (int32_t k = 0; k < p->reduced[2]; ++k) {
                sum += tc_load(rows[i * p->reduced_rows], 2, at + k * p->reduced_elements[2]);
            }
        }
    }
    return sum;
}

/* in_rows: all rows of the input, of int16; out_rows: all n_rows rows of the output; scratch unused. */
static inline void tc_mean_s16(const tc_mean_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                               int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->kept[1] * p->kept[2]; ++i) {
            const int32_t y = i / p->kept[2], x = i % p->kept[2];
            const int8_t *const *rows = in_rows + r * p->kept_rows[0] + y * p->kept_rows[1] + x * p->kept_rows[2];
            const int32_t column = r * p->kept_elements[0] + y * p->kept_elements[1] + x * p->kept_elements[2];
            const int32_t mean = tc_requantize(tc_mean_s16_sum(p, rows, column), p->output_multiplier, p->output_shift);
            tc_store(out_rows[r], 2, i, tc_clamp(mean, INT16_MIN, INT16_MAX));
        }
    }
}

#endif /* TC_MEAN_S16_H */
