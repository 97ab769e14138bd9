/* SPDX-License-Identifier: MIT-0 */
#include "measure.h"

#include "port.h"

#if TC_BINDING_STATE_BYTES > 0
tc_status tc_measure_empty(const TC_BINDING_INPUTS_T *in, const TC_BINDING_OUTPUTS_T *out, TC_BINDING_STATE_T *state,
                           void *arena, size_t arena_bytes);
typedef tc_status (*measured_fn)(const TC_BINDING_INPUTS_T *, const TC_BINDING_OUTPUTS_T *, TC_BINDING_STATE_T *,
                                 void *, size_t);
#define CALL(fn) (fn)(&tc_model_in, &tc_model_out, &tc_model_state, tc_model_arena, TC_BINDING_ARENA_BYTES)
#else
tc_status tc_measure_empty(const TC_BINDING_INPUTS_T *in, const TC_BINDING_OUTPUTS_T *out, void *arena,
                           size_t arena_bytes);
typedef tc_status (*measured_fn)(const TC_BINDING_INPUTS_T *, const TC_BINDING_OUTPUTS_T *, void *, size_t);
#define CALL(fn) (fn)(&tc_model_in, &tc_model_out, tc_model_arena, TC_BINDING_ARENA_BYTES)
#endif

/* Returns TC_OK at once. In assembly, so that its length is known: what an empty measurement holds besides its cost. */
#define EMPTY_INSTRUCTIONS 2u
__asm(".syntax unified\n"
      ".section .text.tc_measure_empty,\"ax\",%progbits\n"
      ".thumb\n"
      ".thumb_func\n"
      ".global tc_measure_empty\n"
      ".type tc_measure_empty,%function\n"
      "tc_measure_empty:\n"
      "    movs r0, #0\n"
      "    bx lr\n"
      ".size tc_measure_empty, . - tc_measure_empty\n"
      ".text\n");

/* Volatile, so that both are measured by the very same instructions. */
static const volatile measured_fn invoke_fn = TC_BINDING_INVOKE;
static const volatile measured_fn empty_fn = tc_measure_empty;

static __attribute__((noinline)) tc_status measure_call(measured_fn fn, uint32_t *start, uint32_t *end)
{
    *start = port_counter();
    const tc_status status = CALL(fn);
    *end = port_counter();
    return status;
}

tc_status tc_measure(uint64_t *cycles)
{
    uint32_t start;
    uint32_t end;
    (void)measure_call(empty_fn, &start, &end);
    (void)measure_call(empty_fn, &start, &end); /* the second time from a warm instruction cache */
    const uint64_t overhead = port_elapsed(start, end);
    const tc_status status = measure_call(invoke_fn, &start, &end);
    *cycles = port_elapsed(start, end) + EMPTY_INSTRUCTIONS - overhead;
    return status;
}

#if defined(TC_HOOKS)
#include "tc_hooks.h"

typedef enum { HOOKS_OFF, HOOKS_PROFILE, HOOKS_TRACE } hooks;

static hooks hooks_mode;
static uint64_t *profile_cycles;
static int profile_layer = TC_BINDING_LAYER_COUNT;
static uint32_t profile_since;
static uint64_t profile_overhead;

void tc_step_begin(int layer)
{
    const uint32_t now = port_counter();
    if (hooks_mode == HOOKS_PROFILE) {
        if (profile_layer < TC_BINDING_LAYER_COUNT) {
            const uint64_t elapsed = port_elapsed(profile_since, now);
            profile_cycles[profile_layer] += elapsed > profile_overhead ? elapsed - profile_overhead : 0u;
        }
        profile_layer = layer;
        profile_since = port_counter();
    }
}

void tc_row_done(int tensor, int row, const void *data, uint32_t bytes)
{
    if (hooks_mode == HOOKS_TRACE) {
        tc_trace_row((uint32_t)tensor, (uint32_t)row, data, bytes);
    }
}

static tc_status invoke_with(hooks mode)
{
    hooks_mode = mode;
    const tc_status status = CALL(invoke_fn);
    hooks_mode = HOOKS_OFF;
    return status;
}

tc_status tc_profile(uint64_t layer_cycles[TC_BINDING_LAYER_COUNT])
{
    for (int i = 0; i < TC_BINDING_LAYER_COUNT; i++) {
        layer_cycles[i] = 0u;
    }
    profile_cycles = layer_cycles;
    profile_overhead = 0u;
    hooks_mode = HOOKS_PROFILE;
    for (int i = 0; i < 3; i++) { /* nothing between two hooks: what remains is the hook's own time */
        layer_cycles[0] = 0u;
        tc_step_begin(0);
    }
    profile_overhead = layer_cycles[0];
    layer_cycles[0] = 0u;
    profile_layer = TC_BINDING_LAYER_COUNT;
    const tc_status status = invoke_with(HOOKS_PROFILE);
    profile_layer = TC_BINDING_LAYER_COUNT;
    return status;
}

tc_status tc_trace(void)
{
    return invoke_with(HOOKS_TRACE);
}
#endif
