/* SPDX-License-Identifier: MIT-0
 * LayerNorm, int8: each vector of C channels to mean 0 and deviation 1, then times gamma, plus beta.
 */
#ifndef TC_LAYER_NORM_H
#define TC_LAYER_NORM_H

#include "tc_math.h"

typedef struct {
    int32_t vectors;           /* V >= 1, vectors in a row */
    int32_t channels;          /* C, 1..16384 */
    int32_t epsilon_low;       /* the low 32 bits of epsilon in units of 1 / C^2 of the input's scale squared */
    int32_t epsilon_high;      /* and the others; together at most 2^60 */
    int32_t multiplier;        /* Q31 */
    int32_t shift;             /* -31..30 */
    int32_t output_zero_point; /* -128..127 */
    const int16_t *gamma;      /* [C], -2047..2047 */
    const int32_t *beta;       /* [C], -2^30..2^30, in units of gamma's scale / 2^12 */
} tc_layer_norm_s8_params;

/* floor(sqrt(x)), x < 2^62. */
static inline uint32_t tc_integer_root(uint64_t x)
{
    uint32_t root = 0;
    for (uint32_t bit = (uint32_t)1 << 30; bit != 0; bit >>= 1) {
        const uint64_t larger = (uint64_t)root + bit;
        root = larger * larger <= x ? (uint32_t)larger : root;
    }
    return root;
}

/* floor((2^61 - 1) / divisor), divisor 2^30..2^31-1; by long division, which needs no library. */
static inline int32_t tc_inverse(uint32_t divisor)
{
    uint32_t rest = ((uint32_t)1 << 30) - 1u, quotient = 0;
    for (int32_t i = 0; i < 31; ++i) {
        rest = 2u * rest + 1u;
        quotient = 2u * quotient + (rest >= divisor ? 1u : 0u);
        rest -= rest >= divisor ? divisor : 0u;
    }
    return (int32_t)quotient;
}

/* A value x of a vector is normalised, in 12 fraction bits, to
 * (high word of (x * factor - offset) * inverse + half) >> down, which rounds to nearest, ties up. */
typedef struct {
    uint32_t factor;
    uint32_t offset;
    int32_t inverse; /* 2^30..2^31-1 */
    int32_t half;    /* 2^(down - 1) */
    int32_t down;    /* 1..17 */
} tc_layer_norm_scale;

/* Of a vector, from the sum of its values and of their squares. */
static inline tc_layer_norm_scale tc_layer_norm_scaling(const tc_layer_norm_s8_params *p, int32_t sum, int32_t squares)
{
    int32_t down = 17;
    uint64_t spread = (uint64_t)((int64_t)p->channels * squares - (int64_t)sum * sum) +
                      (((uint64_t)(uint32_t)p->epsilon_high << 32) | (uint32_t)p->epsilon_low);
    spread = spread == 0 ? 1 : spread;
    for (; spread >> 60 == 0; spread <<= 2) {
        --down;
    }
    const int32_t up = tc_max(1 - down, 0);
    down = tc_max(down, 1);
    const tc_layer_norm_scale scale = {(uint32_t)p->channels << up, (uint32_t)sum << up,
                                       tc_inverse(tc_integer_root(spread)), tc_shift_left(1, down - 1), down};
    return scale;
}

/* (value times channels less the sum) * 2^up, which fits 32 bits where the two terms may not. */
static inline int32_t tc_layer_norm_difference(const tc_layer_norm_scale *s, int8_t value)
{
    return (int32_t)((uint32_t)value * s->factor - s->offset);
}

/* One vector; in and out may be the same. */
static inline void tc_layer_norm_vector(const tc_layer_norm_s8_params *p, const int8_t *in, int8_t *out)
{
    const tc_layer_norm_scale s =
        tc_layer_norm_scaling(p, tc_sum_s8(in, p->channels), tc_dot_s8(in, in, p->channels, 0));
    for (int32_t c = 0; c < p->channels; ++c) {
        const int32_t high = (int32_t)(((int64_t)tc_layer_norm_difference(&s, in[c]) * s.inverse) >> 32);
        const int32_t normalised = (high + s.half) >> s.down;
        out[c] = tc_requantize_s8(normalised * p->gamma[c] + p->beta[c], p->multiplier, p->shift, p->output_zero_point,
                                  INT8_MIN, INT8_MAX);
    }
}

/* in_rows, out_rows: n_rows rows [V][C], may be the same; scratch unused. */
static inline void tc_layer_norm_s8(const tc_layer_norm_s8_params *p, const int8_t *const *in_rows,
                                    int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t v = 0; v < p->vectors; ++v) {
            tc_layer_norm_vector(p, in_rows[r] + v * p->channels, out_rows[r] + v * p->channels);
        }
    }
}

#endif /* TC_LAYER_NORM_H */
