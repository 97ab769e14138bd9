/* SPDX-License-Identifier: MIT-0
 *
 * Transposed Conv2D int8 on Armv7E-M. Outputs (y, x) whose y + pad_top is py modulo stride_height and whose x +
 * pad_left is px modulo stride_width are one phase: an ordinary convolution of the input by every stride-th tap. So the
 * windows of two input columns are gathered into 16-bit lanes once, then the matrix core makes their outputs of each
 * phase of the row: its window is the beginning of what was gathered. Shapes: input rows [input_width][input_channels],
 * output rows [output_width][output_channels], both int8.
 */
#ifndef TC_TRANSPOSE_CONV2D_DSP_H
#define TC_TRANSPOSE_CONV2D_DSP_H

#include "tc_conv2d_dsp.h"

typedef struct {
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;           /* see tc_requantize_dsp.h */
    int32_t unit_taps;      /* the taps of each phase are so many units of so many taps */
    int32_t steps;          /* groups of 4 values per round of the core */
    int32_t rounds;         /* of a unit, whose 4 * steps * rounds values are padded with zero weights */
    const int32_t *stream;  /* weights of phase after phase in the core's order, see tc_gemm_dsp.h */
    const int32_t *offsets; /* [stride_height][stride_width] words of the stream before each phase */
} tc_transpose_conv2d_s8_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 0)
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 1)
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 8)
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 10)
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 12)
TC_GEMM_FOR_SHORT(TC_GEMM_CHUNKED, 14)

#define TC_TRANSPOSE_CASES(form)                                \
    case form:                                                  \
        switch (steps) {                                        \
            TC_GEMM_FOR_SHORT(TC_GEMM_CASE_CHUNKED, form)       \
            TC_GEMM_FOR_LONG(TC_GEMM_CASE_CHUNKED, form)        \
        default:                                                \
            break;                                              \
        }                                                       \
        break;
/* clang-format on */
#endif

/* The matrix core with a number of rounds that is known at run time only: one core for all phases of a layer. */
TC_INLINE void tc_transpose_gemm_dsp(const tc_transpose_conv2d_s8_dsp_params *p, int32_t chunks, const int32_t *acts,
                                     const int32_t *stream, int8_t *out, int32_t delta, const int8_t *end)
{
    const int32_t zero_point = p->output_zero_point;
    const int32_t steps = p->steps;
#if TC_HAS_DSP
    switch (p->form) {
        TC_TRANSPOSE_CASES(0)
        TC_TRANSPOSE_CASES(1)
        TC_TRANSPOSE_CASES(8)
        TC_TRANSPOSE_CASES(10)
        TC_TRANSPOSE_CASES(12)
        TC_TRANSPOSE_CASES(14)
    default:
        break;
    }
#else
    tc_gemm_dsp(p->form, steps, chunks, acts, stream, out, delta, end, zero_point);
#endif
}

/* All channels of two outputs, `delta` bytes apart; with 0 the second is not written. An odd last channel goes through
 * `spill`, since the core writes pairs. */
TC_INLINE void tc_transpose_outputs_dsp(const tc_transpose_conv2d_s8_dsp_params *p, int32_t rounds, const int32_t *acts,
                                        const int32_t *stream, int8_t *out, int32_t delta, int8_t *spill)
{
    const int32_t even = p->output_channels & ~1;
    if (even > 0) {
        tc_transpose_gemm_dsp(p, rounds, acts, stream, out, delta, out + even);
    }
    if (p->output_channels > even) {
        const int32_t *last = stream + even / 2 * (8 + 4 * p->steps * rounds);
        tc_transpose_gemm_dsp(p, rounds, acts, last, spill, 2, spill + 2);
        out[delta + even] = spill[2];
        out[even] = spill[0];
    }
}

/* How many of `taps` taps belong to a phase. */
TC_INLINE int32_t tc_transpose_taps(int32_t taps, int32_t stride, int32_t phase)
{
    return taps > phase ? (taps - phase - 1) / stride + 1 : 0;
}

