/* SPDX-License-Identifier: MIT-0
 * Joining tensors along an axis within rows, or along rows; with inputs of other scales than the output's, int8 only.
 *
 * Dimension letters: N inputs; B blocks of a row: each block of the output is one block of every input in turn.
 */
#ifndef TC_CONCAT_H
#define TC_CONCAT_H

#include "tc_math.h"

typedef struct {
    int32_t inputs;       /* N >= 1 */
    int32_t blocks;       /* B >= 1 */
    const int32_t *bytes; /* [N] bytes of one block of each input */
} tc_concat_params;

/* in_rows: n_rows rows of input 0, then of input 1, ...; out_rows: n_rows rows; scratch unused. */
static inline void tc_concat(const tc_concat_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *out = out_rows[r];
        for (int32_t b = 0; b < p->blocks; ++b) {
            for (int32_t i = 0; i < p->inputs; ++i) {
                tc_copy(out, in_rows[i * n_rows + r] + b * p->bytes[i], p->bytes[i]);
                out += p->bytes[i];
            }
        }
    }
}

typedef struct {
    int32_t row_bytes; /* >= 1 */
} tc_concat_rows_params;

/* Along rows: in_rows: all rows of input 0, then of input 1, ...; out_rows: all n_rows rows; scratch unused. */
static inline void tc_concat_rows(const tc_concat_rows_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                  int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_copy(out_rows[r], in_rows[r], p->row_bytes);
    }
}

typedef struct {
    int32_t inputs;            /* N >= 1 */
    int32_t blocks;            /* B >= 1 */
    int32_t output_zero_point; /* -128..127 */
    const int32_t *lengths;    /* [N] elements of one block of each input; along rows: its number of rows */
    const int32_t *zero_point; /* [N] -128..127 */
    const int32_t *multiplier; /* [N] Q31: the input's scale over the output's */
    const int32_t *shift;      /* [N] -31..30 */
} tc_concat_s8_params;

/* Rescales `count` elements of input i. */
static inline void tc_concat_s8_block(const tc_concat_s8_params *p, int32_t i, const int8_t *in, int8_t *out,
                                      int32_t count)
{
    for (int32_t k = 0; k < count; ++k) {
        out[k] = tc_requantize_s8(in[k] - p->zero_point[i], p->multiplier[i], p->shift[i], p->output_zero_point,
                                  INT8_MIN, INT8_MAX);
    }
}

/* Rows as for tc_concat. */
static inline void tc_concat_s8(const tc_concat_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *out = out_rows[r];
        for (int32_t b = 0; b < p->blocks; ++b) {
            for (int32_t i = 0; i < p->inputs; ++i) {
                tc_concat_s8_block(p, i, in_rows[i * n_rows + r] + b * p->lengths[i], out, p->lengths[i]);
                out += p->lengths[i];
            }
        }
    }
}

typedef tc_concat_s8_params tc_concat_rows_s8_params; /* blocks: elements of a row */

/* Rows as for tc_concat_rows. */
static inline void tc_concat_rows_s8(const tc_concat_rows_s8_params *p, const int8_t *const *in_rows,
                                     int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t first = 0;
    (void)n_rows;
    (void)scratch;
    for (int32_t i = 0; i < p->inputs; ++i) {
        for (int32_t r = first; r < first + p->lengths[i]; ++r) {
            tc_concat_s8_block(p, i, in_rows[r], out_rows[r], p->blocks);
        }
        first += p->lengths[i];
    }
}

#endif /* TC_CONCAT_H */
