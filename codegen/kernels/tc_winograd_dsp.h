/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D 3x3 with stride 1, int8, by Winograd's F(4x4, 3x3) in integers, on Armv7E-M: 36 products of channels instead
 * of 144 for 4x4 outputs. Shapes: input rows [input_width][input_channels], at most 64 channels, output rows
 * [output_width][output_channels]; 4 output rows at a time, 8 columns (two tiles) of them at once.
 *
 * Input transform: V = B d B'. Weights: U = G g G' with the rows of G scaled to integers. Sums: one product of matrices
 * per position. Output transform: Z = A' M A = 9 * 2^k * y, where k is 6 5 4 4 / 5 4 3 3 / 4 3 2 2 / 4 3 2 2 over the
 * tile. Lanes, LIFT and stream are those of tc_tiles_dsp.h: 36 positions, column by column of the tile; per channel
 * multiplier, addends for k = 6 to 2, sign mask, gap.
 */
#ifndef TC_WINOGRAD_DSP_H
#define TC_WINOGRAD_DSP_H

#include "tc_winograd_asm_dsp.h"

#define TC_WINOGRAD_LIFT 13312
#define TC_WINOGRAD_ROWS_IN 6
#define TC_WINOGRAD_COLUMNS 10
#define TC_WINOGRAD_POSITIONS 36
#define TC_WINOGRAD_CONSTANTS 8
/* Scratch: sums of two channels and two tiles; columns after the first pass, for either half of 4 channels; V. */
#define TC_WINOGRAD_CHANNEL_SUMS (2 * TC_WINOGRAD_POSITIONS)
#define TC_WINOGRAD_HALF_WORDS (TC_WINOGRAD_ROWS_IN * TC_WINOGRAD_COLUMNS)

#if !TC_HAS_DSP
/* B' of six words, `stride` apart. */
TC_INLINE void tc_winograd_forward(const int32_t *a, int32_t lift, int32_t *out, int32_t stride)
{
    const int32_t a4 = a[4] + lift, a5 = a[5] + lift;
    out[0] = 4 * a[0] - 5 * a[2] + a4;
    out[stride] = a[3] + a4 - 4 * (a[1] + a[2]);
    out[2 * stride] = a4 - a[3] + 4 * (a[1] - a[2]);
    out[3 * stride] = a4 - a[2] + 2 * (a[3] - a[1]);
    out[4 * stride] = a4 - a[2] - 2 * (a[3] - a[1]);
    out[5 * stride] = 4 * a[1] - 5 * a[3] + a5;
}

/* A' of six sums, modulo 2^32, two words apart; results `stride` apart. */
TC_INLINE void tc_winograd_inverse(const uint32_t *m, uint32_t *z, int32_t stride)
{
    const uint32_t e = m[2] + m[4], f = m[2] - m[4];
    const uint32_t g = m[6] + m[8], h = m[6] - m[8];
    z[0] = m[0] + g + 4u * e;
    z[stride] = h + 2u * f;
    z[2 * stride] = e + g;
    z[3 * stride] = f + m[10] + 2u * h;
}
#endif

/* The first pass over `count` columns of 4 channels, the first `at` bytes into the rows. */
TC_INLINE void tc_winograd_columns(const int8_t *const *rows, int32_t at, int32_t count, int32_t channels,
                                   int32_t *columns)
{
    if (count <= 0) {
        return;
    }
#if TC_HAS_DSP
    const int32_t bytes = count * channels;
    const int32_t end = at + bytes;
    const int8_t *const ends[TC_WINOGRAD_ROWS_IN] = {rows[0] + end, rows[1] + end, rows[2] + end,
                                                     rows[3] + end, rows[4] + end, rows[5] + end};
    tc_winograd_columns_asm(ends, columns, -bytes, channels);
#else
    for (int32_t x = 0; x < count; x++) {
        for (int32_t half = 0; half < 2; half++) {
            int32_t a[TC_WINOGRAD_ROWS_IN];
            for (int32_t i = 0; i < TC_WINOGRAD_ROWS_IN; i++) {
                a[i] = tc_tiles_word(rows[i] + at + x * channels + half);
            }
            tc_winograd_forward(a, 0, columns + TC_WINOGRAD_HALF_WORDS * half + x, TC_WINOGRAD_COLUMNS);
        }
    }
#endif
}

/* The second pass over 4 channels. */
TC_INLINE void tc_winograd_rows(const int32_t *columns, int32_t channels, int32_t *v)
{
#if TC_HAS_DSP
    switch (channels) {
        TC_WINOGRAD_FOR_STEPS(TC_WINOGRAD_CASE_ROWS)
    default:
        break;
    }
#else
    for (int32_t i = 0; i < 4 * TC_WINOGRAD_ROWS_IN; i++) {
        const int32_t row = i / 4, tile = i / 2 % 2, half = i % 2;
        const int32_t *from = columns + TC_WINOGRAD_HALF_WORDS * half + TC_WINOGRAD_COLUMNS * row + 4 * tile;
        tc_winograd_forward(from, TC_WINOGRAD_LIFT, v + row * channels + 2 * tile + half,
                            TC_WINOGRAD_ROWS_IN * channels);
    }
#endif
}

