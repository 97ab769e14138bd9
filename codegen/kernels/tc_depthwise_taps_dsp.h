/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution of any kernel, stride and dilation, int8, on Armv7E-M: two taps and 4 channels at a time.
 * Shapes: input rows [input_width][channels], output rows [output_width][channels]; channels >= 4, at most 50 taps.
 *
 * Parameters are those of tc_conv2d_dsp.h; `steps` is the number of tap pairs (an odd last tap is paired with itself,
 * of weight 0). Stream, per 4 channels: their biases; per pair a word of two weights for each channel; per channel
 * multiplier and addend. The last 4 channels end with the pixel, so some may be in two groups.
 */
#ifndef TC_DEPTHWISE_TAPS_DSP_H
#define TC_DEPTHWISE_TAPS_DSP_H

#include "tc_conv2d_dsp.h"

#define TC_TAPS_MAX 50

#if TC_HAS_DSP
/* clang-format off */
/* Sums of 4 channels, `channel` bytes into the taps: r4-r7, r8 r9 two taps' words, then lanes, r12 lr weights. */
TC_ASSEMBLY void tc_taps_sums_asm(TC_UNREAD const int8_t *const *taps, TC_UNREAD const int32_t *stream,
                                  TC_UNREAD int32_t channel, TC_UNREAD const int8_t *const *end, TC_UNREAD int32_t *sums)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldmia r1!, {r4-r7}\n"
        "1:\n"
        "ldrd r8, r9, [r0], #8\n"
        "ldr r8, [r8, r2]\n"
        "ldr r9, [r9, r2]\n"
        "ldmia r1!, {r12, lr}\n"
        "pkhbt r10, r8, r9, lsl #16\n"
        "pkhtb r11, r9, r8, asr #16\n"
        "sxtb16 r8, r10\n"
        "sxtb16 r9, r10, ror #8\n"
        "smlad r4, r8, r12, r4\n"
        "smlad r5, r9, lr, r5\n"
        "ldmia r1!, {r12, lr}\n"
        "sxtb16 r8, r11\n"
        "sxtb16 r9, r11, ror #8\n"
        "smlad r6, r8, r12, r6\n"
        "smlad r7, r9, lr, r7\n"
        "cmp r0, r3\n"
        "bne 1b\n"
        "ldr r12, [sp, #36]\n"
        "stm r12, {r4-r7}\n"
        "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}
/* clang-format on */
#endif

/* Where the taps of output column x begin; taps beside the row are `padding`. */
TC_INLINE void tc_taps_at(const tc_conv2d_s8_dsp_params *p, const int8_t *const *rows, int32_t x, const int8_t *padding,
                          const int8_t **taps)
{
    const int32_t first = x * p->stride_width - p->pad_left;
    for (int32_t i = 0; i < p->kernel_height; i++) {
        const int8_t *row = rows[i * p->dilation_height];
        TC_UNROLL(7)
        for (int32_t j = 0; j < p->kernel_width; j++) {
            const int32_t column = first + j * p->dilation_width;
            const int32_t inside = column >= 0 && column < p->input_width;
            *taps++ = inside ? row + column * p->input_channels : padding;
        }
    }
    *taps = taps[-1];
}

/* Sums of 4 channels, `channel` bytes into the taps. */
TC_INLINE void tc_taps_sums(const int8_t *const *taps, const int32_t *stream, int32_t channel, int32_t pairs,
                            int32_t *sums)
{
#if TC_HAS_DSP
    tc_taps_sums_asm(taps, stream, channel, taps + 2 * pairs, sums);
#else
    for (int32_t c = 0; c < 4; c++) {
        sums[c] = stream[c];
        for (int32_t i = 0; i < pairs; i++) {
            const int32_t lanes = tc_lanes(taps[2 * i][channel + c], taps[2 * i + 1][channel + c]);
            sums[c] = tc_smlad(lanes, stream[4 + 4 * i + c], sums[c]);
        }
    }
#endif
}

/* in_rows: (n_rows - 1) * stride_height + (kernel_height - 1) * dilation_height + 1 rows, top first, padding rows
 * filled with the zero point. scratch: input_channels bytes. */
TC_INLINE void tc_depthwise_taps_s8_dsp(const tc_conv2d_s8_dsp_params *p, const int8_t *const *in_rows,
                                        int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int8_t *padding = (int8_t *)scratch;
    for (int32_t c = 0; c < p->input_channels; c++) {
        padding[c] = (int8_t)p->input_zero_point;
    }
    for (int32_t y = 0; y < n_rows; y++) {
        for (int32_t x = 0; x < p->output_width; x++) {
            const int8_t *taps[TC_TAPS_MAX + 1];
            const int32_t *stream = p->stream;
            tc_taps_at(p, in_rows + y * p->stride_height, x, padding, taps);
            for (int32_t c = 0; c < p->output_channels; c += 4) {
                const int32_t at = c + 4 <= p->output_channels ? c : p->output_channels - 4;
                int8_t *out = out_rows[y] + x * p->output_channels + at;
                int32_t sums[4];
                tc_taps_sums(taps, stream, at, p->steps, sums);
                stream += 4 + 4 * p->steps;
                TC_UNROLL(4)
                for (int32_t j = 0; j < 4; j++, stream += 2) {
                    out[j] = tc_requantize_dsp(p->form, sums[j], stream[0], stream[1], p->output_zero_point);
                }
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->output_width * p->output_channels, p->activation_min, p->activation_max);
}

#endif
