/* SPDX-License-Identifier: MIT-0
 * Memory, errors, time and the self-test: the few calls of the CUDA runtime that a program needs, and their host twins.
 *
 * Exit codes of a program: 0 done; 2 wrong arguments or files; 6 the GPU failed or is too old; 7 an instruction does
 * not compute what its documentation says.
 */
#ifndef TC_GPU_DEVICE_H
#define TC_GPU_DEVICE_H

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "tc_gpu_mma.h"

enum { TC_EXIT_USAGE = 2, TC_EXIT_DEVICE = 6, TC_EXIT_MISMATCH = 7 };

[[noreturn]] inline void tc_stop(int code, const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s\n", what, detail);
    exit(code);
}

#if defined(__CUDACC__)
inline void tc_cuda(cudaError_t status, const char *what)
{
    if (status != cudaSuccess) {
        tc_stop(TC_EXIT_DEVICE, what, cudaGetErrorString(status));
    }
}
#endif

/* Device memory, 256-byte aligned, zeroed. */
inline void *tc_allocate(size_t bytes)
{
    void *memory = NULL;
    bytes = bytes == 0 ? 1 : bytes;
#if defined(__CUDACC__)
    tc_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
    tc_cuda(cudaMemset(memory, 0, bytes), "cudaMemset");
#else
    memory = calloc(1, bytes);
    if (memory == NULL) {
        tc_stop(TC_EXIT_DEVICE, "calloc", "out of memory");
    }
#endif
    return memory;
}

inline void tc_release(void *memory)
{
#if defined(__CUDACC__)
    tc_cuda(cudaFree(memory), "cudaFree");
#else
    free(memory);
#endif
}

inline void tc_to_device(void *to, const void *from, size_t bytes)
{
#if defined(__CUDACC__)
    tc_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copy to the device");
#else
    memcpy(to, from, bytes);
#endif
}

inline void tc_from_device(void *to, const void *from, size_t bytes)
{
#if defined(__CUDACC__)
    tc_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy from the device");
#else
    memcpy(to, from, bytes);
#endif
}

/* Ends the program when the launches so far include one that the GPU refused. */
inline void tc_launched(const char *what)
{
#if defined(__CUDACC__)
    tc_cuda(cudaGetLastError(), what);
#else
    (void)what;
#endif
}

/* Waits for the launches so far; ends the program when one failed. */
inline void tc_finish(const char *what)
{
    tc_launched(what);
#if defined(__CUDACC__)
    tc_cuda(cudaDeviceSynchronize(), what);
#endif
}

inline double tc_median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    const size_t n = values.size();
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

enum { TC_SAMPLE_US = 1000 };

/* Median microseconds of work(), timed by events: `warmup` calls first, then `repeat` samples of up to `most` calls one
 * after the other, fewer where they take longer than TC_SAMPLE_US. A host times nothing: the answer is negative. */
template <class WORK> double tc_time_us(WORK work, int warmup, int repeat, int most)
{
#if defined(__CUDACC__)
    cudaEvent_t begin, end;
    tc_cuda(cudaEventCreate(&begin), "cudaEventCreate");
    tc_cuda(cudaEventCreate(&end), "cudaEventCreate");
    const auto sample = [&](int calls) {
        float ms = 0.0f;
        tc_cuda(cudaEventRecord(begin), "cudaEventRecord");
        for (int i = 0; i < calls; ++i) {
            work();
        }
        tc_cuda(cudaEventRecord(end), "cudaEventRecord");
        tc_cuda(cudaEventSynchronize(end), "timed run");
        tc_cuda(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
        return 1000.0 * ms / calls;
    };
    for (int i = 0; i < warmup; ++i) {
        work();
    }
    tc_finish("warm-up");
    const double once = std::max(sample(1), 1.0);
    const int calls = std::min(std::max((int)(TC_SAMPLE_US / once), 1), most);
    std::vector<double> samples;
    for (int i = 0; i < repeat; ++i) {
        samples.push_back(sample(calls));
    }
    tc_cuda(cudaEventDestroy(begin), "cudaEventDestroy");
    tc_cuda(cudaEventDestroy(end), "cudaEventDestroy");
    return tc_median(samples);
#else
    (void)work, (void)warmup, (void)repeat, (void)most;
    return -1.0;
#endif
}

inline void tc_print_us(double us)
{
    if (us < 0) {
        printf("null");
    } else {
        printf("%.3f", us);
    }
}

/* `text` as a JSON string. */
inline void tc_print_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; ++text) {
        const unsigned char c = (unsigned char)*text;
        if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
        }
    }
    putchar('"');
}

