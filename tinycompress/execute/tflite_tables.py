"""What TFLM's int8 unary operators compute for each of their 256 inputs, as the tables of IR `Table` operators.

TFLM evaluates these functions in fixed point, not by rounding the real function, so a correctly rounded table would
differ by one in places. Each function returns int8 `(256,)`, index q + 128. Source of the arithmetic: TFLM's reference
kernels and gemmlowp's fixed-point functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinycompress.execute.functions import apply
from tinycompress.ir.fixed_functions import Raw, divide_by_power, logistic, tanh
from tinycompress.ir.fixedpoint import quantize_multiplier, requantize
from tinycompress.ir.ops import Function
from tinycompress.ir.tensor import Array, QParams

TableFunction = Callable[[QParams, QParams, float], Array]

_INTEGER_BITS = 4
_INPUTS = np.arange(-128, 128, dtype=np.int64)


def _int8(values: Raw) -> Array:
    return np.clip(values, -128, 127).astype(np.int8)


def _scaled_to_q4(x: QParams) -> tuple[Raw, Raw]:
    """(q − zero_point as Q4.27 raw values, which inputs lie beyond ±(2^4 − 1) and saturate as −1, 0 or +1)."""
    multiplier, shift = quantize_multiplier(x.tensor_scale * (1 << (31 - _INTEGER_BITS)))
    radius = math.floor(((1 << _INTEGER_BITS) - 1) * 2.0 ** (31 - _INTEGER_BITS - shift))
    centred = _INPUTS - x.tensor_zero_point
    saturated = np.where(centred >= radius, 1, np.where(centred <= -radius, -1, 0)).astype(np.int64)
    return requantize(np.where(saturated == 0, centred, 0), multiplier, shift), saturated


def sigmoid_table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """LOGISTIC; the output's quantization is 1/256 and −128 by definition."""
    raw, saturated = _scaled_to_q4(x)
    values = divide_by_power(logistic(raw, _INTEGER_BITS), 31 - 8) - 128
    return _int8(np.where(saturated > 0, 127, np.where(saturated < 0, -128, values)))


def tanh_table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """TANH; the output's quantization is 1/128 and 0 by definition."""
    raw, saturated = _scaled_to_q4(x)
    values = divide_by_power(tanh(raw, _INTEGER_BITS), 31 - 7)
    return _int8(np.where(saturated > 0, 127, np.where(saturated < 0, -128, values)))


def _multiply_int16(a: Raw, b: int) -> Raw:
    """Saturating rounding doubling high multiply of int16 values."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15)), 32767)


def _int16_multiplier(real: float) -> tuple[int, int]:
    """(int16 multiplier, shift): the Q31 multiplier rounded to its upper half, saturating."""
    multiplier, shift = quantize_multiplier(real)
    limit = (1 << 31) - 1 - (1 << 15)
    return (32767 if multiplier >= limit else (multiplier + (1 << 15)) >> 16), shift


def _saturate_int16(values: Raw) -> Raw:
    return np.clip(values, -32768, 32767)


def hard_swish_table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """HARD_SWISH: x · relu6(x + 3) / 6 in int16 fixed point, the second factor in units of 3 / 32768."""
    fine = np.float32(1.0 / 128.0) * np.float32(x.tensor_scale)
    output_multiplier, output_shift = _int16_multiplier(float(fine / np.float32(y.tensor_scale)))
    reluish_multiplier, reluish_shift = _int16_multiplier(float(fine / (np.float32(3.0) / np.float32(32768.0))))
    value = (_INPUTS - x.tensor_zero_point) << 7
    scaled = _multiply_int16(value, output_multiplier)
    gate = value
    if reluish_shift > 0:
        gate = _saturate_int16(gate << (reluish_shift - 1))
    gate = _multiply_int16(gate, reluish_multiplier)
    if reluish_shift > 0:
        gate = _saturate_int16(gate << 1)
    if reluish_shift < 0:
        gate = divide_by_power(gate, -reluish_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * scaled
    high = np.minimum(np.where(product >= 0, product >> 15, -((-product) >> 15)), 32767)
    return _int8(divide_by_power(high, -output_shift) + y.tensor_zero_point)


def leaky_relu_table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """LEAKY_RELU: one multiplier for x ≥ 0, another with alpha for x < 0."""
    ratio = float(np.float32(x.tensor_scale)) / float(np.float32(y.tensor_scale))
    centred = _INPUTS - x.tensor_zero_point
    positive = requantize(centred, *quantize_multiplier(ratio))
    sign = -1 if alpha < 0 else 1
    negative = requantize(sign * centred, *quantize_multiplier(abs(_leak(x, y, alpha))))
    return _int8(np.where(centred >= 0, positive, negative) + y.tensor_zero_point)


def _leak(x: QParams, y: QParams, alpha: float) -> float:
    product = np.float32(x.tensor_scale) * np.float32(alpha)
    return float(product) / y.tensor_scale


def abs_table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """ABS: the distance from the zero point, rescaled."""
    ratio = float(np.float32(x.tensor_scale)) / float(np.float32(y.tensor_scale))
    distance = np.abs(_INPUTS - x.tensor_zero_point)
    return _int8(requantize(distance, *quantize_multiplier(ratio)) + y.tensor_zero_point)


def _rounded(function: Function) -> TableFunction:
    """The real function in float32, rounded half away from zero: TFLM's ELU, and what LiteRT looks up."""

    def table(x: QParams, y: QParams, alpha: float = 0.0) -> Array:
        real = (np.float32(x.tensor_scale) * (_INPUTS - x.tensor_zero_point).astype(np.float32)).astype(np.float32)
        with np.errstate(all="ignore"):
            return _nearest(apply(function, real, alpha) * (np.float32(1.0) / np.float32(y.tensor_scale)), y)

    return table


def _nearest(scaled: Array, y: QParams) -> Array:
    """float32 multiples of the scale as int8, half away from zero, saturating."""
    limited = np.clip(np.nan_to_num(scaled.astype(np.float64), nan=0.0), -(2.0**30), 2.0**30)
    return _int8((np.sign(limited) * np.floor(np.abs(limited) + 0.5)).astype(np.int64) + y.tensor_zero_point)


def between_table(function: Function, x: QParams, y: QParams, alpha: float = 0.0) -> Array:
    """DEQUANTIZE, the function in float32, QUANTIZE."""
    real = (x.tensor_scale * (_INPUTS - x.tensor_zero_point)).astype(np.float32)
    with np.errstate(all="ignore"):
        return _nearest(apply(function, real, alpha) / np.float32(y.tensor_scale), y)


TABLES: dict[Function, TableFunction] = {
    Function.SIGMOID: sigmoid_table,
    Function.TANH: tanh_table,
    Function.HARD_SWISH: hard_swish_table,
    Function.LEAKY_RELU: leaky_relu_table,
    Function.ABS: abs_table,
    Function.ELU: _rounded(Function.ELU),
    Function.GELU: _rounded(Function.GELU),
    Function.GELU_TANH: _rounded(Function.GELU_TANH),
    Function.EXP: _rounded(Function.EXP),
    Function.LOG: _rounded(Function.LOG),
}
