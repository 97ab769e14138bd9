"""Integer parameters of the int8 operators: the numbers that the C kernels' structs and the numpy reference share.

Every function takes tensors (for their scales) and returns plain integers; nothing here looks at data. The order of
float operations is TFLM's, so that the integers equal those of its reference kernels (METHODS B4.2, B4.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import quantize_multiplier, quantize_values, scale_ratio
from tinycompress.ir.graph import Rounding
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

ADD_LEFT_SHIFT = {DType.INT8: 20, DType.INT16: 15}
"""Add and Sub scale both zero-centred operands by 2^20 or 2^15 before rescaling them to a common scale."""

SOFTMAX_INTEGER_BITS = 5
"""Scaled differences in (log-)softmax are Q5.26."""

RESIZE_FRACTION_BITS = 10
"""ResizeBilinear weighs neighbours in units of 2^-10 per axis."""


@dataclass(frozen=True)
class AddParams:
    """Rescaling of `y = a ± b`: each operand to (x − zp)·2^left_shift · multiplier · 2^(shift−31), then the sum.

    Shifts are ≤ 0 in the TFLite convention (negative is to the right).
    """

    left_shift: int
    a_multiplier: int
    a_shift: int
    b_multiplier: int
    b_shift: int
    output_multiplier: int
    output_shift: int


def add_params(a: Tensor, b: Tensor, y: Tensor, rounding: Rounding = Rounding.DOUBLE) -> AddParams:
    """Parameters of Add and Sub. Both operands are brought to scale 2·max(s_a, s_b) / 2^left_shift, then to s_y."""
    sa, sb, sy = (t.quantization.tensor_scale for t in (a, b, y))
    common = 2.0 * max(sa, sb)
    ma, ha = quantize_multiplier(sa / common, rounding)
    mb, hb = quantize_multiplier(sb / common, rounding)
    left_shift = ADD_LEFT_SHIFT[y.dtype]
    mo, ho = quantize_multiplier(common / ((1 << left_shift) * sy), rounding)
    return AddParams(left_shift, ma, ha, mb, hb, mo, ho)


def mul_multiplier(a: Tensor, b: Tensor, y: Tensor, rounding: Rounding = Rounding.DOUBLE) -> tuple[int, int]:
    """(multiplier, shift) of Mul and MatMul: s_a · s_b / s_y, applied to (a − zp_a)(b − zp_b) or to sums of them."""
    sa, sb, sy = (t.quantization.tensor_scale for t in (a, b, y))
    return quantize_multiplier(scale_ratio((sa, sb), (sy,)), rounding)


def same_quantization(a: Tensor, b: Tensor) -> bool:
    """Whether both tensors have one scale and one zero point, so that values pass between them unchanged."""
    qa, qb = a.quantization, b.quantization
    return (qa.tensor_scale, qa.tensor_zero_point) == (qb.tensor_scale, qb.tensor_zero_point)


def rescale_multiplier(x: Tensor, y: Tensor, rounding: Rounding = Rounding.DOUBLE) -> tuple[int, int]:
    """(multiplier, shift) of s_x / s_y: Quantize between integers, Concat inputs, Clamp with its own output scale.

    y = requantize(x − zp_x) + zp_y. Concat, Clamp and Quantize int8 → int8 with `same_quantization` copy instead, which
    gives the same bytes.
    """
    return quantize_multiplier(scale_ratio((x.quantization.tensor_scale,), (y.quantization.tensor_scale,)), rounding)


@dataclass(frozen=True)
class MeanParams:
    """y = requantize(Σx − count·zp_x, multiplier, shift) + zp_y."""

    count: int
    multiplier: int
    shift: int


def mean_params(x: Tensor, y: Tensor, count: int, rounding: Rounding = Rounding.DOUBLE) -> MeanParams:
    """Parameters of Mean over `count` elements: 1/count is folded into the multiplier of s_x / s_y.

    The fold keeps up to 32 extra bits of the multiplier, then divides by count, truncating; so also for equal scales.
    """
    multiplier, shift = rescale_multiplier(x, y, rounding)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return MeanParams(count, (multiplier << extra) // count, shift - extra)


@dataclass(frozen=True)
class SoftmaxParams:
    """diff = q − max(row), contributing 0 below `diff_min`.

    diff · 2^left_shift · multiplier / 2^31, rounded by requantize, is beta · s · diff in Q5.26.
    """

    multiplier: int
    left_shift: int
    diff_min: int


def softmax_params(x: Tensor, beta: float = 1.0, rounding: Rounding = Rounding.DOUBLE) -> SoftmaxParams:
    """Parameters of Softmax and of the exponentials inside LogSoftmax (beta 1)."""
    bits = SOFTMAX_INTEGER_BITS
    limit = 2.0 ** (30 if rounding is Rounding.SINGLE else 31) - 1.0
    real = min(float(np.float32(beta)) * x.quantization.tensor_scale * (1 << (31 - bits)), limit)
    multiplier, shift = quantize_multiplier(real, rounding)
    radius = ((1 << bits) - 1) * (1 << (31 - bits)) / 2.0**shift
    return SoftmaxParams(multiplier, shift, -math.floor(radius))


FIXED_OUTPUTS: dict[type[o.Op], QParams] = {
    o.Softmax: QParams.per_tensor(1 / 256, -128),
    o.LogSoftmax: QParams.per_tensor(16 / 256, 127),
}
"""Operators whose int8 form has one possible result scale."""

SOFTMAX_REACH = 10.0
"""An int16 softmax takes exp(−10) for the smallest exponential there is."""

TABLE_STEPS = 512
"""Steps between the entries of the tables that an int16 softmax interpolates."""


def has_wide_sums(op: o.Conv2D | o.DepthwiseConv2D | o.FullyConnected, tensors: Mapping[str, Tensor]) -> bool:
    """Whether an int16 layer sums in 64 bits, as TFLM does without a bias or with one of int64; else it wraps at 32."""
    return op.bias is None or tensors[op.bias].dtype is DType.INT64


def softmax_16_scaling(x: Tensor, beta: float, rounding: Rounding = Rounding.DOUBLE) -> tuple[int, int]:
    """(multiplier, shift) that take differences of an int16 softmax's inputs to units of 10 / 65535."""
    real = float(np.float32(beta)) * x.quantization.tensor_scale / (SOFTMAX_REACH / 65535.0)
    return quantize_multiplier(real, rounding)


