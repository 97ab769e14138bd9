/* SPDX-License-Identifier: MIT-0
 * Convolution and fully connected as an implicit matrix product: output channels by pixels, reduced over kh·kw·c.
 *
 * The weights are operand A, packed beforehand into the order in which lanes hold them, so that they go from memory to
 * registers. The patches are operand B: a block gathers 64 of the reduction for each of its pixels into shared memory
 * while it multiplies the 64 before. Padding reads as the input's zero point, which the bias has folded in.
 *
 * Dimension letters: M output channels; P pixels of the batch; K = kh·kw·c in steps of 64.
 */
#ifndef TC_GPU_GEMM_H
#define TC_GPU_GEMM_H

#include "tc_gpu_mma.h"

typedef struct {
    int32_t rows;                                /* M >= 1 */
    int32_t depth_steps;                         /* ceil(K / 64) */
    int32_t height, width, channels;             /* input [h][w][c] */
    int32_t out_height, out_width;               /* output [oh][ow][M] */
    int32_t kernel_height, kernel_width;         /* taps */
    int32_t stride_height, stride_width;         /* >= 1 */
    int32_t dilation_height, dilation_width;     /* >= 1 */
    int32_t pad_top, pad_left;                   /* >= 0, in input rows and columns */
    int32_t input_zero_point, output_zero_point; /* -128..127 */
    int32_t activation_min, activation_max;      /* -128..127 */
    int32_t batch;                               /* samples */
    int32_t step_taps, step_channels;            /* 64 = step_taps * c + step_channels; set by the launch */
    const uint32_t *values;                      /* [row slice][depth step][operand][lane][4] */
    const uint32_t *metadata;                    /* [row slice][depth step][lane], sparse only */
    const int32_t *bias, *multiplier, *shift;    /* [M]; bias with the zero point's share */
    const int8_t *input;                         /* [batch][h][w][c] */
    int8_t *output;                              /* [batch][oh][ow][M] */
} tc_gemm;

/* A block of WARPS_M x WARPS_N warps, each with SLICES_M x SLICES_N accumulators of 16 x 8. */
template <int WARPS_M, int WARPS_N, int SLICES_M, int SLICES_N> struct tc_tile {
    static constexpr int warps_m = WARPS_M, warps_n = WARPS_N, slices_m = SLICES_M, slices_n = SLICES_N;
    static constexpr int m = WARPS_M * SLICES_M * TC_MMA_M;
    static constexpr int n = WARPS_N * SLICES_N * TC_MMA_N;
    static constexpr int threads = WARPS_M * WARPS_N * TC_LANES;
    static constexpr int chunks = n * (TC_DEPTH / 16) / threads; /* of 16 bytes, gathered by one thread per step */
    static constexpr int pitch = TC_DEPTH;                       /* bytes between pixels, in the order of tc_swizzle */
    static constexpr int out_pitch = m + 4;
    static constexpr int shared_bytes = 2 * n * pitch > n *out_pitch ? 2 * n * pitch : n * out_pitch;
    static_assert(n * (TC_DEPTH / 16) % threads == 0, "every thread gathers the same number of chunks");
    static_assert(threads % (TC_DEPTH / 16) == 0, "all chunks of a thread are at one place of the reduction");
};

typedef tc_tile<1, 4, 1, 2> tc_tile_16x64;
typedef tc_tile<2, 2, 2, 4> tc_tile_64x64;
typedef tc_tile<2, 4, 4, 4> tc_tile_128x128;

/* Where the 16 bytes number `chunk` of a pixel are in shared memory: places of neighbouring pixels are exchanged, so
 * that neither the stores of 16 bytes nor the loads of 4 use a bank twice. */
TC_HD int32_t tc_swizzle(int32_t pixel, int32_t chunk)
{
    return (chunk ^ (pixel >> 1 & 3)) * 16;
}

struct tc_chunk {
    uint32_t words[4];
};

/* Where a pixel's window starts; `data` is null for a pixel beyond the last. */
struct tc_pixel {
    const int8_t *data;
    int32_t y, x;
};

TC_HD int32_t tc_pixels(const tc_gemm &g)
{
    return g.batch * g.out_height * g.out_width;
}

