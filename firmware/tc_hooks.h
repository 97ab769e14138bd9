/* SPDX-License-Identifier: MIT-0
 * Called by generated code that is built with TC_HOOKS.
 */
#ifndef TC_HOOKS_H
#define TC_HOOKS_H

#include <stdint.h>

/* Before each step of layer `layer`; after the last one with the number of layers. */
void tc_step_begin(int layer);

/* After row `row` of traced tensor `tensor` has its final value; `data` holds `bytes` bytes. */
void tc_row_done(int tensor, int row, const void *data, uint32_t bytes);

#endif