#if defined(__CUDACC__)
template <bool SPARSE>
__global__ void tc_probe_kernel(const tc_slice_a<SPARSE> *a, const tc_slice_b *b, int32_t (*c)[4])
{
    tc_mma(c[threadIdx.x], a[threadIdx.x], b[threadIdx.x]);
}
#endif

/* A warp's product on the device against the documented meaning, on pseudo-random operands. */
template <bool SPARSE> bool tc_probe()
{
    uint32_t state = 12345u;
    const auto next = [&state]() { return state = state * 1664525u + 1013904223u, state >> 8 ^ state << 13; };
    static const uint32_t pairs[6] = {0x4u, 0x8u, 0xCu, 0x9u, 0xDu, 0xEu};
    tc_slice_a<SPARSE> a[TC_LANES] = {};
    tc_slice_b b[TC_LANES] = {};
    int32_t expected[TC_LANES][4] = {}, found[TC_LANES][4] = {};
    for (int32_t lane = 0; lane < TC_LANES; ++lane) {
        for (uint32_t &word : a[lane].words) {
            word = next();
        }
        for (uint32_t &word : b[lane].words) {
            word = next();
        }
        for (int32_t i = 0; SPARSE && i < 8; ++i) {
            a[lane].metadata |= pairs[next() % 6] << (4 * i);
        }
    }
    tc_mma_emulated<SPARSE>(expected, a, b);
#if defined(__CUDACC__)
    void *device_a = tc_allocate(sizeof a), *device_b = tc_allocate(sizeof b), *device_c = tc_allocate(sizeof found);
    tc_to_device(device_a, a, sizeof a);
    tc_to_device(device_b, b, sizeof b);
    tc_probe_kernel<SPARSE>
        <<<1, TC_LANES>>>((tc_slice_a<SPARSE> *)device_a, (tc_slice_b *)device_b, (int32_t (*)[4])device_c);
    tc_finish("self-test");
    tc_from_device(found, device_c, sizeof found);
    tc_release(device_a), tc_release(device_b), tc_release(device_c);
#else
    memcpy(found, expected, sizeof found);
#endif
    return memcmp(expected, found, sizeof found) == 0;
}

/* Ends the program unless the GPU is recent enough and both instructions mean what the packing assumes. */
inline void tc_self_test()
{
#if defined(__CUDACC__)
    cudaDeviceProp device;
    tc_cuda(cudaGetDeviceProperties(&device, 0), "no usable GPU");
    if (device.major < 8) {
        tc_stop(TC_EXIT_DEVICE, device.name, "2:4 sparsity needs compute capability 8.0 (Ampere) or later");
    }
#endif
    if (!tc_probe<false>()) {
        tc_stop(TC_EXIT_MISMATCH, "self-test", "mma.m16n8k32 differs from its documented layout");
    }
    if (!tc_probe<true>()) {
        tc_stop(TC_EXIT_MISMATCH, "self-test", "mma.sp.m16n8k64 differs from its documented layout");
    }
}

/* "device": …, "compute": …, "driver": …, "runtime": … of a JSON object; nulls on the host. */
inline void tc_print_device()
{
#if defined(__CUDACC__)
    cudaDeviceProp device;
    int driver = 0, runtime = 0;
    tc_cuda(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    tc_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    tc_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    printf("\"device\": ");
    tc_print_string(device.name);
    printf(", \"compute\": \"%d.%d\", \"driver\": %d, \"runtime\": %d", device.major, device.minor, driver, runtime);
#else
    printf("\"device\": null, \"compute\": null, \"driver\": null, \"runtime\": null");
#endif
}

#endif /* TC_GPU_DEVICE_H */
