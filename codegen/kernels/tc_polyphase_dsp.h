/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D 3x3 with stride 2, int8, by Winograd's F(4x4, 2x2) over the four phases of the image, in integers, on
 * Armv7E-M: 81 products of channels instead of 144 for 4x4 outputs. Shapes: input rows [input_width][input_channels],
 * at most 32 channels, output rows [output_width][output_channels]; 4 output rows at a time, 8 columns (two tiles) of
 * them at once.
 *
 * Along each axis the even inputs meet kernel taps 0 and 2, the odd ones tap 1: y[o] = w0 x[2o] + w2 x[2o+2] + w1
 * x[2o+1]. Both sums have the same output transform, so their products are added before it: Z = A' M A = 36 * y, which
 * is k = 2 everywhere. A tile has 5x5 positions; row and column 4 exist for the even phase only.
 *
 * Lanes, LIFT and stream are those of tc_tiles_dsp.h: the positions (0..3, 0..3) column by column, (4, 0..3), (0..3,
 * 4), (4, 4), each with the weights of the phases that it has, even-even, even-odd, odd-even, odd-odd; per channel
 * multiplier, addend, sign mask, gap.
 */
#ifndef TC_POLYPHASE_DSP_H
#define TC_POLYPHASE_DSP_H

#include "tc_polyphase_asm_dsp.h"

#define TC_POLYPHASE_LIFT 5120
#define TC_POLYPHASE_ROWS_IN 9
#define TC_POLYPHASE_COLUMNS 17
#define TC_POLYPHASE_EVEN 9 /* of the columns; the odd ones come behind them */
#define TC_POLYPHASE_POSITIONS 25
#define TC_POLYPHASE_PRODUCTS 81
#define TC_POLYPHASE_CONSTANTS 4
/* Scratch: sums of two channels and two tiles; columns after the first pass, even rows then odd ones, for either half
 * of 4 channels; V. */
#define TC_POLYPHASE_CHANNEL_SUMS (2 * TC_POLYPHASE_POSITIONS)
#define TC_POLYPHASE_HALF_WORDS (TC_POLYPHASE_ROWS_IN * TC_POLYPHASE_COLUMNS)
#define TC_POLYPHASE_ODD_WORDS (5 * TC_POLYPHASE_COLUMNS)

#if !TC_HAS_DSP
/* B' of five words (four when there is no fifth output), `stride` apart. */
TC_INLINE void tc_polyphase_forward(const int32_t *a, int32_t lift, int32_t *out, int32_t stride, int32_t *fifth)
{
    const int32_t a3 = a[3] + lift;
    out[0] = 2 * (a[0] - a[2]) + a3 - a[1];
    out[stride] = a3 - a[2] - 2 * a[1];
    out[2 * stride] = a3 + 2 * a[1] - 3 * a[2];
    out[3 * stride] = a3 - a[1];
    if (fifth) {
        *fifth = a[4] + 3 * lift - a[2] - 2 * (a3 - a[1]);
    }
}

/* A' of five sums, modulo 2^32. */
TC_INLINE void tc_polyphase_inverse(const uint32_t *m, uint32_t *z, int32_t stride)
{
    const uint32_t e = m[1] + m[2], f = m[1] - m[2];
    z[0] = m[0] + e + m[3];
    z[stride] = f + 2u * m[3];
    z[2 * stride] = e + 4u * m[3];
    z[3 * stride] = f + 8u * m[3] + m[4];
}

/* One row of T for both tiles and halves; positions `stride` apart, the fifth at `fifth`, odd columns C words on. */
TC_INLINE void tc_polyphase_row(const int32_t *columns, int32_t channels, int32_t stride, int32_t *v, int32_t *fifth)
{
    for (int32_t i = 0; i < 4; i++) {
        const int32_t tile = i & 1, half = i >> 1;
        const int32_t *from = columns + TC_POLYPHASE_HALF_WORDS * half + 4 * tile;
        const int32_t at = 2 * tile + half;
        tc_polyphase_forward(from, TC_POLYPHASE_LIFT, v + at, stride, fifth + at);
        tc_polyphase_forward(from + TC_POLYPHASE_EVEN, TC_POLYPHASE_LIFT, v + channels + at, stride, NULL);
    }
}
#endif

