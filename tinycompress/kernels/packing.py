"""What the family modules share: folded biases, multipliers, source comments, merged axes, estimated instructions.

Conventions of every params struct: scalar members first, all `int32_t` (or arrays or structs of them), then the array
pointers; both in the order of `PackedKernel`. An array that may be absent is the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.tensor import Array, DType, Tensor
from tinycompress.kernels.catalogue import PackedArray

Scalars = tuple[tuple[str, int | tuple[int, ...]], ...]
WeightedOp = o.Conv2D | o.DepthwiseConv2D | o.FullyConnected | o.TransposeConv2D

INT32_MAX = 2**31 - 1


def tensors_of(op: o.Op, graph: Graph) -> tuple[Tensor, ...]:
    """The op's inputs, then its outputs."""
    return tuple(graph.tensors[n] for n in (*op.inputs, *op.outputs))


def is_all(dtype: DType, tensors: Sequence[Tensor]) -> bool:
    """True when every tensor has `dtype`."""
    return all(t.dtype is dtype for t in tensors)


def is_int8(op: o.Op, graph: Graph) -> bool:
    """True when every input and output of the op is an int8 activation or constant."""
    return is_all(DType.INT8, tensors_of(op, graph))


def are_activations(op: o.Op, graph: Graph) -> bool:
    """True when no input of the op is a constant."""
    return not any(graph.tensors[n].is_constant for n in op.inputs)


def describe(tensor: Tensor, what: str, layout: str) -> str:
    """Comment of a packed array: role, type, layout with its extents, and the user's name for the tensor."""
    shape = ", ".join(str(s) for s in tensor.shape)
    source = f", from {tensor.source}" if tensor.source else ""
    return f"{what}: {tensor.dtype.value} [{shape}] {layout}{source}"


def output_axis(op: WeightedOp) -> int:
    """The axis of the op's weights that counts output channels."""
    return 2 if isinstance(op, o.DepthwiseConv2D) else 0


def bias_values(op: WeightedOp, graph: Graph, channels: int) -> Array:
    """The op's bias as int64, zeros when it has none."""
    if op.bias is None:
        return np.zeros(channels, np.int64)
    return graph.tensors[op.bias].constant.astype(np.int64)


def _weights_by_channel(op: WeightedOp, graph: Graph) -> Array:
    weights = graph.tensors[op.weights].constant.astype(np.int64)
    return np.moveaxis(weights, output_axis(op), 0).reshape(weights.shape[output_axis(op)], -1)


def accumulator_fits(op: WeightedOp, graph: Graph) -> bool:
    """True when no order of adding the products to the folded bias can leave int32, whatever the input."""
    weights = _weights_by_channel(op, graph)
    reach = np.abs(bias_values(op, graph, len(weights))) + 2 * 128 * np.abs(weights).sum(axis=1)
    return bool((reach <= INT32_MAX).all())


def has_plain_weights(op: WeightedOp, graph: Graph) -> bool:
    """True for int8 activations and symmetric int8 weights with sums that fit int32: what the kernels compute."""
    weights = graph.tensors[op.weights]
    return (
        is_int8(op, graph)
        and are_activations(op, graph)
        and weights.dtype is DType.INT8
        and not any(weights.quantization.zero_point)
        and accumulator_fits(op, graph)
    )


def folded_bias(op: WeightedOp, graph: Graph) -> Array:
    """int32 bias less input zero point times the sum of the channel's weights: Σ w·(x − z) + b = Σ w·x + folded.

    Exact where every tap reads a value, padding being the zero point itself.
    """
    weights = _weights_by_channel(op, graph)
    zero_point = graph.tensors[op.inputs[0]].quantization.tensor_zero_point
    folded: Array = bias_values(op, graph, len(weights)) - zero_point * weights.sum(axis=1)
    return folded.astype(np.int32)


def requantization(op: WeightedOp, graph: Graph, rounding: Rounding) -> tuple[int, PackedArray, PackedArray]:
    """(requant_step, multiplier array, shift array): one entry per output channel, or one when all are equal."""
    weights = graph.tensors[op.weights]
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    multipliers, shifts = convolution_multipliers(x, weights, y, weights.shape[output_axis(op)], rounding)
    if len({*zip(multipliers, shifts, strict=True)}) == 1:
        multipliers, shifts = multipliers[:1], shifts[:1]
    per = "per output channel" if len(multipliers) > 1 else "for all output channels"
    return (
        int(len(multipliers) > 1),
        PackedArray("multiplier", np.array(multipliers, np.int32), f"requantization: Q31 multiplier {per}"),
        PackedArray("shift", np.array(shifts, np.int8), f"requantization: shift {per}, positive to the left", 1),
    )


def bias_array(data: Array, op: WeightedOp, graph: Graph, note: str = "input zero point folded in") -> PackedArray:
    """The packed bias, with the comment that names its source."""
    source = graph.tensors[op.bias].source if op.bias is not None else ""
    origin = f", from {source}" if source else ("" if op.bias else ", no bias in the model")
    return PackedArray("bias", data, f"bias: int32 [{data.size}], {note}{origin}")


def output_range(activation: o.Activation, y: Tensor) -> Scalars:
    """The members output_zero_point, activation_min and activation_max."""
    low, high = activation_range(activation, y)
    return (
        ("output_zero_point", y.quantization.tensor_zero_point),
        ("activation_min", low),
        ("activation_max", high),
    )


def padded_to(values: Sequence[int], length: int, fill: int) -> tuple[int, ...]:
    """`values` with `fill` in front, up to `length` entries."""
    return (*(fill,) * (length - len(values)), *values)


def strides_of(shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(rows, elements within a row) that one step along each axis moves through a tensor stored as rows."""
    if len(shape) < 2:
        return ((0, 1),) * len(shape)
    inner = tuple((0, math.prod(shape[i + 1 :])) for i in range(1, len(shape)))
    return ((1, 0), *inner)


def as_rows(axes: Sequence[Any], rank: int, unit: Any) -> tuple[Any, ...]:
    """Per-axis facts of an output, led by `unit` for its row axis when it has rank 0 or 1 and so is one row."""
    return tuple(axes) if rank >= 2 else (unit, *axes)


def estimate(per_output: float, per_tap: float, taps: Callable[[Any, Graph], int]) -> Callable[[Any, Graph], int]:
    """Instruction estimate: outputs · (per_output + taps · per_tap), on Armv7E-M at -O2; for choosing kernels only."""

    def instructions(op: o.Op, graph: Graph) -> int:
        outputs = sum(graph.tensors[n].elements for n in op.outputs)
        return round(outputs * (per_output + per_tap * taps(op, graph)))

    return instructions


def copy_instructions(run_bytes: int, runs: int) -> float:
    """Instructions of `runs` copies of `run_bytes` bytes each, between any two places (tc_copy.h); a mean of compilers
    and alignments."""
    return runs * (12 + 0.35 * run_bytes if run_bytes > 16 else 4 + 0.5 * run_bytes)


def no_taps(op: Any, graph: Graph) -> int:
    """Taps of an operator that makes each output from a fixed number of elements."""
    return 0
