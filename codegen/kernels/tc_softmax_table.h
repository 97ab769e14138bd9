/* SPDX-License-Identifier: MIT-0
 * Softmax of int8 whose exponentials are a table: there are 256 differences to the largest class. Dimension letters as
 * in tc_softmax.h.
 */
#ifndef TC_SOFTMAX_TABLE_H
#define TC_SOFTMAX_TABLE_H

#include "tc_softmax.h"

typedef struct {
    int32_t vectors;             /* V >= 1 */
    int32_t classes;             /* C, 1..4095: the sum of exponentials has 12 integer bits */
    const int32_t *exponentials; /* [256], Q0.31: of the largest class, of the one below ... */
} tc_softmax_s8_table_params;

/* One vector; in and out may be the same. */
static inline void tc_softmax_table_vector(const tc_softmax_s8_table_params *p, const int8_t *in, int8_t *out)
{
    const int32_t largest = tc_softmax_s8_largest(in, p->classes);
    const int32_t *exponentials = p->exponentials;
    uint32_t sum = 0;
    for (int32_t c = 0; c < p->classes; ++c) {
        sum += ((uint32_t)exponentials[largest - in[c]] + (1u << 11)) >> 12;
    }
    const tc_softmax_scale s = tc_softmax_s8_scaling((int32_t)sum, 8);
    const uint32_t half = s.exponent <= 31 ? (uint32_t)1 << (s.exponent - 1) : 0u;
    for (int32_t c = 0; c < p->classes; ++c) {
        const uint32_t e = (uint32_t)(((int64_t)s.scale * exponentials[largest - in[c]] + ((int64_t)1 << 30)) >> 31);
        const int32_t y = s.exponent <= 31 ? (int32_t)((e + half) >> s.exponent) : 0;
        out[c] = (int8_t)(tc_min(y, UINT8_MAX) + INT8_MIN);
    }
}

/* in_rows, out_rows: n_rows rows [V][C], may be the same; scratch unused. */
static inline void tc_softmax_s8_table(const tc_softmax_s8_table_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t v = 0; v < p->vectors; ++v) {
            tc_softmax_table_vector(p, in_rows[r] + v * p->classes, out_rows[r] + v * p->classes);
        }
    }
}

#endif /* TC_SOFTMAX_TABLE_H */