def interpolation_table(function: Callable[[Array], Array], low: float, high: float) -> tuple[int, ...]:
    """513 Q0.15 values of a function over [low, high]; each lowered by half the error of the chord after it.

    All in float32, as TFLM computes its tables: in double, values near a tie round the other way.
    """

    def scaled(positions: Array) -> Array:
        steps = np.float32(low) + positions.astype(np.float32) * np.float32((high - low) / TABLE_STEPS)
        return function(steps) * np.float32(32768.0)

    at = np.arange(TABLE_STEPS)
    here, half = _round_float(scaled(at)), np.float32(0.5)
    between = _round_float((scaled(at + 1) + here) * half)
    error = _round_float((between - _round_float(scaled(at + 0.5))) * half)
    entries = np.append(here - error, _round_float(scaled(np.array([TABLE_STEPS]))))
    return tuple(int(e) for e in np.clip(entries, -32768, 32767))


def _round_float(x: Array) -> Array:
    """To the nearest integer, halves away from zero."""
    rounded: Array = np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)
    return rounded


def softmax_16_tables() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """exp(x) over [−10, 0] and 1 / (1 + x) over [0, 1], as an int16 softmax interpolates them."""
    exp = interpolation_table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), -SOFTMAX_REACH, 0.0)
    return exp, interpolation_table(lambda x: np.float32(1.0) / (np.float32(1.0) + x), 0.0, 1.0)


def sigmoid_16_scaling(x: Tensor, function: o.Function) -> tuple[int, int]:
    """(multiplier, right shift) that take an int16 input of sigmoid or tanh to units of 1 / (3 · 4096).

    Scales of 2^-12 (for tanh also 2^-11) are exact; others get 15 bits.
    """
    scale = x.quantization.tensor_scale
    exponent = log2_of_scale(scale)
    if exponent is not None and exponent + 12 in ((0, 1) if function is o.Function.TANH else (0,)):
        return 3 << (exponent + 12), 0
    real, shift = scale * 4096.0 * 3.0, 0
    while real <= 32767.0 / 2.0 and shift <= 30:
        real, shift = real * 2.0, shift + 1
    return int(real), shift


@dataclass(frozen=True)
class LogSoftmaxParams:
    """Softmax's parameters, and (multiplier, shift) that take a Q5.26 value back to units of the input's q."""

    softmax: SoftmaxParams
    reverse_multiplier: int
    reverse_shift: int


def log_softmax_params(x: Tensor, rounding: Rounding = Rounding.DOUBLE) -> LogSoftmaxParams:
    """Parameters of LogSoftmax."""
    forward = softmax_params(x, 1.0, rounding)
    real = (1 << (31 - forward.left_shift)) / forward.multiplier
    multiplier, shift = quantize_multiplier(real, rounding)
    return LogSoftmaxParams(forward, multiplier, shift)


