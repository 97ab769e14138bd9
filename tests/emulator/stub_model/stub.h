/* SPDX-License-Identifier: MIT-0
 * A hand-written library with the interface of a generated one, for tests of firmware, link and emulators.
 * mixed[i] = data[i] * 3 + bias[i % STUB_INPUT_BIAS_BYTES] + weight[i % 16] (mod 256); total = sum of mixed + *runs.
 */
#ifndef STUB_H
#define STUB_H

#include "tc_status.h"

#include <stddef.h>
#include <stdint.h>

#ifndef STUB_DATA
#define STUB_DATA 4000
#endif
#define STUB_ARENA_BYTES STUB_DATA
#define STUB_ARENA_ALIGN 8
#define STUB_STATE_BYTES 4
#define STUB_LAYER_COUNT 2
#define STUB_INPUT_DATA_BYTES STUB_DATA
#define STUB_INPUT_BIAS_BYTES 4

typedef struct {
    const int8_t *data;
    const int8_t *bias;
} stub_inputs;

typedef struct {
    int8_t *mixed;
    int32_t *total;
} stub_outputs;

typedef struct {
    uint32_t runs;
} stub_state;

tc_status stub_invoke(const stub_inputs *in, const stub_outputs *out, stub_state *state, void *arena,
                      size_t arena_bytes);
void stub_reset(stub_state *state);

#endif
