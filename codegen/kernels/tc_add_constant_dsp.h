/* SPDX-License-Identifier: MIT-0
 *
 * Add and Sub of an int8 tensor and a constant of one value per channel (a bias that the model adds by itself) on
 * Armv7E-M: the tensor's operand rescaled by a table of 256 words, indexed by the byte as unsigned, plus the channel's
 * rescaled constant. Shapes: rows of `elements` values, channels last.
 */
#ifndef TC_ADD_CONSTANT_DSP_H
#define TC_ADD_CONSTANT_DSP_H

#include "tc_requantize_dsp.h"

typedef struct {
    int32_t elements; /* of a row, a multiple of channels */
    int32_t channels;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;         /* 0, or 15 to 22: see tc_requantize_dsp.h */
    int32_t multiplier;   /* of the output, for the form */
    int32_t addend;       /* of the output, for the form */
    const int32_t *table; /* 256 words */
    const int32_t *terms; /* a word a channel */
} tc_add_constant_s8_dsp_params;

/* in_rows: n_rows rows of the tensor; an output row may be its row. scratch unused. */
TC_INLINE void tc_add_constant_s8_dsp(const tc_add_constant_s8_dsp_params *p, const int8_t *const *in_rows,
                                      int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        for (int32_t i = 0; i < p->elements; i += p->channels) {
            const int8_t *in = in_rows[y] + i;
            int8_t *out = out_rows[y] + i;
            TC_UNROLL(8)
            for (int32_t c = 0; c < p->channels; c++) {
                const int32_t sum = tc_add_wrap(p->table[(uint8_t)in[c]], p->terms[c]);
                out[c] = tc_requantize_dsp(p->form, sum, p->multiplier, p->addend, p->output_zero_point);
            }
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->elements, p->activation_min, p->activation_max);
}

#endif
