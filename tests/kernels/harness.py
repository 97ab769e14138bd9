"""Runs any kernel variant on one operator, from Python, in the sanitized driver, and compares with the reference.

y = run(variant, op, graph, {"x": array})["y"]
check(variant, one_op_graph(op, tensors, outputs, rounding), rng)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.kernels.driver import Call, call
from tinycompress.emit.params import Member, struct_members
from tinycompress.emit.render import kernel_closure
from tinycompress.execute import reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, Rounding
from tinycompress.ir.ops import Op
from tinycompress.ir.shapes import infer, row_count
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel
from tinycompress.plan.rows import RowSpan, row_windows

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@cache
def _members(header: str, params_type: str) -> tuple[Member, ...]:
    return struct_members("\n".join(kernel_closure({header}).values()), params_type)


def _check_layout(variant: KernelVariant, packed: PackedKernel) -> None:
    """Scalars in struct order, then arrays in struct order; only arrays at the end may be absent."""
    members = [(m.name, m.is_pointer) for m in _members(variant.header, packed.params_type)]
    given = [(name, False) for name, _ in packed.scalars] + [(a.field, True) for a in packed.arrays]
    assert members[: len(given)] == given, f"{packed.params_type}: packed {given}, declared {members}"
    assert all(is_pointer for _, is_pointer in members[len(given) :]), f"{packed.params_type} lacks members"


def rows_of(array: Array) -> list[bytes]:
    """The rows of a tensor's value, as the kernels get them."""
    rows = row_count(array.shape)
    return [r.tobytes() for r in np.ascontiguousarray(array).reshape(rows, -1)]


