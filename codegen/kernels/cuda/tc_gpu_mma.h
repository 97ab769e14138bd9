/* SPDX-License-Identifier: MIT-0
 * The two tensor-core instructions, D = A · B + C with int8 operands and int32 sums, and where each lane's bytes are.
 *
 * dense    mma.m16n8k32      A 16x32, B 32x8
 * sparse   mma.sp.m16n8k64   A 16x64 of which every group of four along k keeps two, stored as 16x32; B 64x8
 *
 * Lane l = 4·group + t holds (PTX ISA, matrix fragments):
 *   A  four words: rows group, group+8, group, group+8; stored columns 4t.. of the first 16, then of the second 16
 *   B  two (dense) or four (sparse) words: column group, rows 16·i + 4t .. 16·i + 4t + 3
 *   C  c[i]: row group + 8·(i / 2), column 2t + i % 2
 *   metadata of a sparse A, 4 bits per group of four (two positions, the smaller one low): lane t = 0 has row group,
 *   k 0..31; t = 1 row group + 8, k 0..31; t = 2 and t = 3 the same rows, k 32..63
 * Sums wrap at 32 bits.
 */
#ifndef TC_GPU_MMA_H
#define TC_GPU_MMA_H

#include "tc_gpu.h"

enum { TC_MMA_M = 16, TC_MMA_N = 8, TC_DEPTH = 64, TC_LANES = 32 };

/* A slice of 16 output channels by 64 of the reduction, as one lane holds it: two dense operands, or one sparse. */
template <bool SPARSE> struct tc_slice_a {
    uint32_t words[SPARSE ? 4 : 8];
    uint32_t metadata;
};

/* The matching 64 x 8 of B: word i has rows 16·i + 4t. */
struct tc_slice_b {
    uint32_t words[4];
};

TC_HD int32_t tc_acc_row(int32_t lane, int32_t i)
{
    return (lane >> 2) + 8 * (i >> 1);
}

TC_HD int32_t tc_acc_column(int32_t lane, int32_t i)
{
    return 2 * (lane & 3) + (i & 1);
}

/* Row of B at which the four bytes of word i start. */
TC_HD int32_t tc_b_row(int32_t lane, int32_t i)
{
    return 16 * i + 4 * (lane & 3);
}

#if defined(__CUDACC__)
__device__ inline void tc_mma_dense(int32_t (&c)[4], const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void tc_mma_sparse(int32_t (&c)[4], const uint32_t *a, const uint32_t *b, uint32_t metadata)
{
    /* Positions are stored in rising order, which the newer spelling (PTX ISA 8.5) promises; ptxas expects the older
     * one to be slow on later GPUs. */
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 5)
#define TC_MMA_SP "mma.sp::ordered_metadata.sync.aligned"
#else
#define TC_MMA_SP "mma.sp.sync.aligned"
#endif
    asm volatile(TC_MMA_SP ".m16n8k64.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, "
                           "{%0,%1,%2,%3}, %12, 0x0;"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
                   "r"(metadata));
#undef TC_MMA_SP
}

/* c += A · B over 64 of the reduction; all lanes of the warp together. */
template <bool SPARSE> __device__ inline void tc_mma(int32_t (&c)[4], const tc_slice_a<SPARSE> &a, const tc_slice_b &b)
{
    if constexpr (SPARSE) {
        tc_mma_sparse(c, a.words, b.words, a.metadata);
    } else {
        tc_mma_dense(c, a.words, b.words);
        tc_mma_dense(c, a.words + 4, b.words + 2);
    }
}
#endif

inline int32_t tc_byte(uint32_t word, int32_t i)
{
    return (int8_t)(uint8_t)(word >> (8 * i));
}

/* B[k][n] of the 64 x 8 slice that the lanes hold. */
inline int32_t tc_b_element(const tc_slice_b *lanes, int32_t k, int32_t n)
{
    const tc_slice_b &holder = lanes[4 * n + k % 16 / 4];
    return tc_byte(holder.words[k / 16], k % 4);
}

/* Stored element (row, column of 32) of operand `half` of A. */
template <bool SPARSE> int32_t tc_a_element(const tc_slice_a<SPARSE> *lanes, int32_t half, int32_t row, int32_t column)
{
    const tc_slice_a<SPARSE> &holder = lanes[4 * (row % 8) + column % 16 / 4];
    return tc_byte(holder.words[4 * half + row / 8 + 2 * (column / 16)], column % 4);
}

/* Reduction index 0..63 of stored column 0..31 of a sparse A. */
inline int32_t tc_kept_column(const tc_slice_a<true> *lanes, int32_t row, int32_t column)
{
    const int32_t group = column / 2;
    const uint32_t word = lanes[4 * (row % 8) + row / 8 + 2 * (group / 8)].metadata;
    return 4 * group + (int32_t)(word >> (4 * (group % 8) + 2 * (column % 2)) & 3u);
}

/* What the instructions do, for all 32 lanes at once: c[lane] += A · B. The oracle of the self-test, too. */
template <bool SPARSE> void tc_mma_emulated(int32_t (*c)[4], const tc_slice_a<SPARSE> *a, const tc_slice_b *b)
{
    for (int32_t lane = 0; lane < TC_LANES; ++lane) {
        for (int32_t i = 0; i < 4; ++i) {
            const int32_t row = tc_acc_row(lane, i), n = tc_acc_column(lane, i);
            int32_t sum = c[lane][i];
            for (int32_t column = 0; column < (SPARSE ? 32 : 64); ++column) {
                int32_t k = column;
                if constexpr (SPARSE) {
                    k = tc_kept_column(a, row, column);
                }
                sum = tc_add_wrap(sum, tc_a_element(a, column / 32, row, column % 32) * tc_b_element(b, k, n));
            }
            c[lane][i] = sum;
        }
    }
}

#endif /* TC_GPU_MMA_H */