/* Two tiles of all input channels, whose first output column is x, as V. */
TC_INLINE void tc_winograd_input(const tc_conv2d_tiles_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                 int32_t *columns, int32_t *v)
{
    const int32_t first = x - p->pad_left;
    const int32_t over = first + TC_WINOGRAD_COLUMNS - p->input_width;
    const int32_t left = first < 0 ? -first : 0;
    const int32_t right = over > 0 ? over : 0;
    const int32_t real = TC_WINOGRAD_COLUMNS - left - right;
    if (left + right > 0) {
        const int8_t z = (int8_t)p->input_zero_point;
        const int8_t pixel[4] = {z, z, z, z};
        const int8_t *const padding[TC_WINOGRAD_ROWS_IN] = {pixel, pixel, pixel, pixel, pixel, pixel};
        for (int32_t i = 0; i < TC_WINOGRAD_COLUMNS; i++) {
            if (i < left || i >= left + real) {
                tc_winograd_columns(padding, 0, 1, 4, columns + i);
            }
        }
    }
    for (int32_t c = 0; c < p->input_channels; c += 4) {
        tc_winograd_columns(rows, (first + left) * p->input_channels + c, real, p->input_channels, columns + left);
        tc_winograd_rows(columns, p->input_channels, v + c);
    }
}

/* All sums of a pair of output channels. */
TC_INLINE void tc_winograd_sums(const int32_t *v, const int32_t *stream, int32_t channels, int32_t *sums)
{
#if TC_HAS_DSP
    switch (channels) {
        TC_WINOGRAD_FOR_STEPS(TC_WINOGRAD_CASE_SUMS)
    default:
        break;
    }
#else
    tc_tiles_sums(v, stream, channels / 4, TC_WINOGRAD_POSITIONS, TC_WINOGRAD_CHANNEL_SUMS, sums);
#endif
}

/* Two tiles of one channel, `offset` bytes into the four output rows. */
TC_INLINE void tc_winograd_output(const tc_conv2d_tiles_s8_dsp_params *p, const int32_t *sums, const int32_t *constants,
                                  int8_t *const *rows, int32_t offset)
{
#if TC_HAS_DSP
    switch (p->shift) {
        TC_TILES_FOR_SHIFTS(TC_TILES_CASE_OUTPUT, tc_winograd_output)
    default:
        break;
    }
#else
    static const int8_t powers[4] = {3, 2, 1, 1};
    uint32_t m[TC_WINOGRAD_CHANNEL_SUMS], t[48], z[4];
    for (int32_t i = 0; i < TC_WINOGRAD_CHANNEL_SUMS; i++) {
        m[i] = (uint32_t)sums[i];
    }
    for (int32_t tile = 0; tile < 2; tile++) {
        for (int32_t column = 0; column < 6; column++) {
            tc_winograd_inverse(m + 12 * column + tile, t + 2 * column + tile, 12);
        }
        for (int32_t row = 3; row >= 0; row--) {
            tc_winograd_inverse(t + 12 * row + tile, z, 1);
            for (int32_t x = 0; x < 4; x++) {
                const int32_t k = powers[row] + powers[x];
                rows[row][offset + (4 * tile + x) * p->output_channels] =
                    tc_tiles_requantize(p, (int32_t)z[x], constants[0], constants[7 - k], constants[6], k);
            }
        }
    }
#endif
}

/* in_rows: n_rows + 2 rows, top first, padding rows filled with the zero point. scratch: 144 * input_channels + 1056
 * bytes. */
TC_INLINE void tc_conv2d_winograd_s8_dsp(const tc_conv2d_tiles_s8_dsp_params *p, const int8_t *const *in_rows,
                                         int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    int32_t *columns = sums + 2 * TC_WINOGRAD_CHANNEL_SUMS;
    int32_t *v = columns + 2 * TC_WINOGRAD_HALF_WORDS;
    const int32_t pair_words = TC_WINOGRAD_POSITIONS * (4 + p->input_channels);
    for (int32_t y = 0; y < n_rows; y += 4) {
        const int8_t *rows[TC_WINOGRAD_ROWS_IN];
        int8_t *outs[4];
        tc_tiles_rows_in(in_rows, n_rows + 2, y, TC_WINOGRAD_ROWS_IN, rows);
        tc_tiles_rows_out(out_rows, y, n_rows, outs);
        for (int32_t x = 0; x < p->output_width; x += 8) {
            const int32_t begin = tc_tiles_begin(x, p->output_width);
            const int32_t *stream = p->stream;
            tc_winograd_input(p, rows, begin, columns, v);
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                const int32_t offset = begin * p->output_channels + o;
                const int32_t *constants = stream + pair_words;
                tc_winograd_sums(v, stream, p->input_channels, sums);
                tc_winograd_output(p, sums, constants, outs, offset);
                tc_winograd_output(p, sums + TC_WINOGRAD_CHANNEL_SUMS, constants + TC_WINOGRAD_CONSTANTS, outs,
                                   offset + 1);
                stream = constants + 2 * TC_WINOGRAD_CONSTANTS;
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
