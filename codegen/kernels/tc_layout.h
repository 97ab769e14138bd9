/* SPDX-License-Identifier: MIT-0
 * Operators that only move elements of any type: strided copy (transpose, slice), reshape, padding, lookup.
 */
#ifndef TC_LAYOUT_H
#define TC_LAYOUT_H

#include "tc_math.h"

typedef struct {
    int32_t shape[4];        /* output: [0] is the output row, the others lie within it; each >= 1 */
    int32_t row_step[4];     /* input rows per step along output axis i */
    int32_t element_step[4]; /* input elements per step along output axis i */
    int32_t first_element;   /* place of output element 0 in its input row; 0 for a transpose */
    int32_t element_bytes;   /* 1, 2 or 4 */
} tc_strided_copy_params;

/* One output row, whose element 0 is element `column` of rows[0]. */
static inline void tc_strided_copy_row(const tc_strided_copy_params *p, const int8_t *const *rows, int32_t column,
                                       int8_t *out)
{
    const int32_t bytes = p->element_bytes;
    for (int32_t i = 0; i < p->shape[1]; ++i) {
        for (int32_t j = 0; j < p->shape[2]; ++j) {
            const int8_t *const *from = rows + i * p->row_step[1] + j * p->row_step[2];
            const int32_t at = column + i * p->element_step[1] + j * p->element_step[2];
            for (int32_t k = 0; k < p->shape[3]; ++k) {
                tc_copy(out, from[k * p->row_step[3]] + (at + k * p->element_step[3]) * bytes, bytes);
                out += bytes;
            }
        }
    }
}

typedef tc_strided_copy_params tc_transpose_params;

/* in_rows: all rows of the input; out_rows: all n_rows rows of the output; scratch unused. */
static inline void tc_transpose(const tc_transpose_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_strided_copy_row(p, in_rows + r * p->row_step[0], r * p->element_step[0], out_rows[r]);
    }
}

typedef tc_strided_copy_params tc_slice_params;

/* in_rows: (n_rows-1)*row_step[0] + 1 rows; out_rows: n_rows rows; scratch unused. */
static inline void tc_slice(const tc_slice_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                            int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        tc_strided_copy_row(p, in_rows + r * p->row_step[0], p->first_element, out_rows[r]);
    }
}

typedef struct {
    int32_t input_row_bytes;  /* >= 1 */
    int32_t output_row_bytes; /* >= 1 */
} tc_reshape_params;

/* The same bytes in rows of another length. in_rows: all rows of the input; out_rows: all n_rows rows of the output;
 * scratch unused. */
static inline void tc_reshape(const tc_reshape_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
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
    int32_t width_before;  /* elements of the row's outer axis padded before */
    int32_t input_width;   /* >= 1 */
    int32_t output_width;  /* >= width_before + input_width */
    int32_t before;        /* elements of the row's inner axis padded before */
    int32_t input_inner;   /* >= 1 */
    int32_t output_inner;  /* >= before + input_inner */
    int32_t element_bytes; /* 1, 2 or 4 */
    int32_t value;         /* what padding is filled with, in the element type's range */
} tc_pad_params;

/* Fills `count` elements with p->value; returns the end. */
static inline int8_t *tc_pad_fill(const tc_pad_params *p, int8_t *out, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        tc_store(out, p->element_bytes, i, p->value);
    }
    return out + count * p->element_bytes;
}

/* One output row [output_width][output_inner] from an input row [input_width][input_inner]. */
static inline void tc_pad_row(const tc_pad_params *p, const int8_t *in, int8_t *out)
{
    const int32_t behind = p->output_inner - p->before - p->input_inner;
    const int32_t is_run = p->before == 0 && behind == 0;
    const int32_t runs = is_run ? 1 : p->input_width;
    const int32_t bytes = (is_run ? p->input_width : 1) * p->input_inner * p->element_bytes;
    out = tc_pad_fill(p, out, p->width_before * p->output_inner);
    for (int32_t x = 0; x < runs; ++x) {
        out = tc_pad_fill(p, out, p->before);
        tc_copy(out, in, bytes);
        in += bytes;
        out = tc_pad_fill(p, out + bytes, behind);
    }
    (void)tc_pad_fill(p, out, (p->output_width - p->width_before - p->input_width) * p->output_inner);
}

/* in_rows: n_rows rows [input_width][input_inner], NULL for a row of padding; out_rows: n_rows rows
 * [output_width][output_inner]; scratch unused. */
static inline void tc_pad(const tc_pad_params *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows,
                          void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        if (in_rows[r] != NULL) {
            tc_pad_row(p, in_rows[r], out_rows[r]);
        } else {
            (void)tc_pad_fill(p, out_rows[r], p->output_width * p->output_inner);
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
static inline void tc_embedding(const tc_embedding_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
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
