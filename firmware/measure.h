/* SPDX-License-Identifier: MIT-0
 * Timing of one inference, and the hooks of a TC_HOOKS build.
 */
#ifndef TC_MEASURE_H
#define TC_MEASURE_H

#include "model.h"

#include <stdint.h>

/* One inference; cycles from entry of the model's invoke function to its return, without the measuring itself. */
tc_status tc_measure(uint64_t *cycles);

#if defined(TC_HOOKS)
/* One inference with the cycles of each layer, hook time left out. */
tc_status tc_profile(uint64_t layer_cycles[TC_BINDING_LAYER_COUNT]);

/* One inference that hands every finished tensor row to tc_trace_row. */
tc_status tc_trace(void);

/* Given by main.c: deliver one row to the host. */
void tc_trace_row(uint32_t tensor, uint32_t row, const uint8_t *data, uint32_t bytes);
#endif

#endif
