/* SPDX-License-Identifier: MIT-0
 * Resizing images: nearest neighbour (any element type) and bilinear (int8).
 *
 * Dimension letters: H, W input height and width; Y, X output height and width; C channels.
 */
#ifndef TC_RESIZE_H
#define TC_RESIZE_H

#include "tc_copy.h"

typedef struct {
    int32_t output_width;    /* X >= 1 */
    int32_t pixel_bytes;     /* C times the element's size */
    const uint16_t *rows;    /* [Y] input row of each output row, 0..H-1 */
    const uint16_t *columns; /* [X] input column of each output column, 0..W-1 */
} tc_resize_nearest_params;

/* in_rows: all rows [W][C]; out_rows: all n_rows = Y rows [X][C]; scratch unused. */
static inline void tc_resize_nearest(const tc_resize_nearest_params *p, const int8_t *const *in_rows,
                                     int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *in = in_rows[p->rows[r]];
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            tc_copy(out, in + p->columns[x] * p->pixel_bytes, p->pixel_bytes);
            out += p->pixel_bytes;
        }
    }
}

typedef struct {
    int32_t output_width;         /* X >= 1 */
    int32_t channels;             /* C >= 1 */
    const uint16_t *rows_low;     /* [Y] upper of the two input rows that each output row mixes, 0..H-1 */
    const uint16_t *rows_high;    /* [Y] lower of the two */
    const int16_t *rows_weight;   /* [Y] weight of the lower one, in 1/1024; outside 0..1024 only if both are one row */
    const uint16_t *columns_low;  /* [X] left of the two input columns, 0..W-1 */
    const uint16_t *columns_high; /* [X] right of the two */
    const int16_t *columns_weight; /* [X] as rows_weight */
} tc_resize_bilinear_s8_params;

/* Rows as for tc_resize_nearest. Rounds half away from zero. */
static inline void tc_resize_bilinear_s8(const tc_resize_bilinear_s8_params *p, const int8_t *const *in_rows,
                                         int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *top = in_rows[p->rows_low[r]];
        const int8_t *bottom = in_rows[p->rows_high[r]];
        const int32_t wy = p->rows_weight[r];
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < p->output_width; ++x) {
            const int32_t left = p->columns_low[x] * p->channels;
            const int32_t right = p->columns_high[x] * p->channels;
            const int32_t wx = p->columns_weight[x];
            for (int32_t c = 0; c < p->channels; ++c) {
                const int32_t on_left = top[left + c] * (1024 - wy) + bottom[left + c] * wy;
                const int32_t on_right = top[right + c] * (1024 - wy) + bottom[right + c] * wy;
                const int32_t sum = on_left * (1024 - wx) + on_right * wx;
                *out++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
            }
        }
    }
}

#endif /* TC_RESIZE_H */
