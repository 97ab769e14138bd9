/* SPDX-License-Identifier: MIT-0
 *
 * Average and maximum pooling, int8, on Armv7E-M: 4 channels of a tap at a time. Padding taps don't count; input and
 * output share scale and zero point. Shapes: input rows [input_width][channels], output rows [output_width][channels];
 * channels >= 4, at most 255 taps in an averaged window.
 */
#ifndef TC_POOL_DSP_H
#define TC_POOL_DSP_H

#include "tc_lanes_dsp.h"

#include <stddef.h>

typedef struct {
    int32_t input_width;
    int32_t output_width;
    int32_t channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t pad_left;
    int32_t activation_min;
    int32_t activation_max;
} tc_average_pool_s8_dsp_params;

typedef tc_average_pool_s8_dsp_params tc_max_pool_s8_dsp_params;

/* The larger of each pair of signed bytes. */
TC_INLINE uint32_t tc_max_bytes(uint32_t a, uint32_t b)
{
#if TC_HAS_DSP
    uint32_t larger;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(larger) : "r"(a), "r"(b) : "cc");
    return larger;
#else
    uint32_t larger = 0;
    for (int32_t i = 0; i < 32; i += 8) {
        const int8_t x = (int8_t)((a >> i) & 0xffu);
        const int8_t y = (int8_t)((b >> i) & 0xffu);
        larger |= (uint32_t)(uint8_t)(x > y ? x : y) << i;
    }
    return larger;
#endif
}

/* Columns [first, last) of the window of output column x that are not padding. */
TC_INLINE int32_t tc_pool_first(const tc_average_pool_s8_dsp_params *p, int32_t x)
{
    const int32_t start = x * p->stride_width - p->pad_left;
    return start > 0 ? start : 0;
}

TC_INLINE int32_t tc_pool_last(const tc_average_pool_s8_dsp_params *p, int32_t x)
{
    const int32_t stop = x * p->stride_width - p->pad_left + p->kernel_width;
    return stop < p->input_width ? stop : p->input_width;
}

/* sum / count, half away from zero, within the activation range. */
TC_INLINE int8_t tc_pool_mean(const tc_average_pool_s8_dsp_params *p, int32_t sum, int32_t count)
{
    const int32_t half = sum > 0 ? count / 2 : -(count / 2);
    const int32_t mean = (sum + half) / count;
    return (int8_t)(mean < p->activation_min ? p->activation_min : mean > p->activation_max ? p->activation_max : mean);
}

/* Means of 4 channels over columns [first, last) of the rows that are not NULL. */
TC_INLINE void tc_average_pool_four(const tc_average_pool_s8_dsp_params *p, const int8_t *const *rows, int32_t first,
                                    int32_t last, int32_t channel, int8_t *out)
{
    int32_t even = 0;
    int32_t odd = 0;
    int32_t count = 0;
    for (int32_t i = 0; i < p->kernel_height; i++) {
        if (rows[i] != NULL) {
            const int8_t *tap = rows[i] + first * p->channels + channel;
            TC_UNROLL(8)
            for (int32_t j = first; j < last; j++, tap += p->channels) {
                const uint32_t word = tc_load32(tap);
                even = tc_add_even(even, word);
                odd = tc_add_odd(odd, word);
            }
            count += last - first;
        }
    }
    out[0] = tc_pool_mean(p, tc_low_lane(even), count);
    out[1] = tc_pool_mean(p, tc_low_lane(odd), count);
    out[2] = tc_pool_mean(p, tc_high_lane(even), count);
    out[3] = tc_pool_mean(p, tc_high_lane(odd), count);
}

/* Maxima of 4 channels over columns [first, last) of the rows that are not NULL. */
TC_INLINE void tc_max_pool_four(const tc_max_pool_s8_dsp_params *p, const int8_t *const *rows, int32_t first,
                                int32_t last, int32_t channel, int8_t *out)
{
    uint32_t largest = 0x80808080u;
    for (int32_t i = 0; i < p->kernel_height; i++) {
        if (rows[i] != NULL) {
            const int8_t *tap = rows[i] + first * p->channels + channel;
            TC_UNROLL(8)
            for (int32_t j = first; j < last; j++, tap += p->channels) {
                largest = tc_max_bytes(tc_load32(tap), largest);
            }
        }
    }
    tc_store32(out, largest);
    tc_clamp_rows(&out, 1, 4, p->activation_min, p->activation_max);
}

/* in_rows: (n_rows - 1) * stride_height + kernel_height rows, NULL for a row of padding; every window has a tap that is
 * not padding; scratch unused. The mean rounds half away from zero. */
TC_INLINE void tc_average_pool_s8_dsp(const tc_average_pool_s8_dsp_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        for (int32_t x = 0; x < p->output_width; x++) {
            for (int32_t c = 0; c < p->channels; c += 4) {
                /* The last 4 channels end with the pixel, making some means twice. */
                const int32_t at = c + 4 <= p->channels ? c : p->channels - 4;
                tc_average_pool_four(p, in_rows + y * p->stride_height, tc_pool_first(p, x), tc_pool_last(p, x), at,
                                     out_rows[y] + x * p->channels + at);
            }
        }
    }
}

/* Rows as for tc_average_pool_s8_dsp. */
TC_INLINE void tc_max_pool_s8_dsp(const tc_max_pool_s8_dsp_params *p, const int8_t *const *in_rows,
                                  int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        for (int32_t x = 0; x < p->output_width; x++) {
            for (int32_t c = 0; c < p->channels; c += 4) {
                const int32_t at = c + 4 <= p->channels ? c : p->channels - 4;
                tc_max_pool_four(p, in_rows + y * p->stride_height, tc_pool_first(p, x), tc_pool_last(p, x), at,
                                 out_rows[y] + x * p->channels + at);
            }
        }
    }
}

#endif
