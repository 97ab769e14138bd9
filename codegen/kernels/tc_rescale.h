/* SPDX-License-Identifier: MIT-0
 * Rescaling between quantized types: y = (x - input_zero_point) * multiplier + output_zero_point, clamped.
 *
 * Dimension letter: E elements of a row. Row pointers are int8_t pointers whatever the element type is; 16 and 32-bit
 * elements are read and written byte by byte where they may be unaligned.
 */
#ifndef TC_RESCALE_H
#define TC_RESCALE_H

#include "tc_math.h"

typedef struct {
    int32_t elements;          /* E >= 1 */
    int32_t input_bytes;       /* of one element: 1 or 2 */
    int32_t output_bytes;      /* of one element: 1, 2 or 4 */
    int32_t input_zero_point;  /* in the input type's range */
    int32_t output_zero_point; /* in the output type's range, 0 for int32 */
    int32_t multiplier;        /* Q31: input scale over output scale */
    int32_t shift;             /* -31..30 */
    int32_t activation_min;    /* in the output type's range */
    int32_t activation_max;    /* activation_min or more, in the output type's range */
} tc_rescale_params;

/* in_rows, out_rows: n_rows rows [E], may be the same when both element types have one size; scratch unused. */
static inline void tc_rescale(const tc_rescale_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->elements; ++i) {
            const int32_t x = tc_load(in_rows[r], p->input_bytes, i) - p->input_zero_point;
            const int32_t y = tc_add_wrap(tc_requantize(x, p->multiplier, p->shift), p->output_zero_point);
            tc_store(out_rows[r], p->output_bytes, i, tc_clamp(y, p->activation_min, p->activation_max));
        }
    }
}

#endif /* TC_RESCALE_H */
