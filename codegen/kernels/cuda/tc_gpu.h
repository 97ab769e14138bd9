/* SPDX-License-Identifier: MIT-0
 * What lets one source be CUDA and plain C++: qualifiers, and the microcontroller's arithmetic on the device.
 *
 * Compiled by nvcc it runs on a GPU. Compiled by any C++17 compiler the same loops run on the host, thread by thread,
 * with the tensor-core instructions replaced by their documented meaning: slow, but byte for byte the same.
 */
#ifndef TC_GPU_H
#define TC_GPU_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define TC_HD __host__ __device__ inline
/* The portable kernels are `static inline` C: this makes them callable from both sides, unchanged. */
#define inline inline __host__ __device__
#include "tc_layer_norm.h"
#include "tc_matmul.h"
#include "tc_softmax.h"
#undef inline
#else
#define TC_HD inline
#include "tc_layer_norm.h"
#include "tc_matmul.h"
#include "tc_softmax.h"
#endif

#if defined(__CUDA_ARCH__)
#define TC_UNROLL _Pragma("unroll")
#else
#define TC_UNROLL
#endif

TC_HD int32_t tc_div_up(int32_t a, int32_t b)
{
    return (a + b - 1) / b;
}

#endif /* TC_GPU_H */