/* Windows of input columns a and b as lanes: for each of `columns` columns, from a and b to the left, its values in
 * `height` rows, from row y up. What lies beside the input is `zero`, a pixel of zero points. */
TC_INLINE void tc_transpose_gather_dsp(const tc_transpose_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                       int32_t y, int32_t height, int32_t a, int32_t b, int32_t columns,
                                       const int8_t *zero, int32_t *lanes)
{
    const int32_t groups = (p->input_channels + 3) / 4;
    const int32_t unused = p->steps * p->rounds - groups * p->unit_taps;
    int32_t left = p->unit_taps;
    for (int32_t j = 0; j < columns; j++) {
        for (int32_t i = 0; i < height; i++) {
            const int32_t is_row = y - i >= 0 && y - i < p->input_height;
            const int32_t is_a = is_row && a - j >= 0 && a - j < p->input_width;
            const int32_t is_b = is_row && b - j >= 0 && b - j < p->input_width;
            const int8_t *first = is_a ? in_rows[y - i] + (a - j) * p->input_channels : zero;
            const int8_t *second = is_b ? in_rows[y - i] + (b - j) * p->input_channels : zero;
            tc_conv2d_widen_pair_dsp(first, second, p->input_channels, lanes);
            lanes += 4 * groups;
            if (--left == 0) {
                left = p->unit_taps;
                lanes += 4 * unused;
            }
        }
    }
}

/* Outputs of all phases of one row over input columns a and b = a or a + 1; `height` rows of taps have been gathered.
 */
TC_INLINE void tc_transpose_phases_dsp(const tc_transpose_conv2d_s8_dsp_params *p, const int32_t *offsets,
                                       int32_t height, int32_t a, int32_t b, const int32_t *acts, int8_t *out,
                                       int8_t *spill)
{
    TC_UNROLL(1)
    for (int32_t phase = 0; phase < p->stride_width; phase++) {
        const int32_t x = a * p->stride_width + phase - p->pad_left;
        const int32_t is_pair = b > a && x + p->stride_width < p->output_width;
        const int32_t taps = height * tc_transpose_taps(p->kernel_width, p->stride_width, phase);
        const int32_t units = tc_max(1, taps / p->unit_taps);
        if (x >= 0 && x < p->output_width) {
            tc_transpose_outputs_dsp(p, units * p->rounds, acts, p->stream + offsets[phase],
                                     out + x * p->output_channels, is_pair ? p->stride_width * p->output_channels : 0,
                                     spill);
        }
    }
}

/* in_rows: all input rows; out_rows: all n_rows output rows. scratch: the largest window of two pixels as lanes, 4
 * bytes, and a pixel of the input, padded to 4 bytes. */
TC_INLINE void tc_transpose_conv2d_s8_dsp(const tc_transpose_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    const int32_t columns = tc_transpose_taps(p->kernel_width, p->stride_width, 0);
    const int32_t last = (p->output_width - 1 + p->pad_left) / p->stride_width;
    int8_t *spill = (int8_t *)scratch;
    int8_t *zero = spill + 4;
    int32_t *acts = (int32_t *)scratch + 1 + (p->input_channels + 3) / 4;
    tc_fill(zero, 0x01010101u * (uint8_t)p->input_zero_point, p->input_channels);
    for (int32_t r = 0; r < n_rows; r++) {
        const int32_t y = (r + p->pad_top) / p->stride_height;
        const int32_t phase = (r + p->pad_top) % p->stride_height;
        const int32_t height = tc_transpose_taps(p->kernel_height, p->stride_height, phase);
        const int32_t *offsets = p->offsets + phase * p->stride_width;
        /* The first column is alone where some of its phases lie in the cut on the left. */
        int32_t is_alone = p->pad_left % p->stride_width != 0;
        for (int32_t a = p->pad_left / p->stride_width; a <= last;) {
            const int32_t b = is_alone || a == last ? a : a + 1;
            tc_transpose_gather_dsp(p, in_rows, y, height, a, b, columns, zero, acts);
            tc_transpose_phases_dsp(p, offsets, height, a, b, acts, out_rows[r], spill);
            is_alone = 0;
            a = b + 1;
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
