/* SPDX-License-Identifier: MIT-0
 * Row pointers for kernels, tracing hooks, and the attributes the generated code needs.
 */
#ifndef TC_ROWS_H
#define TC_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define TC_ALIGNED(bytes) __attribute__((aligned(bytes)))

#ifdef TC_HOOKS
#include "tc_hooks.h"

/* Reports rows first..first+count-1 of traced tensor `tensor` as final. */
static inline void tc_rows_done(int tensor, int32_t first, int8_t *const *rows, int32_t count, uint32_t bytes)
{
    for (int32_t i = 0; i < count; ++i) {
        tc_row_done(tensor, (int)(first + i), rows[i], bytes);
    }
}
#else
static inline void tc_step_begin(int layer)
{
    (void)layer;
}

static inline void tc_rows_done(int tensor, int32_t first, int8_t *const *rows, int32_t count, uint32_t bytes)
{
    (void)tensor;
    (void)first;
    (void)rows;
    (void)count;
    (void)bytes;
}
#endif

/* Rows of the next step: `step`, or what is left of `height` from row `first`. */
static inline int32_t tc_rows_left(int32_t first, int32_t step, int32_t height)
{
    return height - first < step ? height - first : step;
}

/* Rows first..first+count-1 of a tensor whose `height` rows of `row_bytes` follow one another from `base`; rows outside
 * the tensor are `padding`, which may be NULL. */
static inline void tc_rows_in(const int8_t **rows, const void *base, int32_t row_bytes, int32_t height, int32_t first,
                              int32_t count, const int8_t *padding)
{
    for (int32_t i = 0; i < count; ++i) {
        const int32_t y = first + i;
        rows[i] = y >= 0 && y < height ? (const int8_t *)base + y * row_bytes : padding;
    }
}

/* As tc_rows_in, for rows to be written; none lies outside the tensor. */
static inline void tc_rows_out(int8_t **rows, void *base, int32_t row_bytes, int32_t first, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        rows[i] = (int8_t *)base + (first + i) * row_bytes;
    }
}

/* As tc_rows_in, for rows that lie anywhere in the arena: row y at word words[y], 4 bytes each. */
static inline void tc_rows_in_table(const int8_t **rows, const uint8_t *arena, const uint16_t *words, int32_t height,
                                    int32_t first, int32_t count, const int8_t *padding)
{
    for (int32_t i = 0; i < count; ++i) {
        const int32_t y = first + i;
        rows[i] = y >= 0 && y < height ? (const int8_t *)arena + 4 * (int32_t)words[y] : padding;
    }
}

/* As tc_rows_out, for rows that lie anywhere in the arena. */
static inline void tc_rows_out_table(int8_t **rows, uint8_t *arena, const uint16_t *words, int32_t first, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        rows[i] = (int8_t *)arena + 4 * (int32_t)words[first + i];
    }
}

#endif /* TC_ROWS_H */