TC_HD tc_pixel tc_locate(const tc_gemm &g, int32_t index)
{
    tc_pixel pixel = {NULL, 0, 0};
    if (index < tc_pixels(g)) {
        const int32_t per_sample = g.out_height * g.out_width;
        const int32_t sample = index / per_sample;
        const int32_t within = index - sample * per_sample;
        const int32_t row = within / g.out_width;
        pixel.data = g.input + (int64_t)sample * g.height * g.width * g.channels;
        pixel.y = row * g.stride_height - g.pad_top;
        pixel.x = (within - row * g.out_width) * g.stride_width - g.pad_left;
    }
    return pixel;
}

/* Where in the reduction: the tap and its channel. At or beyond the end ky is kernel_height or more. */
struct tc_place {
    int32_t ky, kx, channel;
};

TC_HD tc_place tc_start(const tc_gemm &g, int32_t k)
{
    const int32_t tap = k / g.channels;
    return {tap / g.kernel_width, tap % g.kernel_width, k % g.channels};
}

/* `taps` taps and `channels` channels further, channels below g.channels. A kernel is few columns wide: no division. */
TC_HD void tc_advance(const tc_gemm &g, tc_place &place, int32_t taps, int32_t channels)
{
    place.channel += channels;
    if (place.channel >= g.channels) {
        place.channel -= g.channels;
        ++taps;
    }
    for (place.kx += taps; place.kx >= g.kernel_width; ++place.ky) {
        place.kx -= g.kernel_width;
    }
}

/* The element of a pixel's patch at a place, or null where it is padding of the image. */
TC_HD const int8_t *tc_tap(const tc_gemm &g, const tc_pixel &pixel, const tc_place &place)
{
    const int32_t y = pixel.y + place.ky * g.dilation_height;
    const int32_t x = pixel.x + place.kx * g.dilation_width;
    if (y < 0 || y >= g.height || x < 0 || x >= g.width) {
        return NULL;
    }
    return pixel.data + ((int64_t)y * g.width + x) * g.channels + place.channel;
}

/* 16 bytes of a pixel's patch from a place on; VECTOR (16, 4 or 1) divides the channels. Bytes beyond the reduction are
 * 0: their weights are 0 too. */
template <int VECTOR> TC_HD tc_chunk tc_gather(const tc_gemm &g, const tc_pixel &pixel, tc_place place)
{
    const uint32_t padding = 0x01010101u * (uint32_t)(uint8_t)g.input_zero_point;
    tc_chunk chunk = {{0, 0, 0, 0}};
    if (pixel.data == NULL || place.ky >= g.kernel_height) {
        return chunk;
    }
    if constexpr (VECTOR == 16) {
        const int8_t *from = tc_tap(g, pixel, place);
        if (from == NULL) {
            chunk = tc_chunk{{padding, padding, padding, padding}};
        } else {
            memcpy(&chunk, __builtin_assume_aligned(from, 16), sizeof chunk);
        }
    } else {
        TC_UNROLL
        for (int32_t i = 0; i < 16; i += VECTOR) {
            if (place.ky < g.kernel_height) {
                const int8_t *from = tc_tap(g, pixel, place);
                uint32_t word = VECTOR == 4 ? padding : padding & 0xFFu;
                if (from != NULL && VECTOR == 4) {
                    memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
                } else if (from != NULL) {
                    word = (uint8_t)*from;
                }
                chunk.words[i / 4] |= word << (8 * (i % 4));
                tc_advance(g, place, 0, VECTOR);
            }
        }
    }
    return chunk;
}

/* The pixels of a thread's chunks of B, and where in the reduction all of them are: chunk j is 16 bytes of one pixel.
 */
template <class TILE> struct tc_sources {
    tc_pixel pixels[TILE::chunks];
    tc_place place;
};

template <class TILE> TC_HD void tc_gemm_locate(const tc_gemm &g, int32_t block, int32_t thread, tc_sources<TILE> &from)
{
    TC_UNROLL
    for (int32_t j = 0; j < TILE::chunks; ++j) {
        from.pixels[j] = tc_locate(g, block * TILE::n + (thread + j * TILE::threads) / 4);
    }
    from.place = tc_start(g, thread % 4 * 16);
}

