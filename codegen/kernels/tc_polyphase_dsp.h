/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D 3x3 with stride 2, int8, by Winograd's F(4x4, 2x2) over the four phases of the image, in integers, on
 * Armv7E-M: 81 products of channels instead of 144 for 4x4 outputs. Shapes: input rows [input_width][input_channels],
 * output rows [output_width][output_channels]; 4 output rows at a time, 8 columns (two tiles) of them at once.
 *
 * Along each axis the even inputs meet kernel taps 0 and 2, the odd ones tap 1: y[o] = w0 x[2o] + w2 x[2o+2] + w1
 * x[2o+1]. Both sums have the same output transform, so their products are added before it. A tile has 5x5 positions;
 * row and column 4 exist for the even phase only. As in tc_winograd_dsp.h words carry two channels, LIFT keeps the low
 * ones from borrowing, and Z = A' M A = 36 * y exactly; the 9 is in the multiplier, the 4 in the shift.
 *
 * Stream, per pair of output channels: the positions (0..3, 0..3) column by column, (4, 0..3), (0..3, 4), (4, 4):
 * initial sums o o o+1 o+1, then for each phase that the position has, even-even, even-odd, odd-even, odd-odd, the
 * weights as in tc_gemm_dsp.h; then for each of the two channels multiplier, addend, sign mask, gap.
 */
#ifndef TC_POLYPHASE_DSP_H
#define TC_POLYPHASE_DSP_H

#include "tc_polyphase_asm_dsp.h"

#include <stddef.h>

typedef struct {
    int32_t input_width;
    int32_t input_channels;  /* a multiple of 4, at most 32 */
    int32_t output_width;    /* >= 8 */
    int32_t output_channels; /* even */
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t shift;     /* outputs are shifted right by shift + 2: 6 to 12 */
    int32_t is_signed; /* 1: the sign mask is subtracted from negative results (ties away from zero) */
    const int32_t *stream;
} tc_conv2d_polyphase_s8_dsp_params;

#define TC_POLYPHASE_LIFT 5120
#define TC_POLYPHASE_COLUMNS 17
#define TC_POLYPHASE_ROWS 9
#define TC_POLYPHASE_SUM_WORDS 100
#define TC_POLYPHASE_COLUMN_WORDS 306
#define TC_POLYPHASE_PAIR_WORDS(channels) (100 + 81 * (channels))

#if !TC_HAS_DSP
/* B' of five words (four when there is no fifth output), `stride` apart on both sides. */
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
        const int32_t *from = columns + 153 * half + 4 * tile;
        const int32_t at = 2 * tile + half;
        tc_polyphase_forward(from, TC_POLYPHASE_LIFT, v + at, stride, fifth + at);
        tc_polyphase_forward(from + 9, TC_POLYPHASE_LIFT, v + channels + at, stride, NULL);
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
    tc_polyphase_odd_asm(odd, columns + 5 * TC_POLYPHASE_COLUMNS, -bytes, step);
#else
    for (int32_t x = 0; x < count; x++) {
        for (int32_t half = 0; half < 2; half++) {
            int32_t *column = columns + 153 * half + x;
            int32_t a[TC_POLYPHASE_ROWS];
            for (int32_t i = 0; i < TC_POLYPHASE_ROWS; i++) {
                const int8_t *bytes = rows[i] + at + x * step + half;
                a[(i & 1 ? 5 : 0) + i / 2] = bytes[0] + 128 + (bytes[2] + 128) * 65536;
            }
            tc_polyphase_forward(a, 0, column, TC_POLYPHASE_COLUMNS, column + 4 * TC_POLYPHASE_COLUMNS);
            tc_polyphase_forward(a + 5, 0, column + 5 * TC_POLYPHASE_COLUMNS, TC_POLYPHASE_COLUMNS, NULL);
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
        tc_polyphase_row(even + 5 * TC_POLYPHASE_COLUMNS, channels, 16 * channels, v + (4 * i + 2) * channels,
                         fifth + channels);
    }
    tc_polyphase_row(columns + 4 * TC_POLYPHASE_COLUMNS, channels, 2 * channels, v + 64 * channels, v + 80 * channels);
#endif
}

