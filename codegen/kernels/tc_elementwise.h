/* SPDX-License-Identifier: MIT-0
 * Element-wise operators of two int8 operands: add, subtract, multiply, maximum, minimum, PReLU.
 *
 * Dimension letters: an output row is [X][C]. Either operand may be broadcast along rows, X or C, and one of them may
 * be a constant of the parameters; see tc_broadcast.
 */
#ifndef TC_ELEMENTWISE_H
#define TC_ELEMENTWISE_H

#include "tc_math.h"

/* How operand elements map to output elements: element (x, c) of output row r is element x*width_step + c*channel_step
 * of the operand's row r*row_step. A step is 0 along a broadcast axis. */
typedef struct {
    int32_t width;          /* X >= 1 */
    int32_t channels;       /* C >= 1 */
    int32_t constant;       /* 0: both operands are in in_rows; 1, 2: the first, the second is the constant */
    int32_t a_row_step;     /* 0 or 1; for a constant in elements, 0 or its row's length */
    int32_t a_width_step;   /* >= 0 */
    int32_t a_channel_step; /* 0 or 1 */
    int32_t b_row_step;
    int32_t b_width_step;
    int32_t b_channel_step;
} tc_broadcast;

/* Row r of the first and of the second operand. in_rows holds the rows of the first that is no constant (n_rows, or one
 * when its row_step is 0), then those of the other. */
static inline const int8_t *tc_broadcast_a(const tc_broadcast *s, const int8_t *constant, const int8_t *const *in_rows,
                                           int32_t r)
{
    return s->constant == 1 ? constant + r * s->a_row_step : in_rows[r * s->a_row_step];
}

static inline const int8_t *tc_broadcast_b(const tc_broadcast *s, const int8_t *constant, const int8_t *const *in_rows,
                                           int32_t n_rows, int32_t r)
{
    const int32_t skipped = s->constant == 1 ? 0 : (s->a_row_step == 0 ? 1 : n_rows);
    return s->constant == 2 ? constant + r * s->b_row_step : in_rows[skipped + r * s->b_row_step];
}

typedef struct {
    tc_broadcast shape;
    int32_t a_zero_point; /* -128..127 */
    int32_t a_multiplier; /* Q31: the operand's scale over twice the larger of the two scales */
    int32_t a_shift;      /* -31..0 */
    int32_t b_zero_point; /* as for a */
    int32_t b_multiplier;
    int32_t b_shift;
    int32_t output_zero_point; /* -128..127 */
    int32_t output_multiplier; /* Q31: twice the larger scale over 2^20 times the output's scale */
    int32_t output_shift;      /* -31..30 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    const int8_t *constant;    /* [rows of the constant][...] or NULL */
} tc_add_s8_params;

typedef tc_add_s8_params tc_sub_s8_params;

/* The operands are widened by 20 bits before their scales are made equal: |x - zero point| <= 255 leaves 3 spare. */
static inline int8_t tc_add_s8_one(const tc_add_s8_params *p, int32_t a, int32_t b, int32_t sign)
{
    const int32_t left = tc_requantize((a - p->a_zero_point) * (1 << 20), p->a_multiplier, p->a_shift);
    const int32_t right = tc_requantize((b - p->b_zero_point) * (1 << 20), p->b_multiplier, p->b_shift);
    return tc_requantize_s8(left + sign * right, p->output_multiplier, p->output_shift, p->output_zero_point,
                            p->activation_min, p->activation_max);
}

static inline void tc_add_s8_rows(const tc_add_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                  int32_t n_rows, int32_t sign)
{
    const tc_broadcast *s = &p->shape;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *a = tc_broadcast_a(s, p->constant, in_rows, r);
        const int8_t *b = tc_broadcast_b(s, p->constant, in_rows, n_rows, r);
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < s->width; ++x) {
            for (int32_t c = 0; c < s->channels; ++c) {
                out[c] = tc_add_s8_one(p, a[c * s->a_channel_step], b[c * s->b_channel_step], sign);
            }
            a += s->a_width_step;
            b += s->b_width_step;
            out += s->channels;
        }
    }
}

/* in_rows: rows of both operands (see tc_broadcast_a); out_rows: n_rows rows [X][C], may be the rows of an operand that
 * is not broadcast; scratch unused. */
static inline void tc_add_s8(const tc_add_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_add_s8_rows(p, in_rows, out_rows, n_rows, 1);
}

/* First operand less the second; rows as for tc_add_s8. */
static inline void tc_sub_s8(const tc_sub_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    (void)scratch;
    tc_add_s8_rows(p, in_rows, out_rows, n_rows, -1);
}

typedef struct {
    tc_broadcast shape;
    int32_t a_zero_point;      /* -128..127 */
    int32_t b_zero_point;      /* -128..127 */
    int32_t output_zero_point; /* -128..127 */
    int32_t output_multiplier; /* Q31: product of the operands' scales over the output's */
    int32_t output_shift;      /* -31..30 */
    int32_t activation_min;    /* -128..127 */
    int32_t activation_max;    /* activation_min..127 */
    const int8_t *constant;    /* [rows of the constant][...] or NULL */
} tc_mul_s8_params;