/* Phase 1 of a depth step: a thread's chunks of B; steps are taken in turn. */
template <class TILE, int VECTOR>
TC_HD void tc_gemm_gather(const tc_gemm &g, tc_sources<TILE> &from, tc_chunk (&chunks)[TILE::chunks])
{
    TC_UNROLL
    for (int32_t j = 0; j < TILE::chunks; ++j) {
        chunks[j] = tc_gather<VECTOR>(g, from.pixels[j], from.place);
    }
    tc_advance(g, from.place, g.step_taps, g.step_channels);
}

/* Phase 2: the chunks into one of the two buffers. */
template <class TILE>
TC_HD void tc_gemm_store(int32_t thread, int32_t step, const tc_chunk (&chunks)[TILE::chunks], uint8_t *shared)
{
    TC_UNROLL
    for (int32_t j = 0; j < TILE::chunks; ++j) {
        const int32_t index = thread + j * TILE::threads;
        uint8_t *to = shared + (step % 2 * TILE::n + index / 4) * TILE::pitch + tc_swizzle(index / 4, index % 4);
        memcpy(__builtin_assume_aligned(to, 16), &chunks[j], sizeof chunks[j]);
    }
}

/* Phase 3: a lane's operands. `slice` counts 16 output channels from the first one of the matrix. */
template <bool SPARSE> TC_HD tc_slice_a<SPARSE> tc_load_a(const tc_gemm &g, int32_t slice, int32_t step, int32_t lane)
{
    constexpr int32_t operands = SPARSE ? 1 : 2;
    const int64_t at = (int64_t)slice * g.depth_steps + step;
    tc_slice_a<SPARSE> a;
    TC_UNROLL
    for (int32_t i = 0; i < operands; ++i) {
        memcpy(a.words + 4 * i, __builtin_assume_aligned(g.values + ((at * operands + i) * TC_LANES + lane) * 4, 16),
               16);
    }
    a.metadata = SPARSE ? g.metadata[at * TC_LANES + lane] : 0;
    return a;
}

/* `column` is the lane's pixel, lane / 4 after a multiple of 8. */
TC_HD tc_slice_b tc_load_b(const uint8_t *column, int32_t lane)
{
    tc_slice_b b;
    TC_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
        const uint8_t *from = column + tc_swizzle(lane / 4, i) + tc_b_row(lane, i) % 16;
        memcpy(&b.words[i], __builtin_assume_aligned(from, 4), 4);
    }
    return b;
}

/* Phase 4: a lane's sums to int8, into the staging tile [pixel][channel]. */
template <class TILE>
TC_HD void tc_gemm_requantize(const tc_gemm &g, int32_t row_block, int32_t warp, int32_t lane,
                              const int32_t (&acc)[TILE::slices_m][TILE::slices_n][4], uint8_t *shared)
{
    const int32_t first_row = warp / TILE::warps_n * TILE::slices_m * TC_MMA_M;
    const int32_t first_column = warp % TILE::warps_n * TILE::slices_n * TC_MMA_N;
    TC_UNROLL
    for (int32_t s = 0; s < TILE::slices_m; ++s) {
        TC_UNROLL
        for (int32_t i = 0; i < 4; ++i) {
            const int32_t local = first_row + s * TC_MMA_M + tc_acc_row(lane, i);
            const int32_t row = row_block * TILE::m + local;
            if (row < g.rows) {
                const int32_t bias = g.bias[row], multiplier = g.multiplier[row], shift = g.shift[row];
                TC_UNROLL
                for (int32_t t = 0; t < TILE::slices_n; ++t) {
                    const int32_t column = first_column + t * TC_MMA_N + tc_acc_column(lane, i);
                    shared[column * TILE::out_pitch + local] =
                        (uint8_t)tc_requantize_s8(tc_add_wrap(acc[s][t][i], bias), multiplier, shift,
                                                  g.output_zero_point, g.activation_min, g.activation_max);
                }
            }
        }
    }
}

