"""Fixed-point facts of int8 inference: multipliers, shifts, requantization, activation ranges.

Source of the maths: the TFLite int8 specification and gemmlowp fixed-point arithmetic (METHODS B4.2). Multiplier and
shift are derived here and nowhere else; the C kernels and the numpy reference take them from these functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir.graph import Rounding
from tinycompress.ir.ops import Activation
from tinycompress.ir.tensor import DType, QParams, Tensor

Int64 = NDArray[np.int64]

_INTEGERS = (DType.INT8, DType.INT16, DType.INT32, DType.INT64)
_INT_RANGE: dict[DType, tuple[int, int]] = {
    t: (-(1 << (8 * t.itemsize - 1)), (1 << (8 * t.itemsize - 1)) - 1) for t in _INTEGERS
}


def integer_range(dtype: DType) -> tuple[int, int]:
    """Smallest and largest value of an integer dtype."""
    return _INT_RANGE[dtype]


def quantize_multiplier(real: float, rounding: Rounding = Rounding.DOUBLE) -> tuple[int, int]:
    """A real multiplier ≥ 0 as (Q31 multiplier, shift): real ≈ multiplier · 2^(shift − 31).

    multiplier is 0 or in [2^30, 2^31 − 1]; a positive shift is to the left. Rounds half away from zero.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if rounding is Rounding.SINGLE and shift > 30:
        return (1 << 31) - 1, 30
    return multiplier, shift


def requantize(values: NDArray[Any], multiplier: Any, shift: Any, rounding: Rounding = Rounding.DOUBLE) -> Int64:
    """int32 values · multiplier · 2^(shift − 31), rounded as `rounding` says; broadcasts; returns int64 values.

    Double rounding: saturating rounding doubling high multiply (ties up), then a rounding right shift (ties away from
    zero). The left-shifted value wraps at 32 bits as TFLM's int32 arithmetic does, a value rounded once as LiteRT's.
    """
    x = np.asarray(values, dtype=np.int64)
    m = np.asarray(multiplier, dtype=np.int64)
    s = np.asarray(shift, dtype=np.int64)
    if rounding is Rounding.SINGLE:
        total = 31 - s
        return _wrapped((x * m + (np.int64(1) << (total - 1))) >> total)
    left = np.maximum(s, 0)
    right = np.maximum(-s, 0)
    shifted = _wrapped(x << left)
    high = (shifted * m + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + (remainder > threshold)


def requantize_wide(values: NDArray[Any], multiplier: Any, shift: Any) -> Int64:
    """Sums of int16 layers, |x| < 2^47, · multiplier · 2^(shift − 31): the multiplier rounded to 16 bits, ties up.

    The result is rounded once, whatever the rounding of the graph, and wraps at 32 bits. Shifts are at most 7.
    """
    total = 15 - np.asarray(shift, dtype=np.int64)
    scaled = np.asarray(values, dtype=np.int64) * reduced_multiplier(multiplier)
    return _wrapped((scaled + (np.int64(1) << (total - 1))) >> total)


def _wrapped(values: Int64) -> Int64:
    """The low 32 bits of each value as a signed integer."""
    return (values + 2**31) % 2**32 - 2**31


def reduced_multiplier(multiplier: Any) -> Int64:
    """A Q31 multiplier rounded to Q15, ties up, at most 2^15 − 1."""
    m = np.asarray(multiplier, dtype=np.int64)
    return np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)


def quantize_values(real: NDArray[Any], qparams: QParams, dtype: DType) -> NDArray[Any]:
    """clamp(round(real / scale) + zero_point), rounding half away from zero, per tensor; float32 division as TFLite's.

    Per-axis parameters broadcast along their axis.
    """
    scale = np.asarray(qparams.scale, dtype=np.float32)
    zero_point = np.asarray(qparams.zero_point, dtype=np.int64)
    if qparams.axis is not None:
        view = [1] * np.ndim(real)
        view[qparams.axis] = len(qparams.scale)
        scale, zero_point = scale.reshape(view), zero_point.reshape(view)
    scaled = (np.asarray(real, dtype=np.float32) / scale).astype(np.float64)
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    low, high = integer_range(dtype)
    return np.clip(rounded + zero_point, low, high).astype(dtype.numpy)


def dequantize_values(quantized: NDArray[Any], qparams: QParams) -> NDArray[np.float32]:
    """scale · (q − zero_point) as float32; per-axis parameters broadcast along their axis."""
    scale = np.asarray(qparams.scale, dtype=np.float32)
    zero_point = np.asarray(qparams.zero_point, dtype=np.int64)
    if qparams.axis is not None:
        view = [1] * np.ndim(quantized)
        view[qparams.axis] = len(qparams.scale)
        scale, zero_point = scale.reshape(view), zero_point.reshape(view)
    return ((np.asarray(quantized, dtype=np.int64) - zero_point).astype(np.float32) * scale).astype(np.float32)


def _quantize_real(value: float, qparams: QParams) -> int:
    scaled = float(np.float32(value) / np.float32(qparams.tensor_scale))
    return int(math.copysign(math.floor(abs(scaled) + 0.5), scaled)) + qparams.tensor_zero_point


def activation_range(activation: Activation, output: Tensor) -> tuple[int, int]:
    """(activation_min, activation_max) of a fused clamp in the quantized domain of `output`."""
    low, high = integer_range(output.dtype)
    if activation.low is not None:
        low = max(low, _quantize_real(activation.low, output.quantization))
    if activation.high is not None:
        high = min(high, _quantize_real(activation.high, output.quantization))
    return low, max(low, high)


def scale_ratio(numerators: tuple[float, ...], denominators: tuple[float, ...]) -> float:
    """Product of scales over product of scales, in double, in TFLite's order: ((n0 · n1) …) / d0 / d1 …."""
    value = 1.0
    for n in numerators:
        value *= float(n)
    for d in denominators:
        value /= float(d)
    return value


def convolution_multipliers(
    x: Tensor, weights: Tensor, y: Tensor, channels: int, rounding: Rounding = Rounding.DOUBLE
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Per output channel (multiplier, shift) of a convolution or fully connected: s_x · s_w[c] / s_y.

    Per-tensor weights repeat their one entry `channels` times. Computed in double from float32 scales.
    """
    scales = weights.quantization.scale
    if len(scales) == 1:
        scales = scales * channels
    sx, sy = x.quantization.tensor_scale, y.quantization.tensor_scale
    pairs = [quantize_multiplier(scale_ratio((sx, sw), (sy,)), rounding) for sw in scales]
    return tuple(m for m, _ in pairs), tuple(s for _, s in pairs)
