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

/* floor(2^61 / divisor), divisor 2^30..2^31-1; by long division, which needs no library. */
static inline uint32_t tc_inverse(uint32_t divisor)
{
    uint32_t rest = (uint32_t)1 << 30, quotient = divisor == rest ? 1u : 0u;
    rest -= quotient * divisor;
    for (int32_t i = 0; i < 31; ++i) {
        rest <<= 1;
        quotient <<= 1;
        if (rest >= divisor) {
            rest -= divisor;
            ++quotient;
        }
    }
    return quotient;
}

/* One vector; in and out may be the same. */
static inline void tc_layer_norm_vector(const tc_layer_norm_s8_params *p, const int8_t *in, int8_t *out)
{
    int32_t sum = 0, squares = 0, down = 49;
    for (int32_t c = 0; c < p->channels; ++c) {
        sum += in[c];
        squares += in[c] * in[c];
    }
    uint64_t spread = (uint64_t)((int64_t)p->channels * squares - (int64_t)sum * sum) +
                      (((uint64_t)(uint32_t)p->epsilon_high << 32) | (uint32_t)p->epsilon_low);
    spread = spread == 0 ? 1 : spread;
    for (; spread >> 60 == 0; spread <<= 2) {
        --down;
    }
    const int64_t inverse = tc_inverse(tc_integer_root(spread));
    for (int32_t c = 0; c < p->channels; ++c) {
        const int64_t difference = p->channels * in[c] - sum;
        const int32_t normalised = (int32_t)((difference * inverse + ((int64_t)1 << (down - 1))) >> down);
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