/* Phase 5: the staging tile to memory, channels of a pixel side by side. */
template <class TILE>
TC_HD void tc_gemm_write(const tc_gemm &g, int32_t row_block, int32_t block, int32_t thread, const uint8_t *shared)
{
    const int32_t width = g.rows % 4 == 0 ? 4 : 1;
    const int32_t per_pixel = TILE::m / width;
    for (int32_t index = thread; index < TILE::n * per_pixel; index += TILE::threads) {
        const int32_t column = index / per_pixel;
        const int32_t local = index % per_pixel * width;
        const int32_t row = row_block * TILE::m + local;
        const int32_t pixel = block * TILE::n + column;
        if (row < g.rows && pixel < tc_pixels(g)) {
            int8_t *to = g.output + (int64_t)pixel * g.rows + row;
            const uint8_t *from = shared + column * TILE::out_pitch + local;
            if (width == 4) {
                memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), 4);
            } else {
                *to = (int8_t)*from;
            }
        }
    }
}

#if defined(__CUDACC__)
/* grid (blocks of pixels, blocks of output channels), TILE::threads threads. */
template <class TILE, bool SPARSE, int VECTOR>
__global__ void __launch_bounds__(TILE::threads) tc_gemm_kernel(const tc_gemm g)
{
    __shared__ __align__(16) uint8_t shared[TILE::shared_bytes];
    const int32_t thread = (int32_t)threadIdx.x, warp = thread / TC_LANES, lane = thread % TC_LANES;
    const int32_t block = (int32_t)blockIdx.x, row_block = (int32_t)blockIdx.y;
    const int32_t slice = row_block * (TILE::m / TC_MMA_M) + warp / TILE::warps_n * TILE::slices_m;
    const int32_t first_column = warp % TILE::warps_n * TILE::slices_n * TC_MMA_N + lane / 4;
    int32_t acc[TILE::slices_m][TILE::slices_n][4] = {};
    tc_sources<TILE> from;
    tc_chunk chunks[TILE::chunks];
    tc_gemm_locate<TILE>(g, block, thread, from);
    tc_gemm_gather<TILE, VECTOR>(g, from, chunks);
    tc_gemm_store<TILE>(thread, 0, chunks, shared);
    __syncthreads();
    for (int32_t step = 0; step < g.depth_steps; ++step) {
        const bool has_next = step + 1 < g.depth_steps;
        if (has_next) {
            tc_gemm_gather<TILE, VECTOR>(g, from, chunks);
        }
        tc_slice_b b[TILE::slices_n];
#pragma unroll
        for (int32_t t = 0; t < TILE::slices_n; ++t) {
            b[t] = tc_load_b(shared + (step % 2 * TILE::n + first_column + t * TC_MMA_N) * TILE::pitch, lane);
        }
#pragma unroll
        for (int32_t s = 0; s < TILE::slices_m; ++s) {
            const tc_slice_a<SPARSE> a = tc_load_a<SPARSE>(g, slice + s, step, lane);
#pragma unroll
            for (int32_t t = 0; t < TILE::slices_n; ++t) {
                tc_mma(acc[s][t], a, b[t]);
            }
        }
        if (has_next) {
            tc_gemm_store<TILE>(thread, step + 1, chunks, shared);
        }
        __syncthreads();
    }
    tc_gemm_requantize<TILE>(g, row_block, warp, lane, acc, shared);
    __syncthreads();
    tc_gemm_write<TILE>(g, row_block, block, thread, shared);
}
#endif

