/* SPDX-License-Identifier: MIT-0
 * Row pointers for kernels, tracing hooks, and the attributes the generated code needs.
 */
#ifndef TC_ROWS_H
#define TC_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define TC_ALIGNED(bytes) __attribute__((aligned(bytes)))

/* A tensor in the arena: row y lies at base + offset + y * row_bytes, or at base + 4 * words[y] when its rows are
 * scattered. The base is the arena, or the state struct's member. */
typedef struct {
    int32_t offset;
    int32_t row_bytes;
    int32_t rows;
    const uint16_t *words; /* NULL when the rows follow one another */
} tc_tensor;

/* Offset of row y from the base. */
static inline int32_t tc_row_offset(const tc_tensor *t, int32_t y)
{
    return t->words != NULL ? 4 * (int32_t)t->words[y] : t->offset + y * t->row_bytes;
}

/* Pointers to rows first..first+count-1; rows outside the tensor are `padding`, which may be NULL. */
static inline void tc_rows_in(const int8_t **rows, const void *base, const tc_tensor *t, int32_t first, int32_t count,
                              const int8_t *padding)
{
    for (int32_t i = 0; i < count; ++i) {
        const int32_t y = first + i;
        rows[i] = y >= 0 && y < t->rows ? (const int8_t *)base + tc_row_offset(t, y) : padding;
    }
}

/* Pointers to rows first..first+count-1, all inside the tensor. */
static inline void tc_rows_out(int8_t **rows, void *base, const tc_tensor *t, int32_t first, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        rows[i] = (int8_t *)base + tc_row_offset(t, first + i);
    }
}

/* Rows of the step that begins at row `first`: `step`, or what is left of the tensor. */
static inline int32_t tc_rows_left(const tc_tensor *t, int32_t first, int32_t step)
{
    return t->rows - first < step ? t->rows - first : step;
}

#ifdef TC_HOOKS
#include "tc_hooks.h"

/* Reports rows first..first+count-1 of traced tensor `number` as final. */
static inline void tc_rows_done(int number, const tc_tensor *t, int32_t first, int8_t *const *rows, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        tc_row_done(number, (int)(first + i), rows[i], (uint32_t)t->row_bytes);
    }
}
#else
static inline void tc_step_begin(int layer)
{
    (void)layer;
}

static inline void tc_rows_done(int number, const tc_tensor *t, int32_t first, int8_t *const *rows, int32_t count)
{
    (void)number;
    (void)t;
    (void)first;
    (void)rows;
    (void)count;
}
#endif

#endif /* TC_ROWS_H */