LAYER_NORM_BITS = 12
"""Fraction bits of a normalised value (x − mean) / deviation, whose magnitude is below sqrt(c)."""

LAYER_NORM_GAMMA_BITS = 12
"""gamma is within ±2047, so that a normalised value times it, and beta, fit 32 bits."""

LAYER_NORM_BETA_LIMIT = 1 << 30
"""Largest magnitude of a quantized beta: half the accumulator's range is left for the products."""

LAYER_NORM_CHANNELS = 1 << 14
"""Most channels of a quantized LayerNorm: normalised values are then below 2^7."""


@dataclass(frozen=True)
class LayerNormParams:
    """y = requantize(normalised · gamma + beta, multiplier, shift) + zp_y, in units of s_gamma / 2^LAYER_NORM_BITS.

    With S = Σq and d = c·q − S, W = c·Σq² − S² + epsilon, at least 1 (`epsilon` in these units: c²·epsilon / s_x²);
    normalised is d / sqrt(W) in LAYER_NORM_BITS fraction bits: with W·4^n in [2^60, 2^62) and its integer root r,
    (d · floor((2^61 − 1) / r)) / 2^(61 − LAYER_NORM_BITS − n), rounded to nearest, ties up.
    """

    epsilon: int
    multiplier: int
    shift: int

    @property
    def epsilon_words(self) -> tuple[int, int]:
        """Low and high 32 bits of epsilon, as int32."""
        low = self.epsilon & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low, self.epsilon >> 32


def layer_norm_params(
    op: o.LayerNorm, tensors: Mapping[str, Tensor], rounding: Rounding = Rounding.DOUBLE
) -> LayerNormParams:
    """Parameters of a quantized LayerNorm."""
    x, gamma, y = (tensors[n] for n in (op.inputs[0], op.gamma, op.output))
    real = op.epsilon * (x.shape[-1] / x.quantization.tensor_scale) ** 2
    unit = gamma.quantization.tensor_scale / (1 << LAYER_NORM_BITS)
    return LayerNormParams(
        round(min(real, 2.0**60)), *quantize_multiplier(scale_ratio((unit,), (y.quantization.tensor_scale,)), rounding)
    )


