/* SPDX-License-Identifier: MIT-0
 * Joining tensors along an axis within rows, or along rows; with inputs of other scales than the output's, int8 only.
 *
 * Dimension letters: N inputs; B blocks of a row: each block of the output is one block of every input in turn.
 */
#ifndef TC_CONCAT_H
#define TC_CONCAT_H

#include "tc_copy.h"

typedef struct {
    int32_t inputs;       /* N >= 1 */
    int32_t blocks;       /* B >= 1 */
    int32_t block_bytes;  /* of one block of the output */
    const int32_t *bytes; /* [N] bytes of one block of each input */
} tc_concat_params;

/* in_rows: n_rows rows of input 0, then of input 1, ...; out_rows: n_rows rows; scratch unused. */
TC_INLINE void tc_concat(const tc_concat_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                         int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *out = out_rows[r];
        for (int32_t i = 0; i < p->inputs; ++i) {
            tc_copy_run_after_run(out, in_rows[i * n_rows + r], p->bytes[i], p->blocks, p->block_bytes - p->bytes[i]);
            out += p->bytes[i];
        }
    }
}

typedef struct {
    int32_t row_bytes; /* >= 1 */
} tc_concat_rows_params;

/* Along rows: in_rows: all rows of input 0, then of input 1, ...; out_rows: all n_rows rows; scratch unused. */
TC_INLINE void tc_concat_rows(const tc_concat_rows_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_copy(out_rows[r], in_rows[r], p->row_bytes);
    }
}

typedef struct {
    int32_t inputs;         /* N >= 1 */
    int32_t blocks;         /* B >= 1 */
    int32_t block_elements; /* of one block of the output; along rows: of a row */
    const int32_t *lengths; /* [N] elements of one block of each input; along rows: its number of rows */
    const int32_t *table;   /* [N] number of its table, or -1 where its elements only move */
    const int8_t *tables;   /* [tables][256] the output's value for each input value, by unsigned byte */
} tc_concat_s8_params;

/* `count` elements of input i in the output's scale. */
TC_INLINE void tc_concat_s8_block(const tc_concat_s8_params *p, int32_t i, const int8_t *in, int8_t *out, int32_t count)
{
    if (p->table[i] < 0) {
        tc_copy(out, in, count);
    } else {
        const int8_t *table = p->tables + 256 * p->table[i];
        TC_UNROLL(4)
        for (int32_t k = 0; k < count; ++k) {
            out[k] = table[(uint8_t)in[k]];
        }
    }
}

/* Rows as for tc_concat. */
TC_INLINE void tc_concat_s8(const tc_concat_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                            int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int8_t *first = out_rows[r];
        for (int32_t i = 0; i < p->inputs; ++i) {
            const int8_t *in = in_rows[i * n_rows + r];
            int8_t *out = first;
            for (int32_t b = 0; b < p->blocks; ++b) {
                tc_concat_s8_block(p, i, in, out, p->lengths[i]);
                in += p->lengths[i];
                out += p->block_elements;
            }
            first += p->lengths[i];
        }
    }
}

typedef tc_concat_s8_params tc_concat_rows_s8_params; /* blocks: 1 */

/* Rows as for tc_concat_rows. */
TC_INLINE void tc_concat_rows_s8(const tc_concat_rows_s8_params *p, const int8_t *const *in_rows,
                                 int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t first = 0;
    (void)n_rows;
    (void)scratch;
    for (int32_t i = 0; i < p->inputs; ++i) {
        for (int32_t r = first; r < first + p->lengths[i]; ++r) {
            tc_concat_s8_block(p, i, in_rows[r], out_rows[r], p->block_elements);
        }
        first += p->lengths[i];
    }
}

#endif /* TC_CONCAT_H */