/* The first pass over `count` columns `step` bytes apart, the first `at` bytes into the rows: even rows 0, 2, .. 8,
 * then odd rows 1, 3, 5, 7. */
TC_INLINE void tc_polyphase_columns(const int8_t *const *rows, int32_t at, int32_t count, int32_t step,
                                    int32_t *columns)
{
    if (count <= 0) {
        return;
    }
#if TC_HAS_DSP
    const int32_t bytes = count * step;
    const int32_t end = at + bytes;
    const int8_t *const even[5] = {rows[0] + end, rows[2] + end, rows[4] + end, rows[6] + end, rows[8] + end};
    const int8_t *const odd[4] = {rows[1] + end, rows[3] + end, rows[5] + end, rows[7] + end};
    tc_polyphase_even_asm(even, columns, -bytes, step);
    tc_polyphase_odd_asm(odd, columns + TC_POLYPHASE_ODD_WORDS, -bytes, step);
#else
    for (int32_t x = 0; x < count; x++) {
        for (int32_t half = 0; half < 2; half++) {
            int32_t *column = columns + TC_POLYPHASE_HALF_WORDS * half + x;
            int32_t even[5], odd[4];
            for (int32_t i = 0; i < TC_POLYPHASE_ROWS_IN; i++) {
                *(i & 1 ? odd + i / 2 : even + i / 2) = tc_tiles_word(rows[i] + at + x * step + half);
            }
            tc_polyphase_forward(even, 0, column, TC_POLYPHASE_COLUMNS, column + 4 * TC_POLYPHASE_COLUMNS);
            tc_polyphase_forward(odd, 0, column + TC_POLYPHASE_ODD_WORDS, TC_POLYPHASE_COLUMNS, NULL);
        }
    }
#endif
}

/* The second pass over 4 channels. */
TC_INLINE void tc_polyphase_rows(const int32_t *columns, int32_t channels, int32_t *v)
{
#if TC_HAS_DSP
    switch (channels) {
        TC_POLYPHASE_FOR_GROUPS(TC_POLYPHASE_CASE_ROWS)
    default:
        break;
    }
#else
    for (int32_t i = 0; i < 4; i++) {
        const int32_t *even = columns + TC_POLYPHASE_COLUMNS * i;
        int32_t *fifth = v + (72 + 2 * i) * channels;
        tc_polyphase_row(even, channels, 16 * channels, v + 4 * i * channels, fifth);
        tc_polyphase_row(even + TC_POLYPHASE_ODD_WORDS, channels, 16 * channels, v + (4 * i + 2) * channels,
                         fifth + channels);
    }
    tc_polyphase_row(columns + 4 * TC_POLYPHASE_COLUMNS, channels, 2 * channels, v + 64 * channels, v + 80 * channels);
#endif
}

/* Two tiles of all input channels, whose first output column is x, as V. */
TC_INLINE void tc_polyphase_input(const tc_conv2d_tiles_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                  int32_t *columns, int32_t *v)
{
    const int32_t first = 2 * x - p->pad_left;
    const int32_t over = first + TC_POLYPHASE_COLUMNS - p->input_width;
    const int32_t left = first < 0 ? -first : 0;
    const int32_t stop = TC_POLYPHASE_COLUMNS - (over > 0 ? over : 0);
    const int8_t z = (int8_t)p->input_zero_point;
    const int8_t pixel[4] = {z, z, z, z};
    const int8_t *const padding[TC_POLYPHASE_ROWS_IN] = {pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel};
    for (int32_t i = 0; i < TC_POLYPHASE_COLUMNS; i++) {
        if (i < left || i >= stop) {
            tc_polyphase_columns(padding, 0, 1, 4, columns + (i & 1 ? TC_POLYPHASE_EVEN : 0) + i / 2);
        }
    }
    for (int32_t c = 0; c < p->input_channels; c += 4) {
        for (int32_t odd = 0; odd < 2; odd++) {
            const int32_t begin = left + ((left ^ odd) & 1);
            tc_polyphase_columns(rows, (first + begin) * p->input_channels + c, (stop - begin + 1) / 2,
                                 2 * p->input_channels, columns + (odd ? TC_POLYPHASE_EVEN : 0) + begin / 2);
        }
        tc_polyphase_rows(columns, p->input_channels, v + c);
    }
}

