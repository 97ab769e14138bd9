/* SPDX-License-Identifier: MIT-0
 * Square int8 products, dense and 2:4, through the network's own kernel: where sparsity starts to pay.
 *
 *   PROGRAM SIZE... [warm-up and repeats are fixed]
 *
 * One JSON object on stdout. Each product's output is requantized to int8; a hundred of its elements are computed again
 * on the host and must be equal (exit 7).
 */
#include "tc_gpu_device.h"
#include "tc_gpu_gemm.h"

enum { TC_WARMUP = 50, TC_REPEAT = 200 };

static uint32_t next_random(uint32_t &state)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8 ^ state << 13;
}

/* Element (row, k) of the packed weights, read back through the documented layout. */
template <bool SPARSE>
static int32_t weight(const std::vector<uint32_t> &values, const std::vector<uint32_t> &metadata, int32_t steps,
                      int32_t row, int32_t k)
{
    constexpr size_t operands = SPARSE ? 1 : 2;
    const size_t at = (size_t)(row / 16) * (size_t)steps + (size_t)(k / 64);
    tc_slice_a<SPARSE> lanes[TC_LANES];
    for (size_t lane = 0; lane < TC_LANES; ++lane) {
        for (size_t i = 0; i < operands; ++i) {
            memcpy(lanes[lane].words + 4 * i, &values[((at * operands + i) * TC_LANES + lane) * 4], 16);
        }
        lanes[lane].metadata = SPARSE ? metadata[at * TC_LANES + lane] : 0;
    }
    if constexpr (SPARSE) {
        for (int32_t column = 0; column < 32; ++column) {
            if (tc_kept_column(lanes, row % 16, column) == k % 64) {
                return tc_a_element(lanes, 0, row % 16, column);
            }
        }
        return 0;
    } else {
        return tc_a_element(lanes, k % 64 / 32, row % 16, k % 32);
    }
}

template <bool SPARSE> static double run(int32_t size)
{
    const int32_t steps = size / TC_DEPTH;
    const size_t elements = (size_t)size * (size_t)size;
    uint32_t state = 1u + (uint32_t)size;
    static const uint32_t pairs[6] = {0x4u, 0x8u, 0xCu, 0x9u, 0xDu, 0xEu};
    std::vector<uint32_t> values(elements / (SPARSE ? 8 : 4)), metadata(SPARSE ? elements / 32 : 1),
        input(elements / 4);
    for (uint32_t &word : values) {
        word = next_random(state);
    }
    for (uint32_t &word : input) {
        word = next_random(state);
    }
    for (uint32_t &word : metadata) {
        word = 0;
        for (int32_t i = 0; i < 8; ++i) {
            word |= pairs[next_random(state) % 6] << (4 * i);
        }
    }
    std::vector<int32_t> bias((size_t)size, 0), multiplier((size_t)size, 1 << 30), shift((size_t)size, -12);
    std::vector<std::pair<const void *, size_t>> host = {{values.data(), values.size() * 4},
                                                         {metadata.data(), metadata.size() * 4},
                                                         {input.data(), elements},
                                                         {bias.data(), bias.size() * 4},
                                                         {multiplier.data(), multiplier.size() * 4},
                                                         {shift.data(), shift.size() * 4}};
    std::vector<void *> device;
    for (const auto &[data, bytes] : host) {
        device.push_back(tc_allocate(bytes));
        tc_to_device(device.back(), data, bytes);
    }
    device.push_back(tc_allocate(elements));
    tc_gemm g = {};
    g.rows = size;
    g.depth_steps = steps;
    g.height = g.width = g.out_height = g.out_width = 1;
    g.channels = size;
    g.kernel_height = g.kernel_width = g.stride_height = g.stride_width = 1;
    g.dilation_height = g.dilation_width = 1;
    g.activation_min = INT8_MIN;
    g.activation_max = INT8_MAX;
    g.batch = size;
    g.values = (const uint32_t *)device[0];
    g.metadata = (const uint32_t *)device[1];
    g.input = (const int8_t *)device[2];
    g.bias = (const int32_t *)device[3];
    g.multiplier = (const int32_t *)device[4];
    g.shift = (const int32_t *)device[5];
    g.output = (int8_t *)device[6];
    const auto work = [&] { tc_gemm_launch<tc_tile_128x128, SPARSE, 16>(g); };
    work();
    tc_finish("product");
    const double us = tc_time_us(work, TC_WARMUP, TC_REPEAT, 10);
    tc_finish("timed product");
    std::vector<int8_t> output(elements);
    tc_from_device(output.data(), g.output, elements);
    for (void *memory : device) {
        tc_release(memory);
    }
    const int8_t *columns = (const int8_t *)input.data();
    for (int32_t check = 0; check < 100; ++check) {
        const int32_t row = (int32_t)(next_random(state) % (uint32_t)size);
        const int32_t pixel = (int32_t)(next_random(state) % (uint32_t)size);
        int32_t sum = 0;
        for (int32_t k = 0; k < size; ++k) {
            sum += weight<SPARSE>(values, metadata, steps, row, k) * columns[(size_t)pixel * (size_t)size + (size_t)k];
        }
        const int8_t expected = tc_requantize_s8(sum, 1 << 30, -12, 0, INT8_MIN, INT8_MAX);
        if (output[(size_t)pixel * (size_t)size + (size_t)row] != expected) {
            tc_stop(TC_EXIT_MISMATCH, "product", SPARSE ? "a 2:4 result is wrong" : "a dense result is wrong");
        }
    }
    return us;
}

int main(int argc, char **argv)
{
    tc_self_test();
    printf("{");
    tc_print_device();
    printf(", \"products\": [");
    for (int i = 1; i < argc; ++i) {
        const int32_t size = (int32_t)strtol(argv[i], NULL, 10);
        if (size < 128 || size > 16384 || size % 128 != 0) {
            tc_stop(TC_EXIT_USAGE, argv[i], "sizes are multiples of 128 from 128 to 16384");
        }
        printf("%s{\"size\": %d, \"dense_us\": ", i == 1 ? "" : ", ", (int)size);
        tc_print_us(run<false>(size));
        printf(", \"sparse_us\": ");
        tc_print_us(run<true>(size));
        printf("}");
        fflush(stdout);
    }
    printf("]}\n");
    return 0;
}
