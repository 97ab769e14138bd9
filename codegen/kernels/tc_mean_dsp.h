/* SPDX-License-Identifier: MIT-0
 *
 * Mean over a whole image, int8, on Armv7E-M: 4 channels of a pixel at a time. Shapes: input rows [width][channels],
 * width <= 255, one output row [channels]; channels >= 4. The parameters are those of tc_running_mean.h.
 */
#ifndef TC_MEAN_DSP_H
#define TC_MEAN_DSP_H

#include "tc_lanes_dsp.h"
#include "tc_running_mean.h"

/* sums[4] += 4 channels of n_rows rows; the pixels are at most 255, as many as a lane holds. */
TC_INLINE void tc_mean_four(const int8_t *const *rows, int32_t n_rows, int32_t width, int32_t channels, int32_t channel,
                            int32_t *sums)
{
    int32_t even = 0;
    int32_t odd = 0;
    for (int32_t y = 0; y < n_rows; y++) {
        const int8_t *pixel = rows[y] + channel;
        TC_UNROLL(8)
        for (int32_t x = 0; x < width; x++, pixel += channels) {
            const uint32_t word = tc_load32(pixel);
            even = tc_add_even(even, word);
            odd = tc_add_odd(odd, word);
        }
    }
    sums[0] += tc_low_lane(even);
    sums[1] += tc_low_lane(odd);
    sums[2] += tc_high_lane(even);
    sums[3] += tc_high_lane(odd);
}

/* in_rows: all rows of the image; scratch unused. */
TC_INLINE void tc_mean_s8_dsp(const tc_running_mean_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    const int32_t height = p->count / p->width;
    const int32_t some = 255 / p->width;
    (void)n_rows;
    (void)scratch;
    for (int32_t c = 0; c < p->channels; c += 4) {
        /* The last 4 channels end with the pixel, making some means twice. */
        const int32_t at = c + 4 <= p->channels ? c : p->channels - 4;
        int32_t sums[4] = {0, 0, 0, 0};
        for (int32_t y = 0; y < height; y += some) {
            tc_mean_four(in_rows + y, y + some < height ? some : height - y, p->width, p->channels, at, sums);
        }
        for (int32_t j = 0; j < 4; j++) {
            out_rows[0][at + j] = tc_requantize_s8(sums[j] - p->input_sum, p->output_multiplier, p->output_shift,
                                                   p->output_zero_point, p->activation_min, p->activation_max);
        }
    }
}

#endif