/* Product of the operands; rows as for tc_add_s8. */
static inline void tc_mul_s8(const tc_mul_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                             int32_t n_rows, void *scratch)
{
    const tc_broadcast *s = &p->shape;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *a = tc_broadcast_a(s, p->constant, in_rows, r);
        const int8_t *b = tc_broadcast_b(s, p->constant, in_rows, n_rows, r);
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < s->width; ++x) {
            for (int32_t c = 0; c < s->channels; ++c) {
                const int32_t product =
                    (a[c * s->a_channel_step] - p->a_zero_point) * (b[c * s->b_channel_step] - p->b_zero_point);
                out[c] = tc_requantize_s8(product, p->output_multiplier, p->output_shift, p->output_zero_point,
                                          p->activation_min, p->activation_max);
            }
            a += s->a_width_step;
            b += s->b_width_step;
            out += s->channels;
        }
    }
}

typedef struct {
    tc_broadcast shape;
    const int8_t *constant; /* [rows of the constant][...] or NULL */
} tc_maximum_s8_params;

typedef tc_maximum_s8_params tc_minimum_s8_params;

/* Larger of the operands, whose scales and zero points are the output's; rows as for tc_add_s8. */
static inline void tc_maximum_s8(const tc_maximum_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                 int32_t n_rows, void *scratch)
{
    const tc_broadcast *s = &p->shape;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *a = tc_broadcast_a(s, p->constant, in_rows, r);
        const int8_t *b = tc_broadcast_b(s, p->constant, in_rows, n_rows, r);
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < s->width; ++x) {
            for (int32_t c = 0; c < s->channels; ++c) {
                out[c] = (int8_t)tc_max(a[c * s->a_channel_step], b[c * s->b_channel_step]);
            }
            a += s->a_width_step;
            b += s->b_width_step;
            out += s->channels;
        }
    }
}

/* Smaller of the operands, whose scales and zero points are the output's; rows as for tc_add_s8. */
static inline void tc_minimum_s8(const tc_minimum_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                 int32_t n_rows, void *scratch)
{
    const tc_broadcast *s = &p->shape;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *a = tc_broadcast_a(s, p->constant, in_rows, r);
        const int8_t *b = tc_broadcast_b(s, p->constant, in_rows, n_rows, r);
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < s->width; ++x) {
            for (int32_t c = 0; c < s->channels; ++c) {
                out[c] = (int8_t)tc_min(a[c * s->a_channel_step], b[c * s->b_channel_step]);
            }
            a += s->a_width_step;
            b += s->b_width_step;
            out += s->channels;
        }
    }
}

typedef struct {
    tc_broadcast shape;         /* second operand: alpha, a constant */
    int32_t input_zero_point;   /* -128..127 */
    int32_t alpha_zero_point;   /* -128..127 */
    int32_t output_zero_point;  /* -128..127 */
    int32_t output_multiplier;  /* Q31: input scale over output scale, for inputs >= 0 */
    int32_t output_shift;       /* -31..30 */
    int32_t product_multiplier; /* Q31: input scale times alpha's over output scale, for inputs < 0 */
    int32_t product_shift;      /* -31..30 */
    const int8_t *constant;     /* alpha: [1] or [rows][...] */
} tc_prelu_s8_params;

/* x >= 0 ? x : alpha * x. in_rows, out_rows: n_rows rows [X][C], may be the same; scratch unused. */
static inline void tc_prelu_s8(const tc_prelu_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                               int32_t n_rows, void *scratch)
{
    const tc_broadcast *s = &p->shape;
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        const int8_t *in = in_rows[r];
        const int8_t *alpha = tc_broadcast_b(s, p->constant, in_rows, n_rows, r);
        int8_t *out = out_rows[r];
        for (int32_t x = 0; x < s->width; ++x) {
            for (int32_t c = 0; c < s->channels; ++c) {
                const int32_t value = *in++ - p->input_zero_point;
                const int32_t slope = alpha[c * s->b_channel_step] - p->alpha_zero_point;
                const int32_t y = value >= 0 ? tc_requantize(value, p->output_multiplier, p->output_shift)
                                             : tc_requantize(value * slope, p->product_multiplier, p->product_shift);
                *out++ = (int8_t)tc_clamp(tc_add_wrap(y, p->output_zero_point), INT8_MIN, INT8_MAX);
            }
            alpha += s->b_width_step;
        }
    }
}

/* As the kernels above, for a constant of several rows: all rows of the operands and of the output in one call. */
static inline void tc_add_s8_whole(const tc_add_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                   int32_t n_rows, void *scratch)
{
    tc_add_s8(p, in_rows, out_rows, n_rows, scratch);
}

static inline void tc_sub_s8_whole(const tc_sub_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                   int32_t n_rows, void *scratch)
{
    tc_sub_s8(p, in_rows, out_rows, n_rows, scratch);
}

static inline void tc_mul_s8_whole(const tc_mul_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                   int32_t n_rows, void *scratch)
{
    tc_mul_s8(p, in_rows, out_rows, n_rows, scratch);
}

static inline void tc_maximum_s8_whole(const tc_maximum_s8_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_maximum_s8(p, in_rows, out_rows, n_rows, scratch);
}

static inline void tc_minimum_s8_whole(const tc_minimum_s8_params *p, const int8_t *const *in_rows,
                                       int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    tc_minimum_s8(p, in_rows, out_rows, n_rows, scratch);
}

static inline void tc_prelu_s8_whole(const tc_prelu_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                     int32_t n_rows, void *scratch)
{
    tc_prelu_s8(p, in_rows, out_rows, n_rows, scratch);
}

#endif /* TC_ELEMENTWISE_H */
