"""Vectorised gemmlowp fixed-point functions, on int64 arrays that hold int32 raw values.

A raw value r with k integer bits (Qk.(31−k)) stands for r / 2^(31−k). These are what TFLM's int8 softmax, log-softmax,
sigmoid and tanh are made of; constants are the nearest Q0.31 or Q2.29 integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Rounding
from tinycompress.ir.ops import Function
from tinycompress.ir.quant_params import SOFTMAX_INTEGER_BITS, SoftmaxParams, sigmoid_table

Raw = NDArray[np.int64]

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)
Q0_ONE = INT32_MAX
Q2_ONE = 1 << 29


def _constant(value: float, integer_bits: int = 0) -> int:
    return int(np.floor(value * 2.0 ** (31 - integer_bits) + 0.5))


EXP_MINUS_EIGHTH = _constant(np.exp(-0.125))
ONE_THIRD = _constant(1.0 / 3.0)
EXP_STEPS = tuple((exponent, _constant(np.exp(-(2.0**exponent)))) for exponent in range(-2, 5))
RECIPROCAL_START = _constant(48.0 / 17.0, 2)
RECIPROCAL_SLOPE = _constant(-32.0 / 17.0, 2)


def multiply(a: Any, b: Any) -> Raw:
    """Saturating rounding doubling high multiply: the product of two fixed-point numbers; integer bits add up."""
    high = (np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64) + (1 << 30)) >> 31
    result: Raw = np.minimum(high, INT32_MAX)
    return result


def divide_by_power(x: Any, exponent: Any) -> Raw:
    """x / 2^exponent, rounded half away from zero; exponent ≥ 0."""
    x = np.asarray(x, dtype=np.int64)
    exponent = np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << exponent) - 1
    result: Raw = (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
    return result


def multiply_by_power(x: Any, exponent: Any) -> Raw:
    """x · 2^exponent saturated to int32; exponent ≥ 0."""
    x = np.asarray(x, dtype=np.int64)
    result: Raw = np.clip(x << np.minimum(np.asarray(exponent, dtype=np.int64), 32), INT32_MIN, INT32_MAX)
    return result


def half_sum(a: Any, b: Any) -> Raw:
    """(a + b) / 2, rounded half away from zero."""
    total = np.asarray(a, dtype=np.int64) + np.asarray(b, dtype=np.int64)
    return np.where(total >= 0, (total + 1) >> 1, -((1 - total) >> 1))


def leading_zeros(x: Any) -> Raw:
    """Leading zero bits of 0 < x < 2^32 as uint32."""
    return 32 - np.frexp(np.asarray(x, dtype=np.float64))[1].astype(np.int64)


def exp_on_negative_values(a: Any, integer_bits: int) -> Raw:
    """exp(a) in Q0.31 for a ≤ 0 with `integer_bits` (≤ 5): Taylor around −1/8, then one multiply per set bit."""
    a = np.asarray(a, dtype=np.int64)
    fractional = 31 - integer_bits
    quarter = 1 << (fractional - 2)
    rest = (a & (quarter - 1)) - quarter
    x = (rest << integer_bits) + (1 << 28)
    x2 = multiply(x, x)
    x3 = multiply(x2, x)
    x4 = multiply(x2, x2)
    series = divide_by_power(multiply(divide_by_power(x4, 2) + x3, ONE_THIRD) + x2, 1)
    result = EXP_MINUS_EIGHTH + multiply(EXP_MINUS_EIGHTH, x + series)
    remainder = rest - a
    for exponent, factor in EXP_STEPS:
        if exponent < integer_bits:
            result = np.where(remainder & (1 << (fractional + exponent)), multiply(result, factor), result)
    return np.where(a == 0, Q0_ONE, result)


def softmax_exponentials(p: SoftmaxParams, rounding: Rounding) -> Raw:
    """exp of the scaled difference −d in Q0.31 for d = 0 … 255; 0 beyond the smallest that counts."""
    differences = -np.arange(256, dtype=np.int64)
    within = differences >= p.diff_min
    scaled = requantize(np.where(within, differences, 0), p.multiplier, p.left_shift, rounding)
    return np.where(within, exp_on_negative_values(scaled, SOFTMAX_INTEGER_BITS), 0)


def _newton_reciprocal(half_denominator: Raw) -> Raw:
    """1 / half_denominator in Q2.29 for half_denominator in [1/2, 1] (Q0.31): three Newton-Raphson steps."""
    x = RECIPROCAL_START + multiply(half_denominator, RECIPROCAL_SLOPE)
    for _ in range(3):
        error = Q2_ONE - multiply(half_denominator, x)
        x = x + multiply_by_power(multiply(x, error), 2)
    return x


def one_over_one_plus(a: Any) -> Raw:
    """1 / (1 + a) in Q0.31 for a in [0, 1) (Q0.31)."""
    return multiply_by_power(_newton_reciprocal(half_sum(a, Q0_ONE)), 1)


def one_minus_over_one_plus(a: Any) -> Raw:
    """(1 − a) / (1 + a) in Q0.31 for a in [0, 1) (Q0.31)."""
    return multiply_by_power(_newton_reciprocal(half_sum(a, Q0_ONE)) - Q2_ONE, 2)


def reciprocal(x: Any, integer_bits: int) -> tuple[Raw, Raw]:
    """(scale, bits) with 1/x = scale · 2^−bits, scale in Q0.31 within (1/2, 1], for x ≥ 1 with `integer_bits`."""
    x = np.asarray(x, dtype=np.int64)
    headroom = leading_zeros(x)
    return one_over_one_plus((x << headroom) - (1 << 31)), integer_bits - headroom


def logistic(a: Any, integer_bits: int) -> Raw:
    """1 / (1 + exp(−a)) in Q0.31."""
    a = np.asarray(a, dtype=np.int64)
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits))
    result = np.where(a > 0, positive, Q0_ONE - positive)
    return np.where(a == 0, 1 << 30, result)


def tanh(a: Any, integer_bits: int) -> Raw:
    """tanh(a) in Q0.31; `integer_bits` ≤ 4, since the exponential is taken of 2·a with one integer bit more."""
    a = np.asarray(a, dtype=np.int64)
    positive = one_minus_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits + 1))
    return np.where(a == 0, 0, np.where(a > 0, positive, -positive))


SQRT_SQRT_2 = 2.0**0.25
LOG_2 = _constant(np.log(2.0))
SQRT_SQRT_HALF = _constant(0.5**0.25)
SQRT_HALF = _constant(0.5**0.5)
QUARTER = 1 << 29
ALPHA_N = _constant(11.0 / 240.0 * SQRT_SQRT_2)
ALPHA_D = _constant(1.0 / 20.0 * SQRT_SQRT_2)
ALPHA_I = _constant(2.0 / SQRT_SQRT_2 - SQRT_SQRT_2)
ALPHA_F = _constant(1.0 / 4.0 * SQRT_SQRT_2)


def log_of_at_least_one(value: Any, integer_bits: int, output_bits: int) -> Raw:
    """Natural logarithm of value ≥ 1 (`integer_bits`), as a raw value with `output_bits` integer bits.

    value = 2^e · r with r near 2^(−1/4), the better of two candidates half an octave apart; then e · log 2 plus a
    rational approximation of log r.
    """
    value = np.asarray(value, dtype=np.int64)
    accumulator_bits = output_bits + 1
    shifted_quarter = divide_by_power(QUARTER, accumulator_bits)
    unit = 31 - accumulator_bits

    headroom_a = leading_zeros(value)
    r_a = multiply_by_power(multiply(multiply_by_power(value, headroom_a - 1), SQRT_HALF), 1)
    exponent_a = np.minimum(multiply_by_power(integer_bits - headroom_a, unit) + shifted_quarter, INT32_MAX)

    scaled = multiply(value, SQRT_HALF)
    headroom_b = leading_zeros(scaled) - 1
    r_b = multiply_by_power(value, headroom_b)
    exponent_b = np.maximum(multiply_by_power(integer_bits - headroom_b, unit) - shifted_quarter, INT32_MIN)

    r = np.minimum(r_a, r_b)
    exponent = np.maximum(exponent_a, exponent_b)
    p = half_sum(r, SQRT_SQRT_HALF)
    q = 2 * (r - SQRT_SQRT_HALF)
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), ALPHA_N)
    denominator = multiply(p, ALPHA_I + q + multiply(ALPHA_D, square)) + multiply(ALPHA_F, q)
    fraction = multiply(divide_by_power(numerator, accumulator_bits), one_over_one_plus(denominator))
    return multiply_by_power(multiply(exponent, LOG_2) + fraction, accumulator_bits - output_bits)


SIGMOID_TABLE = np.array(sigmoid_table(), dtype=np.int64)


def _interpolated(magnitude: Raw, bits: int) -> Raw:
    """The sigmoid table at magnitude / 2^bits, in units of 2^-(16 + bits); `magnitude` is below 255 · 2^bits."""
    index = magnitude >> bits
    low, high = SIGMOID_TABLE[index], SIGMOID_TABLE[index + 1]
    result: Raw = (low << bits) + (magnitude & ((1 << bits) - 1)) * (high - low)
    return result


def sigmoid_16(x: Any) -> Raw:
    """sigmoid(x / (24 · 512)) in Q0.15, as TFLM's int16 kernels interpolate it."""
    x = np.asarray(x, dtype=np.int64)
    magnitude, limit = np.abs(x), 255 << 9
    value = np.where(magnitude >= limit, 0x7FFF << 10, _interpolated(np.minimum(magnitude, limit - 1), 9))
    result: Raw = (np.where(x >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1)) >> 10
    return result


def tanh_16(x: Any) -> Raw:
    """tanh(x / (48 · 256)) in Q0.15, from the table of the sigmoid."""
    x = np.asarray(x, dtype=np.int64)
    magnitude, limit = np.abs(x), 255 << 8
    value = np.where(magnitude >= limit, 0xFFFF << 8, _interpolated(np.minimum(magnitude, limit - 1), 8))
    result: Raw = np.where(x >= 0, value - (1 << 23) + (1 << 7), (1 << 23) - value + (1 << 7) - 1) >> 8
    return result


FUNCTIONS_16 = {Function.SIGMOID: sigmoid_16, Function.TANH: tanh_16}
"""Functions of int16 inputs; their output's scale is 1/32768."""
