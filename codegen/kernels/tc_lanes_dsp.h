/* SPDX-License-Identifier: MIT-0
 *
 * The Armv7E-M instructions that the *_dsp kernels are made of, each with its meaning in C for every other machine.
 * A word carries two signed 16-bit lanes, low lane first; byte order is little-endian everywhere.
 */
#ifndef TC_LANES_DSP_H
#define TC_LANES_DSP_H

#include <stdint.h>

#include "tc_copy.h"
#include "tc_math.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__thumb2__)
#define TC_HAS_DSP 1
#else
#define TC_HAS_DSP 0
#endif

TC_INLINE int32_t tc_low_lane(int32_t word)
{
    return (int16_t)((uint32_t)word & 0xffffu);
}

TC_INLINE int32_t tc_high_lane(int32_t word)
{
    return (int16_t)((uint32_t)word >> 16);
}

TC_INLINE int32_t tc_lanes(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xffffu) | ((uint32_t)high << 16));
}

/* Bytes 0 and 2 of `word`, sign-extended into the two lanes. */
TC_INLINE int32_t tc_sxtb16(uint32_t word)
{
#if TC_HAS_DSP
    int32_t lanes;
    __asm__("sxtb16 %0, %1" : "=r"(lanes) : "r"(word));
    return lanes;
#else
    return tc_lanes((int8_t)(word & 0xffu), (int8_t)((word >> 16) & 0xffu));
#endif
}

/* Bytes 1 and 3 of `word`, sign-extended into the two lanes. */
TC_INLINE int32_t tc_sxtb16_odd(uint32_t word)
{
#if TC_HAS_DSP
    int32_t lanes;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(word));
    return lanes;
#else
    return tc_lanes((int8_t)((word >> 8) & 0xffu), (int8_t)(word >> 24));
#endif
}

/* Lanes plus bytes 0 and 2 of `word`, or 1 and 3. */
TC_INLINE int32_t tc_add_even(int32_t lanes, uint32_t word)
{
#if TC_HAS_DSP
    int32_t sum;
    __asm__("sxtab16 %0, %1, %2" : "=r"(sum) : "r"(lanes), "r"(word));
    return sum;
#else
    const int32_t bytes = tc_sxtb16(word);
    return tc_lanes(tc_low_lane(lanes) + tc_low_lane(bytes), tc_high_lane(lanes) + tc_high_lane(bytes));
#endif
}

TC_INLINE int32_t tc_add_odd(int32_t lanes, uint32_t word)
{
#if TC_HAS_DSP
    int32_t sum;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(sum) : "r"(lanes), "r"(word));
    return sum;
#else
    const int32_t bytes = tc_sxtb16_odd(word);
    return tc_lanes(tc_low_lane(lanes) + tc_low_lane(bytes), tc_high_lane(lanes) + tc_high_lane(bytes));
#endif
}

/* Low halves of two words side by side: (low half of a, low half of b). */
TC_INLINE uint32_t tc_pack_low(uint32_t a, uint32_t b)
{
#if TC_HAS_DSP
    uint32_t word;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(word) : "r"(a), "r"(b));
    return word;
#else
    return (a & 0xffffu) | (b << 16);
#endif
}

/* High halves of two words side by side: (high half of a, high half of b). */
TC_INLINE uint32_t tc_pack_high(uint32_t a, uint32_t b)
{
#if TC_HAS_DSP
    uint32_t word;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(word) : "r"(b), "r"(a));
    return word;
#else
    return (a >> 16) | (b & 0xffff0000u);
#endif
}

/* acc + a.low * b.low + a.high * b.high, modulo 2^32. */
TC_INLINE int32_t tc_smlad(int32_t a, int32_t b, int32_t acc)
{
#if TC_HAS_DSP
    int32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
#else
    int32_t low = tc_low_lane(a) * tc_low_lane(b);
    int32_t high = tc_high_lane(a) * tc_high_lane(b);
    return tc_add_wrap(tc_add_wrap(acc, low), high);
#endif
}

/* floor(x * multiplier / 2^32) + addend. */
TC_INLINE int32_t tc_smmla(int32_t x, int32_t multiplier, int32_t addend)
{
#if TC_HAS_DSP
    int32_t sum;
    __asm__("smmla %0, %1, %2, %3" : "=r"(sum) : "r"(x), "r"(multiplier), "r"(addend));
    return sum;
#else
    return tc_add_wrap((int32_t)(((int64_t)x * multiplier) >> 32), addend);
#endif
}

/* floor(x * multiplier / 2^32 + 1/2) + addend. */
TC_INLINE int32_t tc_smmlar(int32_t x, int32_t multiplier, int32_t addend)
{
#if TC_HAS_DSP
    int32_t sum;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(sum) : "r"(x), "r"(multiplier), "r"(addend));
    return sum;
#else
    return tc_add_wrap((int32_t)(((int64_t)x * multiplier + 0x80000000ll) >> 32), addend);
#endif
}

TC_INLINE int32_t tc_saturate8(int32_t x)
{
#if TC_HAS_DSP
    int32_t y;
    __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
    return y;
#else
    return x < -128 ? -128 : x > 127 ? 127 : x;
#endif
}

/* Four bytes as two words of lanes, in the order (0, 2) (1, 3). */
TC_INLINE void tc_widen4(const int8_t *bytes, int32_t *lanes)
{
    uint32_t word = tc_load32(bytes);
    lanes[0] = tc_sxtb16(word);
    lanes[1] = tc_sxtb16_odd(word);
}

/* `count` bytes as lanes, two words for each 4 values (the last ones padded with 0), groups `stride` words apart.
 * Returns the place of the next group. */
TC_INLINE int32_t *tc_widen_row(const int8_t *bytes, int32_t count, int32_t *lanes, int32_t stride)
{
    int32_t i = 0;
    for (; i + 16 <= count; i += 16, lanes += 4 * stride) {
        tc_widen4(bytes + i, lanes);
        tc_widen4(bytes + i + 4, lanes + stride);
        tc_widen4(bytes + i + 8, lanes + 2 * stride);
        tc_widen4(bytes + i + 12, lanes + 3 * stride);
    }
    for (; i + 4 <= count; i += 4, lanes += stride) {
        tc_widen4(bytes + i, lanes);
    }
    if (i < count) {
        lanes[0] = tc_lanes(bytes[i], i + 2 < count ? bytes[i + 2] : 0);
        lanes[1] = tc_lanes(i + 1 < count ? bytes[i + 1] : 0, 0);
        lanes += stride;
    }
    return lanes;
}

/* Clamp `count` bytes of each row in place, for activations narrower than int8. */
TC_INLINE void tc_clamp_rows(int8_t *const *rows, int32_t n_rows, int32_t count, int32_t low, int32_t high)
{
    if (low <= -128 && high >= 127) {
        return;
    }
    for (int32_t i = 0; i < n_rows; i++) {
        int8_t *row = rows[i];
        for (int32_t j = 0; j < count; j++) {
            int32_t y = row[j];
            y = y < low ? low : y;
            row[j] = (int8_t)(y > high ? high : y);
        }
    }
}

#endif
