/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D 3x3 with stride 1, int8, by Winograd's F(4x4, 3x3) in integers, on Armv7E-M: 36 products of channels instead
 * of 144 for 4x4 outputs. Shapes: input rows [input_width][input_channels], output rows
 * [output_width][output_channels]; 4 output rows at a time, 8 columns (two tiles) of them at once.
 *
 * Input transform: V = B d B' on x + 128 (unsigned), two channels per word as high * 65536 + low, so that plain
 * additions with shifts act on both. LIFT makes every low part non-negative before the lanes are read apart; its effect
 * is removed by the initial values of the sums. Weights: U = G g G' with the rows of G scaled to integers. Sums: one
 * product of matrices per position. Output transform: Z = A' M A = 9 * 2^k * y exactly, where k is 6 5 4 4 / 5 4 3 3 /
 * 4 3 2 2 / 4 3 2 2 over the tile. The 9 is in the multiplier, the 2^k in the shift of the requantization; the packer
 * proves the bytes at every threshold.
 *
 * Stream, per pair of output channels: 36 positions, column by column of the tile, of initial sums o o o+1 o+1 and
 * weights as in tc_gemm_dsp.h; then for each of the two channels multiplier, addends for k = 6 to 2, sign mask, gap.
 */
#ifndef TC_WINOGRAD_DSP_H
#define TC_WINOGRAD_DSP_H

#include "tc_winograd_asm_dsp.h"

typedef struct {
    int32_t input_width;
    int32_t input_channels;  /* a multiple of 4, at most 64 */
    int32_t output_width;    /* >= 8 */
    int32_t output_channels; /* even */
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t shift;     /* outputs are shifted right by shift + k: 6 to 12 */
    int32_t is_signed; /* 1: the sign mask is subtracted from negative results (ties away from zero) */
    const int32_t *stream;
} tc_conv2d_winograd_s8_dsp_params;

#define TC_WINOGRAD_LIFT 13312
#define TC_WINOGRAD_COLUMNS 10
#define TC_WINOGRAD_SUM_WORDS 144
#define TC_WINOGRAD_COLUMN_WORDS 120

#if !TC_HAS_DSP
/* B' of six words, `stride` apart on both sides. */
TC_INLINE void tc_winograd_forward(const int32_t *a, int32_t stride, int32_t lift, int32_t *out, int32_t out_stride)
{
    const int32_t a0 = a[0], a1 = a[stride], a2 = a[2 * stride], a3 = a[3 * stride];
    const int32_t a4 = a[4 * stride] + lift, a5 = a[5 * stride] + lift;
    out[0] = 4 * a0 - 5 * a2 + a4;
    out[out_stride] = a3 + a4 - 4 * (a1 + a2);
    out[2 * out_stride] = a4 - a3 + 4 * (a1 - a2);
    out[3 * out_stride] = a4 - a2 + 2 * (a3 - a1);
    out[4 * out_stride] = a4 - a2 - 2 * (a3 - a1);
    out[5 * out_stride] = 4 * a1 - 5 * a3 + a5;
}

/* A' of six sums, modulo 2^32, `stride` apart on both sides. */
TC_INLINE void tc_winograd_inverse(const uint32_t *m, int32_t stride, uint32_t *z, int32_t z_stride)
{
    const uint32_t e = m[stride] + m[2 * stride], f = m[stride] - m[2 * stride];
    const uint32_t g = m[3 * stride] + m[4 * stride], h = m[3 * stride] - m[4 * stride];
    z[0] = m[0] + g + 4u * e;
    z[z_stride] = h + 2u * f;
    z[2 * z_stride] = e + g;
    z[3 * z_stride] = f + m[5 * stride] + 2u * h;
}

TC_INLINE int8_t tc_winograd_requantize(const tc_conv2d_winograd_s8_dsp_params *p, const int32_t *constants, int32_t z,
                                        int32_t k)
{
    const int32_t sign = p->is_signed && z < 0 ? constants[6] * (1 << (k - 2)) : 0;
    const int32_t r = tc_smmla(z, constants[0], constants[7 - k]) - sign;
    return (int8_t)tc_saturate8(r >> (p->shift + k));
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
    const int8_t *const ends[6] = {rows[0] + end, rows[1] + end, rows[2] + end,
                                   rows[3] + end, rows[4] + end, rows[5] + end};
    tc_winograd_columns_asm(ends, columns, -bytes, channels);
#else
    for (int32_t x = 0; x < count; x++) {
        for (int32_t half = 0; half < 2; half++) {
            int32_t a[6];
            for (int32_t i = 0; i < 6; i++) {
                const int8_t *bytes = rows[i] + at + x * channels + half;
                a[i] = bytes[0] + 128 + (bytes[2] + 128) * 65536;
            }
            tc_winograd_forward(a, 1, 0, columns + 60 * half + x, TC_WINOGRAD_COLUMNS);
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
    for (int32_t i = 0; i < 24; i++) {
        const int32_t row = i / 4, tile = i / 2 % 2, half = i % 2;
        const int32_t *from = columns + 60 * half + TC_WINOGRAD_COLUMNS * row + 4 * tile;
        tc_winograd_forward(from, 1, TC_WINOGRAD_LIFT, v + row * channels + 2 * tile + half, 6 * channels);
    }
#endif
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
    for (int32_t position = 0; position < 36; position++, sums += 2) {
        int32_t acc[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t k = 0; k < channels; k += 4, v += 4, stream += 4) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t *lanes = v + i % 2 * 2;
                const int32_t *weights = stream + i / 2 * 2;
                acc[i] = tc_smlad(lanes[1], weights[1], tc_smlad(lanes[0], weights[0], acc[i]));
            }
        }
        sums[0] = acc[0];
        sums[1] = acc[1];
        sums[72] = acc[2];
        sums[73] = acc[3];
    }
#endif
}

