/* SPDX-License-Identifier: MIT-0
 * Sigmoid and tanh of 16-bit fixed-point numbers, Q0.15, by interpolation between 256 values of the sigmoid.
 *
 * Bit for bit the arithmetic of the int16 kernels of TensorFlow Lite Micro.
 */
#ifndef TC_SIGMOID_H
#define TC_SIGMOID_H

#include "tc_math.h"

/* The sigmoid at magnitude / (24 * 2^bits) in units of 2^-(16 + bits); magnitude < 255 * 2^bits, bits 8 or 9. Entries
 * lie above the curve by half of what its chords lie below it. */
static inline int32_t tc_sigmoid_between(int32_t magnitude, int32_t bits)
{
    static const uint16_t table[256] = {
        32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794, 41432, 42064, 42688,
        43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443, 48964, 49475, 49975, 50464, 50942, 51409,
        51865, 52311, 52745, 53169, 53581, 53983, 54374, 54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433,
        57724, 58007, 58280, 58544, 58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110,
        61279, 61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990, 63090, 63186,
        63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030, 64090, 64148, 64204, 64257, 64308,
        64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652, 64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900,
        64926, 64950, 64974, 64997, 65019, 65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208,
        65221, 65234, 65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360, 65367,
        65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433, 65438, 65442, 65445, 65449,
        65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476, 65479, 65481, 65483, 65485, 65488, 65489, 65491,
        65493, 65495, 65497, 65498, 65500, 65501, 65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513,
        65514, 65515, 65516, 65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
        65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529, 65529, 65530, 65530,
        65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65532, 65532, 65533, 65533, 65533,
        65533, 65533, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535};
    const int32_t index = magnitude >> bits;
    const int32_t low = table[index];
    const int32_t high = table[index + 1];
    return low * (1 << bits) + (magnitude & ((1 << bits) - 1)) * (high - low);
}

/* sigmoid(x / 12288), 1..32767; x > INT32_MIN. */
static inline int32_t tc_sigmoid_q15(int32_t x)
{
    const int32_t magnitude = x < 0 ? -x : x;
    const int32_t y = magnitude >= 255 * 512 ? 0x7fff * 1024 : tc_sigmoid_between(magnitude, 9);
    return ((x < 0 ? (1 << 25) - 1 - y : y) + 512) >> 10;
}

/* tanh(x / 12288), -32767..32767; x > INT32_MIN. */
static inline int32_t tc_tanh_q15(int32_t x)
{
    const int32_t magnitude = x < 0 ? -x : x;
    const int32_t y = (magnitude >= 255 * 256 ? 0xffff * 256 : tc_sigmoid_between(magnitude, 8)) - (1 << 23);
    return ((x < 0 ? -1 - y : y) + 128) >> 8;
}

typedef struct {
    int32_t elements;   /* E >= 1 */
    int32_t multiplier; /* 1..65535: from the input's scale to units of 1 / 12288, with shift */
    int32_t shift;      /* 0..31, to the right */
} tc_sigmoid_s16_params;

typedef tc_sigmoid_s16_params tc_tanh_s16_params;

/* An int16 input in units of 1 / 12288, rounded. */
static inline int32_t tc_sigmoid_s16_scaled(const tc_sigmoid_s16_params *p, const int8_t *row, int32_t i)
{
    const int32_t half = p->shift > 0 ? 1 << (p->shift - 1) : 0;
    return (tc_load(row, 2, i) * p->multiplier + half) >> p->shift;
}

/* in_rows, out_rows: n_rows rows [E] of int16, may be the same; scratch unused. */
static inline void tc_sigmoid_s16(const tc_sigmoid_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                                  int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->elements; ++i) {
            tc_store(out_rows[r], 2, i, tc_sigmoid_q15(tc_sigmoid_s16_scaled(p, in_rows[r], i)));
        }
    }
}

/* Rows as for tc_sigmoid_s16. */
static inline void tc_tanh_s16(const tc_tanh_s16_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                               int32_t n_rows, void *scratch)
{
    (void)scratch;
    for (int32_t r = 0; r < n_rows; ++r) {
        for (int32_t i = 0; i < p->elements; ++i) {
            tc_store(out_rows[r], 2, i, tc_tanh_q15(tc_sigmoid_s16_scaled(p, in_rows[r], i)));
        }
    }
}

#endif /* TC_SIGMOID_H */
