"""Integer versions of the constants that operators own: weights, biases, slopes and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinycompress.execute.functions import apply
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.quant_params import LAYER_NORM_BETA_LIMIT, LAYER_NORM_BITS, LAYER_NORM_GAMMA_BITS
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.quantize.ranges import SMALLEST_SCALE, WEIGHT_LIMIT, WeightScales, activation_qparams

WeightedOp = o.Conv2D | o.DepthwiseConv2D | o.TransposeConv2D | o.FullyConnected
WEIGHTED = (o.Conv2D, o.DepthwiseConv2D, o.TransposeConv2D, o.FullyConnected)

BIAS_LIMIT = 1 << 30
"""Largest magnitude of a quantized bias: half the accumulator's range is left for the products."""


@dataclass(frozen=True)
class QuantizedWeights:
    """int8 weights, int32 bias (None when the operator has none), and how many channels the bias made coarser."""

    weights: Tensor
    bias: Tensor | None
    coarser_channels: int


def output_axis(op: WeightedOp) -> int:
    """The axis of the operator's weights that counts output channels."""
    return 2 if isinstance(op, o.DepthwiseConv2D) else 0


def quantize_weights(
    op: WeightedOp, weights: Tensor, bias: Tensor | None, input_scale: float, method: WeightScales, per_channel: bool
) -> QuantizedWeights:
    """Symmetric int8 weights in [−127, 127] and the int32 bias of scale s_x · s_w.

    A channel whose bias would exceed BIAS_LIMIT gets a larger weight scale instead of a saturated bias.
    """
    axis = output_axis(op)
    rows = np.moveaxis(weights.constant, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    scales = method(rows if per_channel else rows.reshape(1, -1))
    coarser = 0
    if bias is not None:
        needed = np.abs(bias.constant.astype(np.float64)) / (input_scale * BIAS_LIMIT)
        needed = needed if per_channel else needed.max(keepdims=True)
        dead = np.abs(rows).max(axis=1, initial=0.0) == 0.0
        coarser = int(np.count_nonzero((needed > scales) & ~dead)) if per_channel else int(needed[0] > scales[0])
        scales = np.maximum(scales, needed)
    scales = scales.astype(np.float32).astype(np.float64)
    qparams = QParams(tuple(scales), (0,) * len(scales), axis if per_channel else None)
    quantized = quantize_symmetric(weights, qparams)
    return QuantizedWeights(quantized, None if bias is None else quantize_bias(bias, input_scale, qparams), coarser)


def quantize_symmetric(weights: Tensor, qparams: QParams) -> Tensor:
    """Float weights as int8 in [−127, 127] with the given scales; zero points are 0."""
    values = np.maximum(quantize_values(weights.constant, qparams, DType.INT8), -WEIGHT_LIMIT)
    return Tensor(weights.name, weights.shape, DType.INT8, qparams, values, weights.source)


def quantize_bias(bias: Tensor, input_scale: float, weights: QParams) -> Tensor:
    """A float bias as int32 of scale s_x · s_w per channel (its first axis), saturated."""
    scales = np.asarray(weights.scale) * input_scale
    real = bias.constant.astype(np.float64) / scales.reshape(-1, *(1,) * (len(bias.shape) - 1))
    values = np.clip(np.sign(real) * np.floor(np.abs(real) + 0.5), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    qparams = QParams(tuple(scales), (0,) * len(scales), None if weights.is_per_tensor else 0, bits=32)
    return Tensor(bias.name, bias.shape, DType.INT32, qparams, values, bias.source)


def quantize_norm(gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """gamma of a LayerNorm as int16 of LAYER_NORM_GAMMA_BITS bits, and beta as int32 in units of gamma's scale / 2^12.

    A beta that would exceed LAYER_NORM_BETA_LIMIT makes gamma's scale larger instead.
    """
    limit, unit = (1 << (LAYER_NORM_GAMMA_BITS - 1)) - 1, 1 << LAYER_NORM_BITS
    largest = (
        float(np.abs(gamma.constant).max()) / limit,
        float(np.abs(beta.constant).max()) * unit / LAYER_NORM_BETA_LIMIT,
    )
    scale = float(np.float32(max(*largest, SMALLEST_SCALE)))
    qparams = QParams.per_tensor(scale, 0, 16)
    values = np.clip(quantize_values(gamma.constant, qparams, DType.INT16), -limit, limit)
    return (
        Tensor(gamma.name, gamma.shape, DType.INT16, qparams, values, gamma.source),
        quantize_bias(beta, 1.0 / unit, qparams),
    )


def quantize_operand(tensor: Tensor, qparams: QParams | None = None) -> Tensor:
    """A constant operand or slope as int8, asymmetric per tensor; with its own range unless `qparams` is given."""
    data: Array = tensor.constant
    qparams = activation_qparams(float(data.min()), float(data.max())) if qparams is None else qparams
    dtype = activation_dtype(qparams)
    return Tensor(tensor.name, tensor.shape, dtype, qparams, quantize_values(data, qparams, dtype), tensor.source)


def activation_dtype(qparams: QParams) -> DType:
    """int8, or int16 for parameters of 16 bits (the cell state of an LSTM)."""
    return DType.INT16 if qparams.bits == 16 else DType.INT8


def function_table(op: o.Table, x: QParams, y: QParams, name: str) -> Tensor:
    """The operator's 256 int8 outputs, entry q + 128 for input q: the real function, rounded once.

    Where the function has no value (log or rsqrt of a negative) the nearest input's that has one is taken.
    """
    inputs = dequantize_values(np.arange(-128, 128, dtype=np.int8), x).astype(np.float64)
    real = apply(op.function, inputs, op.alpha)
    valid = np.flatnonzero(~np.isnan(real))
    nearest = valid[np.abs(valid[None, :] - np.arange(256)[:, None]).argmin(axis=1)]
    beyond = 1000.0 * y.tensor_scale
    values = quantize_values(np.clip(real[nearest], -beyond, beyond), y, DType.INT8)
    return Tensor(name, (256,), DType.INT8, None, values, op.function.value)


def renamed(tensor: Tensor, name: str) -> Tensor:
    """The same constant under another name."""
    return replace(tensor, name=name)
