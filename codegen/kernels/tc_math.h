/* SPDX-License-Identifier: MIT-0
 * Integer arithmetic shared by all kernels: requantization, clamping, dot products.
 *
 * Rounding of the requantization is chosen at compile time: by default it rounds twice, as TensorFlow Lite Micro does
 * (a rounding high multiply, ties up, then a rounding right shift, ties away from zero); with TC_ROUNDING_SINGLE
 * defined it rounds once, ties up. Signed right shifts are arithmetic on every supported compiler, and a conversion of
 * an out-of-range value to int32_t keeps the low 32 bits; left shifts are made on unsigned values.
 */
#ifndef TC_MATH_H
#define TC_MATH_H

#include <stddef.h>
#include <stdint.h>

/* low <= high; the value in low..high that is nearest to x. */
static inline int32_t tc_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

static inline int32_t tc_min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t tc_max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* x * 2^shift, wrapping at 32 bits; shift 0..31. */
static inline int32_t tc_shift_left(int32_t x, int32_t shift)
{
    return (int32_t)((uint32_t)x << shift);
}

/* a + b, wrapping at 32 bits. */
static inline int32_t tc_add_wrap(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* round(a * b / 2^31), ties up; saturates the one overflow, a = b = INT32_MIN. */
static inline int32_t tc_mul_high(int32_t a, int32_t b)
{
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* round(x / 2^shift), ties away from zero; shift 0..31. */
static inline int32_t tc_round_shift(int32_t x, int32_t shift)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << shift) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> shift) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31): multiplier 0 or 2^30..2^31-1, shift -31..30, positive to the left. */
static inline int32_t tc_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
#if defined(TC_ROUNDING_SINGLE)
    const int32_t total = 31 - shift;
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (total - 1))) >> total);
#else
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    const int32_t high = (int32_t)(((int64_t)tc_shift_left(x, left) * multiplier + ((int64_t)1 << 30)) >> 31);
    return tc_round_shift(high, right);
#endif
}

/* tc_requantize, plus zero_point, clamped to low..high (int8 range or narrower). */
static inline int8_t tc_requantize_s8(int32_t x, int32_t multiplier, int32_t shift, int32_t zero_point, int32_t low,
                                      int32_t high)
{
    return (int8_t)tc_clamp(tc_add_wrap(tc_requantize(x, multiplier, shift), zero_point), low, high);
}

/* acc + sum of a[i] * b[i], i < n. */
static inline int32_t tc_dot_s8(const int8_t *a, const int8_t *b, int32_t n, int32_t acc)
{
    for (int32_t i = 0; i < n; ++i) {
        acc += (int32_t)a[i] * b[i];
    }
    return acc;
}

/* Sum of a[i], i < n. */
static inline int32_t tc_sum_s8(const int8_t *a, int32_t n)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < n; ++i) {
        sum += a[i];
    }
    return sum;
}

/* acc[j] += sum of x[i] * weights[j * step + i], i < n, for j < count; count 1..4. Four at once read x only once. */
static inline void tc_dots_s8(const int8_t *x, const int8_t *weights, int32_t step, int32_t n, int32_t *acc,
                              int32_t count)
{
    if (count == 4) {
        const int8_t *w1 = weights + step;
        const int8_t *w2 = w1 + step;
        const int8_t *w3 = w2 + step;
        int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
        for (int32_t i = 0; i < n; ++i) {
            const int32_t value = x[i];
            a0 += value * weights[i];
            a1 += value * w1[i];
            a2 += value * w2[i];
            a3 += value * w3[i];
        }
        acc[0] = a0;
        acc[1] = a1;
        acc[2] = a2;
        acc[3] = a3;
    } else {
        for (int32_t j = 0; j < count; ++j) {
            acc[j] = tc_dot_s8(x, weights + j * step, n, acc[j]);
        }
    }
}

/* Element i of a row of int8 (bytes 1) or int16 (bytes 2). */
static inline int32_t tc_load(const int8_t *row, int32_t bytes, int32_t i)
{
    int16_t wide;
    if (bytes == 1) {
        return row[i];
    }
    __builtin_memcpy(&wide, row + 2 * i, sizeof wide);
    return wide;
}

/* Stores the low bits of y as element i of a row of int8, int16 or int32 (bytes 1, 2, 4). */
static inline void tc_store(int8_t *row, int32_t bytes, int32_t i, int32_t y)
{
    const int16_t wide = (int16_t)y;
    if (bytes == 1) {
        row[i] = (int8_t)y;
    } else if (bytes == 2) {
        __builtin_memcpy(row + 2 * i, &wide, sizeof wide);
    } else {
        __builtin_memcpy(row + 4 * i, &y, sizeof y);
    }
}

/* Taps first..last-1 of a kernel `taps` wide are inside a row of `size` elements when tap k reads element
 * start + k * dilation; the others read padding. */
static inline int32_t tc_first_tap(int32_t start, int32_t dilation, int32_t taps)
{
    return start >= 0 ? 0 : tc_min(taps, (dilation - 1 - start) / dilation);
}

static inline int32_t tc_last_tap(int32_t start, int32_t dilation, int32_t taps, int32_t size)
{
    return start >= size ? 0 : tc_min(taps, (size - 1 - start) / dilation + 1);
}

#endif /* TC_MATH_H */
