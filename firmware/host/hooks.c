/* SPDX-License-Identifier: MIT-0
 * Hooks of a TC_HOOKS build for the host: handed on to the functions that the loading program sets.
 */
#include "tc_hooks.h"

#include <stddef.h>

extern void (*tc_host_step_begin)(int layer);
extern void (*tc_host_row_done)(int tensor, int row, const void *data, uint32_t bytes);
void (*tc_host_step_begin)(int layer);
void (*tc_host_row_done)(int tensor, int row, const void *data, uint32_t bytes);

void tc_step_begin(int layer)
{
    if (tc_host_step_begin != NULL) {
        tc_host_step_begin(layer);
    }
}

void tc_row_done(int tensor, int row, const void *data, uint32_t bytes)
{
    if (tc_host_row_done != NULL) {
        tc_host_row_done(tensor, row, data, bytes);
    }
}