/* Sums of a pair of output channels at `count` positions of `steps` groups of 4 values. */
TC_INLINE void tc_polyphase_sums(const int32_t *v, const int32_t *stream, int32_t steps, int32_t count, int32_t *sums)
{
    const int32_t *end = sums + 2 * count;
#if TC_HAS_DSP
    switch (steps) {
        TC_POLYPHASE_FOR_STEPS(TC_POLYPHASE_CASE_SUMS)
    default:
        break;
    }
#else
    for (; sums != end; sums += 2) {
        int32_t acc[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t k = 0; k < steps; k++, v += 4, stream += 4) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t *lanes = v + i % 2 * 2;
                const int32_t *weights = stream + i / 2 * 2;
                acc[i] = tc_smlad(lanes[1], weights[1], tc_smlad(lanes[0], weights[0], acc[i]));
            }
        }
        sums[0] = acc[0];
        sums[1] = acc[1];
        sums[50] = acc[2];
        sums[51] = acc[3];
    }
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
TC_INLINE void tc_polyphase_output(const tc_conv2d_polyphase_s8_dsp_params *p, const int32_t *sums,
                                   const int32_t *constants, int8_t *const *rows, int32_t offset)
{
#if TC_HAS_DSP
    switch (p->shift) {
        TC_POLYPHASE_FOR_SHIFTS(TC_POLYPHASE_CASE_OUTPUT)
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
                const int32_t sign = p->is_signed && (int32_t)z[x] < 0 ? constants[2] : 0;
                const int32_t r = tc_smmla((int32_t)z[x], constants[0], constants[1]) - sign;
                rows[row][offset + (4 * tile + x) * p->output_channels] = (int8_t)tc_saturate8(r >> (p->shift + 2));
            }
        }
    }
#endif
}

/* Two tiles of all input channels, whose first output column is x, as V. */
TC_INLINE void tc_polyphase_input(const tc_conv2d_polyphase_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                  int32_t *columns, int32_t *v)
{
    const int32_t first = 2 * x - p->pad_left;
    const int32_t left = first < 0 ? -first : 0;
    const int32_t over = first + TC_POLYPHASE_COLUMNS - p->input_width;
    const int32_t stop = TC_POLYPHASE_COLUMNS - (over > 0 ? over : 0);
    const int8_t z = (int8_t)p->input_zero_point;
    const int8_t pixel[4] = {z, z, z, z};
    const int8_t *const padding[TC_POLYPHASE_ROWS] = {pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel};
    for (int32_t i = 0; i < TC_POLYPHASE_COLUMNS; i++) {
        if (i < left || i >= stop) {
            tc_polyphase_columns(padding, 0, 1, 4, columns + (i & 1 ? 9 : 0) + i / 2);
        }
    }
    for (int32_t c = 0; c < p->input_channels; c += 4) {
        for (int32_t odd = 0; odd < 2; odd++) {
            const int32_t begin = left + ((left ^ odd) & 1);
            tc_polyphase_columns(rows, (first + begin) * p->input_channels + c, (stop - begin + 1) / 2,
                                 2 * p->input_channels, columns + (odd ? 9 : 0) + begin / 2);
        }
        tc_polyphase_rows(columns, p->input_channels, v + c);
    }
}

/* in_rows: 2 * n_rows + 1 rows, top first, padding rows filled with the zero point. scratch: 324 * input_channels +
 * 1624 bytes. */
TC_INLINE void tc_conv2d_polyphase_s8_dsp(const tc_conv2d_polyphase_s8_dsp_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    int32_t *columns = sums + TC_POLYPHASE_SUM_WORDS;
    int32_t *v = columns + TC_POLYPHASE_COLUMN_WORDS;
    for (int32_t y = 0; y < n_rows; y += 4) {
        /* Rows below the last one are computed from any input and overwritten by the first. */
        const int8_t *rows[TC_POLYPHASE_ROWS];
        int8_t *outs[4];
        for (int32_t i = 0; i < TC_POLYPHASE_ROWS; i++) {
            rows[i] = in_rows[2 * y + i < 2 * n_rows + 1 ? 2 * y + i : 2 * n_rows];
        }
        for (int32_t i = 0; i < 4; i++) {
            outs[i] = out_rows[y + i < n_rows ? y + i : y];
        }
        for (int32_t x = 0; x < p->output_width; x += 8) {
            /* The last pair of tiles ends with the row, making some columns twice. */
            const int32_t begin = x + 8 <= p->output_width ? x : p->output_width - 8;
            const int32_t *stream = p->stream;
            tc_polyphase_input(p, rows, begin, columns, v);
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                const int32_t offset = begin * p->output_channels + o;
                const int32_t *constants = stream + TC_POLYPHASE_PAIR_WORDS(p->input_channels);
                tc_polyphase_all_sums(v, stream, p->input_channels, sums);
                tc_polyphase_output(p, sums, constants, outs, offset);
                tc_polyphase_output(p, sums + 50, constants + 4, outs, offset + 1);
                stream = constants + 8;
            }
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        for (int32_t i = 0; i < n_rows; i++) {
            tc_clamp_row(out_rows[i], p->output_width * p->output_channels, p->activation_min, p->activation_max);
        }
    }
}

#endif