/* Sums of a pair of output channels at `count` positions of `groups` groups of 4 values. */
TC_INLINE void tc_polyphase_sums(const int32_t *v, const int32_t *stream, int32_t groups, int32_t count, int32_t *sums)
{
#if TC_HAS_DSP
    const int32_t *end = sums + 2 * count;
    switch (groups) {
        TC_POLYPHASE_FOR_STEPS(TC_POLYPHASE_CASE_SUMS)
    default:
        break;
    }
#else
    tc_tiles_sums(v, stream, groups, count, TC_POLYPHASE_CHANNEL_SUMS, sums);
#endif
}

/* All sums of a pair of output channels. */
TC_INLINE void tc_polyphase_all_sums(const int32_t *v, const int32_t *stream, int32_t channels, int32_t *sums)
{
    const int32_t groups = channels / 4;
    tc_polyphase_sums(v, stream, 4 * groups, 16, sums);
    stream += 16 * (4 + 4 * channels);
    tc_polyphase_sums(v + 64 * channels, stream, 2 * groups, 8, sums + 32);
    stream += 8 * (4 + 2 * channels);
    tc_polyphase_sums(v + 80 * channels, stream, groups, 1, sums + 48);
}

/* Two tiles of one channel, `offset` bytes into the four output rows. */
TC_INLINE void tc_polyphase_output(const tc_conv2d_tiles_s8_dsp_params *p, const int32_t *sums,
                                   const int32_t *constants, int8_t *const *rows, int32_t offset)
{
#if TC_HAS_DSP
    switch (p->shift) {
        TC_TILES_FOR_SHIFTS(TC_TILES_CASE_OUTPUT, tc_polyphase_output)
    default:
        break;
    }
#else
    for (int32_t tile = 0; tile < 2; tile++) {
        uint32_t m[5], t[20], z[4];
        for (int32_t column = 0; column < 5; column++) {
            for (int32_t row = 0; row < 5; row++) {
                const int32_t at = column == 4 ? 20 + row : row == 4 ? 16 + column : 4 * column + row;
                m[row] = (uint32_t)sums[2 * at + tile];
            }
            tc_polyphase_inverse(m, t + column, 5);
        }
        for (int32_t row = 3; row >= 0; row--) {
            tc_polyphase_inverse(t + 5 * row, z, 1);
            for (int32_t x = 0; x < 4; x++) {
                rows[row][offset + (4 * tile + x) * p->output_channels] =
                    tc_tiles_requantize(p, (int32_t)z[x], constants[0], constants[1], constants[2], 2);
            }
        }
    }
#endif
}

/* in_rows: 2 * n_rows + 1 rows, top first, padding rows filled with the zero point. scratch: 324 * input_channels +
 * 1624 bytes. */
TC_INLINE void tc_conv2d_polyphase_s8_dsp(const tc_conv2d_tiles_s8_dsp_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    int32_t *columns = sums + 2 * TC_POLYPHASE_CHANNEL_SUMS;
    int32_t *v = columns + 2 * TC_POLYPHASE_HALF_WORDS;
    const int32_t pair_words = 4 * TC_POLYPHASE_POSITIONS + TC_POLYPHASE_PRODUCTS * p->input_channels;
    for (int32_t y = 0; y < n_rows; y += 4) {
        const int8_t *rows[TC_POLYPHASE_ROWS_IN];
        int8_t *outs[4];
        tc_tiles_rows_in(in_rows, 2 * n_rows + 1, 2 * y, TC_POLYPHASE_ROWS_IN, rows);
        tc_tiles_rows_out(out_rows, y, n_rows, outs);
        for (int32_t x = 0; x < p->output_width; x += 8) {
            const int32_t begin = tc_tiles_begin(x, p->output_width);
            const int32_t *stream = p->stream;
            tc_polyphase_input(p, rows, begin, columns, v);
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                const int32_t offset = begin * p->output_channels + o;
                const int32_t *constants = stream + pair_words;
                tc_polyphase_all_sums(v, stream, p->input_channels, sums);
                tc_polyphase_output(p, sums, constants, outs, offset);
                tc_polyphase_output(p, sums + TC_POLYPHASE_CHANNEL_SUMS, constants + TC_POLYPHASE_CONSTANTS, outs,
                                    offset + 1);
                stream = constants + 2 * TC_POLYPHASE_CONSTANTS;
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