/* Two tiles of one channel, `offset` bytes into the four output rows. */
TC_INLINE void tc_winograd_output(const tc_conv2d_winograd_s8_dsp_params *p, const int32_t *sums,
                                  const int32_t *constants, int8_t *const *rows, int32_t offset)
{
#if TC_HAS_DSP
    switch (p->shift) {
        TC_WINOGRAD_FOR_SHIFTS(TC_WINOGRAD_CASE_OUTPUT)
    default:
        break;
    }
#else
    static const int8_t powers[4] = {3, 2, 1, 1};
    uint32_t m[72], t[48], z[4];
    for (int32_t i = 0; i < 72; i++) {
        m[i] = (uint32_t)sums[i];
    }
    for (int32_t tile = 0; tile < 2; tile++) {
        for (int32_t column = 0; column < 6; column++) {
            tc_winograd_inverse(m + 12 * column + tile, 2, t + 2 * column + tile, 12);
        }
        for (int32_t row = 3; row >= 0; row--) {
            tc_winograd_inverse(t + 12 * row + tile, 2, z, 1);
            for (int32_t x = 0; x < 4; x++) {
                int8_t *place = rows[row] + offset + (4 * tile + x) * p->output_channels;
                *place = tc_winograd_requantize(p, constants, (int32_t)z[x], powers[row] + powers[x]);
            }
        }
    }
#endif
}

/* Two tiles of all input channels, whose first output column is x, as V. */
TC_INLINE void tc_winograd_input(const tc_conv2d_winograd_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                 int32_t *columns, int32_t *v)
{
    const int32_t first = x - p->pad_left;
    const int32_t left = first < 0 ? -first : 0;
    const int32_t over = first + TC_WINOGRAD_COLUMNS - p->input_width;
    const int32_t right = over > 0 ? over : 0;
    const int32_t real = TC_WINOGRAD_COLUMNS - left - right;
    if (left + right > 0) {
        const int8_t z = (int8_t)p->input_zero_point;
        const int8_t pixel[4] = {z, z, z, z};
        const int8_t *const padding[6] = {pixel, pixel, pixel, pixel, pixel, pixel};
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

/* in_rows: n_rows + 2 rows, top first, padding rows filled with the zero point. scratch: 144 * input_channels + 1056
 * bytes. */
TC_INLINE void tc_conv2d_winograd_s8_dsp(const tc_conv2d_winograd_s8_dsp_params *p, const int8_t *const *in_rows,
                                         int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    int32_t *columns = sums + TC_WINOGRAD_SUM_WORDS;
    int32_t *v = columns + TC_WINOGRAD_COLUMN_WORDS;
    const int32_t pair_words = 36 * (4 + p->input_channels);
    for (int32_t y = 0; y < n_rows; y += 4) {
        /* Rows below the last one are computed from any input and overwritten by the first. */
        const int8_t *rows[6];
        int8_t *outs[4];
        for (int32_t i = 0; i < 6; i++) {
            rows[i] = in_rows[y + i < n_rows + 2 ? y + i : n_rows + 1];
        }
        for (int32_t i = 0; i < 4; i++) {
            outs[i] = out_rows[y + i < n_rows ? y + i : y];
        }
        for (int32_t x = 0; x < p->output_width; x += 8) {
            /* The last pair of tiles ends with the row, making some columns twice. */
            const int32_t begin = x + 8 <= p->output_width ? x : p->output_width - 8;
            const int32_t *stream = p->stream;
            tc_winograd_input(p, rows, begin, columns, v);
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                const int32_t offset = begin * p->output_channels + o;
                const int32_t *constants = stream + pair_words;
                tc_winograd_sums(v, stream, p->input_channels, sums);
                tc_winograd_output(p, sums, constants, outs, offset);
                tc_winograd_output(p, sums + 72, constants + 8, outs, offset + 1);
                stream = constants + 16;
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
