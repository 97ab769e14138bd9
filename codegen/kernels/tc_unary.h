/* SPDX-License-Identifier: MIT-0
 * Operators of one int8 operand: any function by table, and clamping.
 *
 * Dimension letter: E elements of a row.
 */
#ifndef TC_UNARY_H
#define TC_UNARY_H

#include "tc_math.h"

typedef struct {
    int32_t elements;    /* E >= 1 */
    const int8_t *table; /* [256], output for input q at index q + 128 */
} tc_table_s8_params;

/* in_rows, out_rows: n_rows rows [E], may be the same; scratch unused. */
static inline void tc_table_s8(const tc_table_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                               int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->elements; ++i) {
            out_rows[r][i] = p->table[in_rows[r][i] + 128];
        }
    }
}

typedef struct {
    int32_t elements;       /* E >= 1 */
    int32_t activation_min; /* -128..127 */
    int32_t activation_max; /* activation_min..127 */
} tc_clamp_s8_params;

/* Input and output share scale and zero point; rows as for tc_table_s8. */
static inline void tc_clamp_s8(const tc_clamp_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                               int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->elements; ++i) {
            out_rows[r][i] = (int8_t)tc_clamp(in_rows[r][i], p->activation_min, p->activation_max);
        }
    }
}

#endif /* TC_UNARY_H */
