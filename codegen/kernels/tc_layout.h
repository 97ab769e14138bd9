/* SPDX-License-Identifier: MIT-0
 * Operators that only move elements of any type: strided copy (transpose, slice), reshape, padding, lookup.
 */
#ifndef TC_LAYOUT_H
#define TC_LAYOUT_H

#include "tc_copy.h"
#include "tc_math.h"

/* The output is made of runs of bytes that follow each other in an input row, too. */
typedef struct {
    int32_t shape[4];     /* output, in runs: [0] is the output row, the others lie within it; each >= 1 */
    int32_t row_step[4];  /* input rows per step along output axis i */
    int32_t byte_step[4]; /* input bytes per step along output axis i */
    int32_t first_byte;   /* place of the first run in its input row; 0 for a transpose */
    int32_t run_bytes;    /* >= 1 */
} tc_strided_copy_params;

/* Runs along the output's last axis; the first begins at byte `at` of rows[0]. Returns the end. */
TC_INLINE int8_t *tc_strided_copy_runs(const tc_strided_copy_params *p, const int8_t *const *rows, int32_t at,
                                       int8_t *out)
{
    const int8_t *in = rows[0] + at;
    for (int32_t k = 0; k < p->shape[3]; ++k) {
        tc_copy(out, in, p->run_bytes);
        out += p->run_bytes;
        if (p->row_step[3] == 0) {
            in += p->byte_step[3];
        } else if (k + 1 < p->shape[3]) {
            in = rows[(k + 1) * p->row_step[3]] + at + (k + 1) * p->byte_step[3];
        }
    }
    return out;
}

/* One output row, whose first run begins at byte `column` of rows[0]. */
TC_INLINE void tc_strided_copy_row(const tc_strided_copy_params *p, const int8_t *const *rows, int32_t column,
                                   int8_t *out)
{
    for (int32_t i = 0; i < p->shape[1]; ++i) {
        for (int32_t j = 0; j < p->shape[2]; ++j) {
            const int8_t *const *from = rows + i * p->row_step[1] + j * p->row_step[2];
            out = tc_strided_copy_runs(p, from, column + i * p->byte_step[1] + j * p->byte_step[2], out);
        }
    }
}

typedef tc_strided_copy_params tc_transpose_params;

/* in_rows: all rows of the input; out_rows: all n_rows rows of the output; scratch unused. */
TC_INLINE void tc_transpose(const tc_transpose_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                            int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_strided_copy_row(p, in_rows + r * p->row_step[0], r * p->byte_step[0], out_rows[r]);
    }
}

typedef tc_strided_copy_params tc_slice_params;

/* in_rows: (n_rows-1)*row_step[0] + 1 rows; out_rows: n_rows rows; scratch unused. */
TC_INLINE void tc_slice(const tc_slice_params *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows,
                        void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_strided_copy_row(p, in_rows + r * p->row_step[0], p->first_byte, out_rows[r]);
    }
}

typedef struct {
    int32_t input_row_bytes;  /* >= 1 */
    int32_t output_row_bytes; /* >= 1 */
} tc_reshape_params;

/* The same bytes in rows of another length. in_rows: all rows of the input; out_rows: all n_rows rows of the output;
 * scratch unused. */
TC_INLINE void tc_reshape(const tc_reshape_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                          int32_t n_rows, void *scratch)
{
    int32_t in_row = 0;
    int32_t in_at = 0;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int32_t out_at = 0;
        while (out_at < p->output_row_bytes) {
            const int32_t bytes = tc_min(p->output_row_bytes - out_at, p->input_row_bytes - in_at);
            tc_copy(out_rows[r] + out_at, in_rows[in_row] + in_at, bytes);
            out_at += bytes;
            in_at += bytes;
            if (in_at == p->input_row_bytes) {
                in_at = 0;
                ++in_row;
            }
        }
    }
}

typedef struct {
    int32_t before_bytes; /* of padding in front of the first run; these and the next >= 0 */
    int32_t between_bytes;
    int32_t behind_bytes;
    int32_t run_bytes; /* >= 1 */
    int32_t runs;      /* >= 1: the input row is so many runs */
    int32_t word;      /* padding, as often as it goes into 4 bytes */
} tc_pad_params;

/* One output row of an input row. */
TC_INLINE void tc_pad_row(const tc_pad_params *p, const int8_t *in, int8_t *out)
{
    tc_fill(out, (uint32_t)p->word, p->before_bytes);
    out += p->before_bytes;
    for (int32_t i = 0; i < p->runs; ++i) {
        const int32_t padding = i + 1 < p->runs ? p->between_bytes : p->behind_bytes;
        tc_copy(out, in, p->run_bytes);
        in += p->run_bytes;
        out += p->run_bytes;
        tc_fill(out, (uint32_t)p->word, padding);
        out += padding;
    }
}

/* in_rows: n_rows rows, NULL for a row of padding; out_rows: n_rows rows; scratch unused. */
TC_INLINE void tc_pad(const tc_pad_params *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows,
                      void *scratch)
{
    const int32_t row_bytes =
        p->before_bytes + p->runs * p->run_bytes + (p->runs - 1) * p->between_bytes + p->behind_bytes;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        if (in_rows[r] != NULL) {
            tc_pad_row(p, in_rows[r], out_rows[r]);
        } else {
            tc_fill(out_rows[r], (uint32_t)p->word, row_bytes);
        }
    }
}

typedef struct {
    int32_t entries;     /* of the table, >= 1 */
    int32_t entry_bytes; /* >= 1 */
    const int8_t *table; /* [entries][entry_bytes] */
} tc_embedding_params;

/* in_rows: one row of n_rows int32 indices; out_rows: n_rows rows, an entry of the table each; an index beyond its ends
 * gives the nearest. scratch unused. */
TC_INLINE void tc_embedding(const tc_embedding_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                            int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        int32_t index;
        __builtin_memcpy(&index, in_rows[0] + 4 * r, sizeof index);
        tc_copy(out_rows[r], p->table + tc_clamp(index, 0, p->entries - 1) * p->entry_bytes, p->entry_bytes);
    }
}

#endif /* TC_LAYOUT_H */