def _span_rows(variant: KernelVariant, tensor: Tensor, rows: list[bytes], span: RowSpan) -> list[bytes | None]:
    padding: bytes | None = None
    if variant.needs_zero_row:
        zero_point = tensor.quantization.tensor_zero_point
        padding = np.full(len(rows[0]) // tensor.dtype.itemsize, zero_point, tensor.dtype.numpy).tobytes()
    return [rows[i] if 0 <= i < len(rows) else padding for i in range(span.start, span.stop)]


def run(
    variant: KernelVariant,
    op: Op,
    graph: QuantGraph,
    values: Arrays,
    *,
    rows_per_call: int | None = None,
    offset: int = 0,
    in_place: int | None = None,
) -> dict[str, Array]:
    """All outputs of `op` by `variant`, called for `rows_per_call` rows at a time (default: the variant's own choice).

    `in_place` is the input whose rows the output rows overwrite.
    """
    assert variant.supports(op, graph), f"{variant.name} does not support {op}"
    packed = variant.pack(op, graph, graph.rounding)
    _check_layout(variant, packed)
    outputs = [graph.tensors[n] for n in op.outputs]
    heights = [row_count(t.shape) for t in outputs]
    step = heights[0] if variant.whole_input else (rows_per_call or variant.rows_per_step(op, graph))
    stored = {n: rows_of(v) for n, v in values.items()}
    windows = row_windows(op, graph, variant)
    done: list[list[bytes]] = [[] for _ in outputs]
    for first in range(0, heights[0], step):
        count = min(step, heights[0] - first)
        ins: list[bytes | None] = []
        aliases: list[int] = []
        for window in windows:
            tensor = graph.tensors[window.tensor]
            span = window.span(first, count, row_count(tensor.shape))
            found = _span_rows(variant, tensor, stored[window.tensor], span)
            ins += found
            aliases += list(range(len(found))) if window.index == in_place else [-1] * len(found)
        counts = [count if i == 0 else h for i, h in enumerate(heights)]
        out_bytes = [t.bytes // h for t, h, n in zip(outputs, heights, counts, strict=True) for _ in range(n)]
        scratch = variant.scratch_bytes(op, graph, count)
        case = Call(count, tuple(ins), tuple(out_bytes), scratch, tuple(aliases))
        rows = iter(call(variant, packed, graph.rounding, case, offset))
        for i, n in enumerate(counts):
            done[i] += itertools.islice(rows, n)
    return {
        t.name: np.frombuffer(b"".join(rows), t.dtype.numpy).reshape(t.shape)
        for t, rows in zip(outputs, done, strict=True)
    }


def quantized(name: str, shape: tuple[int, ...], scale: float, zero_point: int, dtype: DType = DType.INT8) -> Tensor:
    """An activation with per-tensor parameters."""
    return Tensor(name, shape, dtype, QParams.per_tensor(scale, zero_point))


def constant(name: str, data: Array, scale: Any = 1.0, zero_point: int = 0, axis: int | None = None) -> Tensor:
    """A quantized constant; several scales need an axis."""
    scales = tuple(np.atleast_1d(scale).tolist())
    qparams = QParams(scales, (zero_point,) * len(scales), axis)
    return Tensor(name, data.shape, DType(str(data.dtype)), qparams, data, source=f"model/{name}")


def one_op_graph(op: Op, tensors: list[Tensor], outputs: list[QParams | Tensor], rounding: Rounding) -> QuantGraph:
    """A graph of `op` alone: its inputs are the graph's; output shapes are inferred.

    `outputs` gives the parameters of int8 outputs, or whole tensors.
    """
    pool = {t.name: t for t in tensors}
    for name, shape, given in zip(op.outputs, infer(op, pool), outputs, strict=True):
        pool[name] = given if isinstance(given, Tensor) else Tensor(name, shape, DType.INT8, given)
    inputs = tuple(GraphInput(n) for n in dict.fromkeys(op.inputs) if not pool[n].is_constant)
    return to_quant_graph(Graph("case", inputs, op.outputs, pool, (op,)), rounding)


def fill(rng: np.random.Generator, tensor: Tensor, kind: str = "random") -> Array:
    """A value for an activation: 'random' over its type's range, or 'lowest', 'highest', 'zero_point'."""
    low, high = (int(np.iinfo(tensor.dtype.numpy).min), int(np.iinfo(tensor.dtype.numpy).max))
    if kind == "random":
        return rng.integers(low, high + 1, tensor.shape).astype(tensor.dtype.numpy)
    value = {"lowest": low, "highest": high, "zero_point": tensor.quantization.tensor_zero_point}[kind]
    return np.full(tensor.shape, value, tensor.dtype.numpy)


FILLS = ("random", "lowest", "highest", "zero_point")


def check(
    variant: KernelVariant,
    graph: QuantGraph,
    rng: np.random.Generator,
    fills: tuple[str, ...] = FILLS,
) -> None:
    """Asserts that `variant` computes the bytes of `execute.reference` for the graph's one operator.

    For each fill of the inputs: any number of rows per call, rows off alignment, and in place where the variant may.
    """
    (op,) = graph.ops
    for kind in fills:
        values = {n: fill(rng, graph.tensors[n], kind) for n in graph.input_names}
        expected = reference.run(graph, values).outputs
        height = row_count(graph.tensors[op.outputs[0]].shape)
        offsets = (0,) if variant.row_alignment > 1 else (0, int(rng.integers(1, 4)))
        for offset in offsets:
            rows = int(rng.integers(1, height + 1))
            _equal(run(variant, op, graph, values, rows_per_call=rows, offset=offset), expected, variant, kind, rows)
        for index in variant.in_place:
            if _may_be_in_place(op, graph, index):
                _equal(run(variant, op, graph, values, in_place=index), expected, variant, f"{kind} in place", 1)


def _may_be_in_place(op: Op, graph: QuantGraph, index: int) -> bool:
    if index >= len(op.inputs) or graph.tensors[op.inputs[index]].is_constant or len(set(op.inputs)) < len(op.inputs):
        return False
    x, y = graph.tensors[op.inputs[index]], graph.tensors[op.outputs[0]]
    return x.bytes == y.bytes and row_count(x.shape) == row_count(y.shape)


def _equal(got: Arrays, expected: Arrays, variant: KernelVariant, kind: str, rows: int) -> None:
    for name, value in got.items():
        np.testing.assert_array_equal(
            value, expected[name], err_msg=f"{variant.name}, {kind} input, {rows} rows per call, output {name}"
        )


def conv_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (6, 7, 5),
    out_channels: int = 4,
    kernel: o.Pair = (3, 3),
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (0, 0, 0, 0),
    groups: int = 1,
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = True,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-Conv2D graph with random weights (or all −127 and 127), scales and zero points."""
    weights = _weights(rng, (out_channels, *kernel, shape[2] // groups), extreme)
    op = o.Conv2D(
        name="conv", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=stride, dilation=dilation,
        padding=padding, groups=groups, activation=activation,
    )  # fmt: skip
    return weighted_graph(rng, op, shape, weights, 0, out_channels, per_channel, rounding)


def depthwise_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (6, 7, 5),
    multiplier: int = 1,
    kernel: o.Pair = (3, 3),
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (0, 0, 0, 0),
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = True,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-DepthwiseConv2D graph with random weights, scales and zero points."""
    channels = shape[2] * multiplier
    op = o.DepthwiseConv2D(
        name="dw", inputs=("x",), outputs=("y",), weights="w", bias="b", multiplier=multiplier, stride=stride,
        dilation=dilation, padding=padding, activation=activation,
    )  # fmt: skip
    weights = _weights(rng, (*kernel, channels), extreme)
    return weighted_graph(rng, op, shape, weights, 2, channels, per_channel, rounding)


def fully_connected_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, ...] = (16,),
    outputs: int = 5,
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = False,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-FullyConnected graph with random weights, scales and zero points."""
    op = o.FullyConnected(name="fc", inputs=("x",), outputs=("y",), weights="w", bias="b", activation=activation)
    weights = _weights(rng, (outputs, shape[-1]), extreme)
    return weighted_graph(rng, op, shape, weights, 0, outputs, per_channel, rounding)


def with_weights_zero_point(graph: QuantGraph, zero_point: int) -> QuantGraph:
    """The graph with its per-tensor weights "w" taken to be asymmetric."""
    weights = graph.tensors["w"]
    qparams = QParams.per_tensor(weights.quantization.tensor_scale, zero_point)
    return replace(graph, tensors={**graph.tensors, "w": replace(weights, qparams=qparams)})


def _weights(rng: np.random.Generator, shape: tuple[int, ...], extreme: bool) -> Array:
    return (rng.choice([-127, 127], shape) if extreme else rng.integers(-127, 128, shape)).astype(np.int8)


def weighted_graph(
    rng: np.random.Generator,
    op: Op,
    shape: tuple[int, ...],
    weights: Array,
    axis: int,
    channels: int,
    per_channel: bool,
    rounding: Rounding,
) -> QuantGraph:
    """A graph of one operator with weights "w" and bias "b"; its output scale leaves about two thirds unclamped."""
    scales = rng.uniform(0.002, 0.02, channels if per_channel else 1)
    bias = rng.integers(-4000, 4000, channels).astype(np.int32)
    taps = weights.size // channels
    input_scale = float(rng.uniform(0.01, 0.1))
    output_scale = input_scale * float(scales.mean()) * 74 * 74 * float(np.sqrt(taps)) / 100
    tensors = [
        quantized("x", shape, input_scale, int(rng.integers(-128, 128))),
        constant("w", weights, scales, axis=axis if per_channel else None),
        constant("b", bias, input_scale * scales, axis=0 if per_channel else None),
    ]
    return one_op_graph(op, tensors, [QParams.per_tensor(output_scale, int(rng.integers(-128, 128)))], rounding)