/* One warp's depth step on the host: the loads of all its lanes, then the instruction. */
template <class TILE, bool SPARSE>
void tc_gemm_warp_emulated(const tc_gemm &g, int32_t row_block, int32_t warp, int32_t step, const uint8_t *shared,
                           int32_t (*acc)[TILE::slices_m][TILE::slices_n][4])
{
    const int32_t slice = row_block * (TILE::m / TC_MMA_M) + warp / TILE::warps_n * TILE::slices_m;
    for (int32_t s = 0; s < TILE::slices_m; ++s) {
        for (int32_t t = 0; t < TILE::slices_n; ++t) {
            tc_slice_a<SPARSE> a[TC_LANES];
            tc_slice_b b[TC_LANES];
            int32_t c[TC_LANES][4];
            for (int32_t lane = 0; lane < TC_LANES; ++lane) {
                const int32_t column = (warp % TILE::warps_n * TILE::slices_n + t) * TC_MMA_N + lane / 4;
                a[lane] = tc_load_a<SPARSE>(g, slice + s, step, lane);
                b[lane] = tc_load_b(shared + (step % 2 * TILE::n + column) * TILE::pitch, lane);
                memcpy(c[lane], acc[lane][s][t], sizeof c[lane]);
            }
            tc_mma_emulated<SPARSE>(c, a, b);
            for (int32_t lane = 0; lane < TC_LANES; ++lane) {
                memcpy(acc[lane][s][t], c[lane], sizeof c[lane]);
            }
        }
    }
}

/* The block of the kernel above, thread by thread, phase by phase. */
template <class TILE, bool SPARSE, int VECTOR>
void tc_gemm_block_emulated(const tc_gemm &g, int32_t block, int32_t row_block)
{
    alignas(16) static uint8_t shared[TILE::shared_bytes];
    static int32_t acc[TILE::threads][TILE::slices_m][TILE::slices_n][4];
    static tc_sources<TILE> from[TILE::threads];
    memset(acc, 0, sizeof acc);
    for (int32_t thread = 0; thread < TILE::threads; ++thread) {
        tc_gemm_locate<TILE>(g, block, thread, from[thread]);
    }
    for (int32_t step = 0; step < g.depth_steps; ++step) {
        for (int32_t thread = 0; thread < TILE::threads; ++thread) {
            tc_chunk chunks[TILE::chunks];
            tc_gemm_gather<TILE, VECTOR>(g, from[thread], chunks);
            tc_gemm_store<TILE>(thread, step, chunks, shared);
        }
        for (int32_t warp = 0; warp < TILE::threads / TC_LANES; ++warp) {
            tc_gemm_warp_emulated<TILE, SPARSE>(g, row_block, warp, step, shared, acc + warp * TC_LANES);
        }
    }
    for (int32_t thread = 0; thread < TILE::threads; ++thread) {
        tc_gemm_requantize<TILE>(g, row_block, thread / TC_LANES, thread % TC_LANES, acc[thread], shared);
    }
    for (int32_t thread = 0; thread < TILE::threads; ++thread) {
        tc_gemm_write<TILE>(g, row_block, block, thread, shared);
    }
}

/* Pixels of one launch: their numbers, rounded up to whole tiles, stay below 2^31. */
#if !defined(TC_GEMM_MOST_PIXELS)
#define TC_GEMM_MOST_PIXELS (1 << 30)
#endif

/* Runs one layer, in several launches where the batch has too many pixels for one. The packed weights have as many row
 * slices as whole tiles need. */
template <class TILE, bool SPARSE, int VECTOR> void tc_gemm_launch(const tc_gemm &whole)
{
    const int32_t per_sample = whole.out_height * whole.out_width;
    const int32_t samples = tc_max(TC_GEMM_MOST_PIXELS / per_sample, 1);
    const int32_t row_blocks = tc_div_up(whole.rows, TILE::m);
    for (int32_t first = 0; first < whole.batch; first += samples) {
        tc_gemm g = whole;
        g.batch = tc_min(samples, whole.batch - first);
        g.step_taps = TC_DEPTH / g.channels;
        g.step_channels = TC_DEPTH % g.channels;
        g.input += (int64_t)first * g.height * g.width * g.channels;
        g.output += (int64_t)first * per_sample * g.rows;
        const int32_t blocks = tc_div_up(tc_pixels(g), TILE::n);
#if defined(__CUDACC__)
        tc_gemm_kernel<TILE, SPARSE, VECTOR><<<dim3((unsigned)blocks, (unsigned)row_blocks), TILE::threads>>>(g);
#else
        for (int32_t row_block = 0; row_block < row_blocks; ++row_block) {
            for (int32_t block = 0; block < blocks; ++block) {
                tc_gemm_block_emulated<TILE, SPARSE, VECTOR>(g, block, row_block);
            }
        }
#endif
    }
}

#endif /* TC_GPU_GEMM_H */
