/* SPDX-License-Identifier: MIT-0 */
#include "model.h"

#define CANARY 0xC7u

/* The arena lies between two canaries, in the memory the linker script chose for it. */
static struct {
    _Alignas(TC_BINDING_ARENA_ALIGN) _Alignas(32) uint8_t before[TC_CANARY_BYTES];
    _Alignas(TC_BINDING_ARENA_ALIGN) uint8_t arena[TC_BINDING_ARENA_BYTES > 0 ? TC_BINDING_ARENA_BYTES : 1];
    uint8_t after[TC_CANARY_BYTES];
} guarded __attribute__((section(".tc_arena")));

uint8_t *const tc_model_arena = guarded.arena;

TC_BINDING_DEFINE_BUFFERS

#if TC_BINDING_STATE_BYTES > 0
TC_BINDING_STATE_T tc_model_state __attribute__((section(".tc_state"), aligned(8)));
#endif

static uint32_t count_changed(const volatile uint8_t *bytes)
{
    uint32_t changed = 0u;
    for (uint32_t i = 0u; i < TC_CANARY_BYTES; i++) {
        changed += bytes[i] != CANARY;
    }
    return changed;
}

uint32_t tc_model_canary_damage(void)
{
    return count_changed(guarded.before) | count_changed(guarded.after) << 16;
}

void tc_model_reset_state(void)
{
    TC_BINDING_RESET_STATE
}

void tc_model_init(void)
{
    for (uint32_t i = 0u; i < TC_CANARY_BYTES; i++) {
        guarded.before[i] = CANARY;
        guarded.after[i] = CANARY;
    }
    tc_model_reset_state();
}