def prelu_multipliers(
    x: Tensor, alpha: Tensor, y: Tensor, rounding: Rounding = Rounding.DOUBLE
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((multiplier, shift) for x ≥ zp_x, (multiplier, shift) for the product (x − zp_x)(alpha − zp_alpha))."""
    sx, sa, sy = (t.quantization.tensor_scale for t in (x, alpha, y))
    return (
        quantize_multiplier(scale_ratio((sx,), (sy,)), rounding),
        quantize_multiplier(scale_ratio((sx, sa), (sy,)), rounding),
    )


def svdf_multipliers(
    x: Tensor, feature: Tensor, state: Tensor, time: Tensor, y: Tensor, rounding: Rounding = Rounding.DOUBLE
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(multiplier, shift) of feature products into the state, and of time products into the output."""
    sx, sf, state_scale, st, sy = (t.quantization.tensor_scale for t in (x, feature, state, time, y))
    return (
        quantize_multiplier(scale_ratio((sx, sf), (state_scale,)), rounding),
        quantize_multiplier(scale_ratio((state_scale, st), (sy,)), rounding),
    )


LSTM_GATE_BITS = 12
"""Fraction bits of an LSTM's int16 gates before their function: Q3.12."""

SIGMOID_STEPS_PER_UNIT = 24
"""The int16 sigmoid interpolates between entries 1/24 apart; tanh(x) is 2 · sigmoid(2x) − 1."""

Scaling = tuple[int, int]
"""(multiplier, shift) of a requantization."""


def sigmoid_table() -> tuple[int, ...]:
    """What int16 sigmoid and tanh interpolate between, in units of 2^-16, at i / 24 for i in 0..255.

    A chord of the curve lies below it; entries are raised by half the largest distance, h² · |sigmoid''| / 16. The
    last entry is where the functions saturate.
    """
    entries = []
    for i in range(255):
        value = 1 / (1 + math.exp(-i / SIGMOID_STEPS_PER_UNIT))
        curvature = value * (1 - value) * (1 - 2 * value)
        entries.append(math.floor(65536 * (value - curvature / (16 * SIGMOID_STEPS_PER_UNIT**2)) + 0.5))
    return (*entries, 65535)


def log2_of_scale(scale: float) -> int | None:
    """n where the scale is 2^n, as TFLM decides it (to 1e-3 in the exponent); None otherwise."""
    exponent = math.log2(scale)
    return round(exponent) if abs(exponent - round(exponent)) < 1e-3 else None


@dataclass(frozen=True)
class LSTMParams:
    """Integers of an LSTM step, per gate where plural (input, forget, cell, output).

    Gate sums become Q3.12 by `inputs` and `recurrents`; sigmoid and tanh are Q0.15. `forget` scales forget · cell and
    `update` input · cell gate to the cell's scale, `output` scales output · tanh(cell) to y. tanh(cell) looks at
    (cell · tanh_multiplier + rounding) >> tanh_shift. `cell_limit` bounds the cell state.
    """

    inputs: tuple[Scaling, ...]
    recurrents: tuple[Scaling, ...]
    forget: Scaling
    update: Scaling
    output: Scaling
    tanh_multiplier: int
    tanh_shift: int
    cell_limit: int


def lstm_params(op: o.LSTM, tensors: Mapping[str, Tensor], rounding: Rounding = Rounding.DOUBLE) -> LSTMParams:
    """Parameters of a quantized LSTM. ValueError when the cell's scale is not a power of two."""
    x, hidden, cell = (tensors[n] for n in op.inputs)
    exponent = log2_of_scale(cell.quantization.tensor_scale)
    if exponent is None:
        raise ValueError(f"the cell state's scale {cell.quantization.tensor_scale:g} is not a power of two")

    def gates(source: Tensor, weights: Tensor) -> tuple[Scaling, ...]:
        scale = source.quantization.tensor_scale
        ratios = (scale_ratio((scale, w), (2.0**-LSTM_GATE_BITS,)) for w in weights.quantization.scale)
        return tuple(quantize_multiplier(ratio, rounding) for ratio in ratios)

    unit, cell_scale = 2.0**-15, cell.quantization.tensor_scale
    left = 15 + exponent - 3
    limit = 32768.0 if op.cell_clip <= 0 else min(float(np.float32(op.cell_clip)) / cell_scale, 32767.0)
    return LSTMParams(
        gates(x, tensors[op.input_weights]),
        gates(hidden, tensors[op.recurrent_weights]),
        quantize_multiplier(scale_ratio((unit, cell_scale), (cell_scale,)), rounding),
        quantize_multiplier(scale_ratio((unit, unit), (cell_scale,)), rounding),
        quantize_multiplier(scale_ratio((unit, unit), (hidden.quantization.tensor_scale,)), rounding),
        3 << max(left, 0),
        max(-left, 0),
        int(limit),
    )


def pad_value(op: o.Pad, y: Tensor) -> int:
    """The quantized value that Pad writes: `op.value` in the output's quantization, so that 0.0 is the zero point."""
    return int(quantize_values(np.asarray(op.value), y.quantization, y.dtype).item())


def nearest_indices(size: int, output: int, align_corners: bool, half_pixel_centers: bool) -> tuple[int, ...]:
    """Per output position along one axis, the input position that ResizeNearest copies. float32 arithmetic."""
    ratio = align_corners and output > 1
    scale = np.float32(size - 1) / np.float32(output - 1) if ratio else np.float32(size) / np.float32(output)
    offset = np.float32(0.5 if half_pixel_centers else 0.0)
    indices = []
    for i in range(output):
        place = float((np.float32(i) + offset) * scale)
        index = math.floor(place + 0.5) if align_corners else math.floor(place)
        indices.append(max(0, min(index, size - 1)))
    return tuple(indices)


@dataclass(frozen=True)
class BilinearTap:
    """One output position along one axis: (x[low]·(1024 − weight) + x[high]·weight) / 1024."""

    low: int
    high: int
    weight: int


def bilinear_taps(size: int, output: int, align_corners: bool, half_pixel_centers: bool) -> tuple[BilinearTap, ...]:
    """Taps of integer ResizeBilinear along one axis, in 2^-10 units. `weight` may leave [0, 1024] where low == high.

    y = (Σ x·w_y·w_x ± 2^19) / 2^20, truncated, with the sign of the sum: rounds half away from zero.
    """
    one = 1 << RESIZE_FRACTION_BITS
    scale = (one * size + output // 2) // output
    if align_corners and output > 1:
        scale = (one * (size - 1) + (output - 1) // 2) // (output - 1)
    taps = []
    for i in range(output):
        place = i * scale + (scale // 2 - one // 2 if half_pixel_centers else 0)
        low = max(place, 0) // one
        high = min(max(place + one - 1, 0) // one, size - 1)
        taps.append(BilinearTap(low, high, place - one * low))
    return tuple(taps)
