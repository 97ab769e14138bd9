/* SPDX-License-Identifier: MIT-0 */
#include "stub.h"

#if defined(TC_HOOKS)
#include "tc_hooks.h"
#define STEP(layer) tc_step_begin(layer)
#define ROW(tensor, row, data, bytes) tc_row_done(tensor, row, data, bytes)
#else
#define STEP(layer) ((void)0)
#define ROW(tensor, row, data, bytes) ((void)0)
#endif

static const int8_t weight[16] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};

void stub_reset(stub_state *state)
{
    state->runs = 0u;
}

static void mix(const stub_inputs *in, int8_t *to)
{
    for (int32_t i = 0; i < STUB_DATA; i++) {
        to[i] = (int8_t)(in->data[i] * 3 + in->bias[i % STUB_INPUT_BIAS_BYTES] + weight[i % 16]);
    }
}

static int32_t sum(const int8_t *from)
{
    int32_t total = 0;
    for (int32_t i = 0; i < STUB_DATA; i++) {
        total += from[i];
    }
    return total;
}

tc_status stub_invoke(const stub_inputs *in, const stub_outputs *out, stub_state *state, void *arena,
                      size_t arena_bytes)
{
    int8_t *const work = arena;
    if (in == NULL || out == NULL || state == NULL || arena == NULL) {
        return TC_ERR_NULL;
    }
    if (arena_bytes < STUB_ARENA_BYTES) {
        return TC_ERR_ARENA_SIZE;
    }
    STEP(0);
    mix(in, work);
    ROW(0, 0, work, STUB_DATA);
    STEP(1);
    for (int32_t i = 0; i < STUB_DATA; i++) {
        out->mixed[i] = work[i];
    }
    *out->total = sum(work) + (int32_t)state->runs;
    state->runs++;
    ROW(1, 0, out->total, 4);
    STEP(STUB_LAYER_COUNT);
    return TC_OK;
}
