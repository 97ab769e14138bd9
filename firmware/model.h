/* SPDX-License-Identifier: MIT-0
 * The model under measurement: its generated binding and the buffers it works on.
 */
#ifndef TC_MODEL_H
#define TC_MODEL_H

#include "tc_binding.h"

#include <stdint.h>

#define TC_CANARY_BYTES 32

typedef struct {
    uint8_t *data;
    uint32_t bytes;
} tc_buffer;

extern const tc_buffer tc_model_inputs[TC_BINDING_INPUT_COUNT];
extern const tc_buffer tc_model_outputs[TC_BINDING_OUTPUT_COUNT];
extern const TC_BINDING_INPUTS_T tc_model_in;
extern const TC_BINDING_OUTPUTS_T tc_model_out;
extern uint8_t *const tc_model_arena;
#if TC_BINDING_STATE_BYTES > 0
extern TC_BINDING_STATE_T tc_model_state;
#endif

/* Set the canaries around the arena and clear the model's state. */
void tc_model_init(void);

/* Back to the state before the first inference. */
void tc_model_reset_state(void);

/* Changed canary bytes before (low half) and after (high half) the arena. */
uint32_t tc_model_canary_damage(void);

#endif
