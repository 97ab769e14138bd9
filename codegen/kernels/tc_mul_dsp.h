/* SPDX-License-Identifier: MIT-0
 *
 * Product of two int8 tensors of one shape on Armv7E-M. The power of two of a shifted form (tc_requantize_dsp.h) goes
 * into the first operand.
 */
#ifndef TC_MUL_DSP_H
#define TC_MUL_DSP_H

#include "tc_requantize_dsp.h"

typedef struct {
    int32_t elements; /* of a row */
    int32_t a_zero_point;
    int32_t b_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t form;       /* see tc_requantize_dsp.h */
    int32_t scale;      /* power of two for the form, 1 for forms 0 and 1 */
    int32_t multiplier; /* of the output, for the form */
    int32_t addend;     /* of the output, for the form */
} tc_mul_s8_dsp_params;

/* in_rows: n_rows rows of the first operand, then n_rows of the second; an output row may be either operand's row.
 * scratch unused. */
TC_INLINE void tc_mul_s8_dsp(const tc_mul_s8_dsp_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t y = 0; y < n_rows; y++) {
        const int8_t *a = in_rows[y];
        const int8_t *b = in_rows[n_rows + y];
        int8_t *out = out_rows[y];
        TC_UNROLL(4)
        for (int32_t i = 0; i < p->elements; i++) {
            const int32_t product = (a[i] * p->scale - p->a_zero_point * p->scale) * (b[i] - p->b_zero_point);
            out[i] = tc_requantize_dsp(p->form, product, p->multiplier, p->addend, p->output_zero_point);
        }
    }
    tc_clamp_rows(out_rows, n_rows, p->elements, p->activation_min, p->activation_max);
}

#endif
