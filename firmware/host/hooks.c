/* SPDX-License-Identifier: MIT-0
 * Hooks of a TC_HOOKS build for the host: every row is copied into the array of its tensor.
 */
#include "tc_hooks.h"

#include <stddef.h>

static uint8_t *const *trace;

/* From now on rows go to tensors[tensor]; NULL: nowhere. */
void tc_trace_into(uint8_t *const *tensors);
void tc_trace_into(uint8_t *const *tensors)
{
    trace = tensors;
}

void tc_step_begin(int layer)
{
    (void)layer;
}

void tc_row_done(int tensor, int row, const void *data, uint32_t bytes)
{
    if (trace != NULL) {
        __builtin_memcpy(trace[tensor] + (size_t)row * bytes, data, bytes);
    }
}
