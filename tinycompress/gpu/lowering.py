"""Operators of a QuantGraph as launches of the CUDA kernels: which struct, which values, which constants.

One function per operator in LOWER. Integer parameters come from `ir.fixedpoint` and `ir.quant_params`, as they do for
the reference and for the microcontroller's kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycompress.emit.arrays import initialiser
from tinycompress.emit.names import Names
from tinycompress.gpu import packing
from tinycompress.gpu.contexts import ConstantContext, PartContext
from tinycompress.gpu.masks import STORAGE_RATIO, WEIGHTED, as_rows, find_layers, magnitude_mask
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixedpoint import activation_range, convolution_multipliers
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array, DType, Tensor

MAX_RANK = 4
"""Axes that a move of elements can address."""
Fields = Sequence[tuple[str, Any]]


@dataclass
class Lowering:
    """Collects the constants of a network while its operators are lowered."""

    graph: QuantGraph
    sparse: Collection[str]
    tensor_index: dict[str, str]
    names: Names
    constants: list[ConstantContext] = field(default_factory=list)

    def __getitem__(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def constant(self, stem: str, data: Array, comment: str) -> str:
        """The C expression of a device pointer to `data` (int8, int32 or uint32)."""
        name = self.names.fresh(stem, "k")
        index = name.upper()
        c_type = f"{data.dtype}_t"
        self.constants.append(ConstantContext(name, index, c_type, data.size, initialiser(data), comment))
        return f"(const {c_type} *)run->constants[{index}]"

    def data(self, name: str) -> str:
        """The device pointer of an activation, or of a constant operand."""
        if self[name].is_constant:
            return self.constant(name, self[name].constant, f"{name}, a constant operand")
        return f"run->tensors[{self.tensor_index[name]}]"

    def elements(self, name: str) -> int:
        return int(np.prod(self[name].shape, dtype=np.int64))

    def tap_sources(self, op: Any) -> Fields:
        """Members that a sliding window shares with every other."""
        h, w, c = self[op.inputs[0]].shape
        top, left = op.padding[:2]
        return [
            ("height", h), ("width", w), ("channels", c), ("out_width", self[op.output].shape[1]),
            ("stride_height", op.stride[0]), ("stride_width", op.stride[1]), ("pad_top", top), ("pad_left", left),
        ]  # fmt: skip

    def clamp(self, op: Any) -> Fields:
        low, high = activation_range(getattr(op, "activation", o.NO_ACTIVATION), self[op.output])
        return [("activation_min", low), ("activation_max", high)]

    def zero_points(self, op: o.Op) -> Fields:
        return [
            ("input_zero_point", self[op.inputs[0]].quantization.tensor_zero_point),
            ("output_zero_point", self[op.outputs[0]].quantization.tensor_zero_point),
        ]

    def in_out(self, op: o.Op) -> Fields:
        return [("input", self.data(op.inputs[0])), ("output", self.data(op.outputs[0]))]


def part(kind: str, name: str, fields: Fields) -> PartContext:
    """A launch of an element-wise struct."""
    final = tuple((member, str(value)) for member, value in fields)
    return PartContext(kind, name, final, f"tc_layer_launch({name}, run->batch)")


def scale_fields(member: str, pair: tuple[int, int]) -> Fields:
    return [(f"{member}.multiplier", pair[0]), (f"{member}.shift", pair[1])]


# -- products ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """A block of the product: C++ type and how many 16-row slices it covers."""

    name: str
    slices: int


TILES = (Tile("tc_tile_16x64", 1), Tile("tc_tile_64x64", 4), Tile("tc_tile_128x128", 8))


def choose_tile(rows: int) -> Tile:
    """The smallest tile that holds all output channels, else the largest."""
    return next((t for t in TILES if rows <= t.slices * packing.SLICE_ROWS), TILES[-1])


def _product(op: o.Conv2D | o.FullyConnected, low: Lowering) -> list[PartContext]:
    weights, x, y = low[op.weights], low[op.inputs[0]], low[op.output]
    matrix = as_rows(weights.constant)
    rows, depth = matrix.shape
    tile = choose_tile(rows)
    slices = -(-rows // (tile.slices * packing.SLICE_ROWS)) * tile.slices
    is_sparse = op.name in low.sparse
    if is_sparse:
        values, metadata = packing.sparse_words(packing.pack(matrix, magnitude_mask(matrix)), slices)
    else:
        values, metadata = packing.dense_words(matrix, slices), None
    channels = depth
    window: Fields
    if isinstance(op, o.Conv2D):
        _, kh, kw, channels = weights.shape
        window = [
            *low.tap_sources(op), ("out_height", y.shape[0]), ("kernel_height", kh), ("kernel_width", kw),
            ("dilation_height", op.dilation[0]), ("dilation_width", op.dilation[1]),
        ]  # fmt: skip
    else:
        pixels = low.elements(op.inputs[0]) // depth
        ones = ("kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height", "dilation_width")
        window = [
            ("height", 1), ("width", pixels), ("channels", depth), ("out_height", 1), ("out_width", pixels),
            *((member, 1) for member in ones),
        ]  # fmt: skip
    vector = 16 if channels % 16 == 0 else 4 if channels % 4 == 0 else 1
    pattern = "2:4 values" if is_sparse else "weights"
    fields = [
        ("rows", rows), ("depth_steps", values.shape[1]), *window, *low.zero_points(op), *low.clamp(op),
        ("batch", "run->batch"),
        ("values", low.constant(f"{op.name}_weights", values, f"{op.name} {pattern} {list(weights.shape)}")),
    ]  # fmt: skip
    if metadata is not None:
        fields.append(("metadata", low.constant(f"{op.name}_positions", metadata, f"{op.name} 2:4 positions")))
    fields += [*_epilogue(op, low, x, rows, matrix), *low.in_out(op)]
    final = tuple((member, str(value)) for member, value in fields)
    launch = f"tc_gemm_launch<{tile.name}, {'true' if is_sparse else 'false'}, {vector}>(g)"
    return [PartContext("tc_gemm", "g", final, launch)]


def _epilogue(op: Any, low: Lowering, x: Tensor, rows: int, folded: Array | None) -> Fields:
    """bias, multiplier and shift per output channel; `folded` weights put the zero point's share into the bias."""
    bias = low[op.bias].constant.astype(np.int64) if op.bias is not None else np.zeros(rows, dtype=np.int64)
    if folded is not None:
        bias = bias - x.quantization.tensor_zero_point * folded.astype(np.int64).sum(axis=1)
    wrapped = (bias % 2**32).astype(np.uint32).view(np.int32)
    multipliers = convolution_multipliers(x, low[op.weights], low[op.output], rows, low.graph.rounding)
    arrays = {"bias": wrapped} | {
        name: np.array(v, dtype=np.int32) for name, v in zip(("multiplier", "shift"), multipliers, strict=True)
    }
    return [(name, low.constant(f"{op.name}_{name}", data, f"{op.name} {name}")) for name, data in arrays.items()]


def _depthwise(op: o.DepthwiseConv2D, low: Lowering) -> list[PartContext]:
    weights = low[op.weights]
    kh, kw, filters = weights.shape
    fields = [
        ("count", low.elements(op.output)), *low.tap_sources(op), ("channel_multiplier", op.multiplier),
        ("kernel_height", kh), ("kernel_width", kw),
        ("dilation_height", op.dilation[0]), ("dilation_width", op.dilation[1]),
        *low.zero_points(op), *low.clamp(op),
        ("weights", low.constant(f"{op.name}_weights", weights.constant, f"{op.name} weights {list(weights.shape)}")),
        *_epilogue(op, low, low[op.inputs[0]], filters, None), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_depthwise", "layer", fields)]


# -- element-wise, pools, reductions -------------------------------------------------------------------------


def _operand(low: Lowering, member: str, name: str, zero_point: int, elements: int) -> Fields:
    size = low.elements(name)
    return [
        (f"{member}.data", low.data(name)), (f"{member}.stride", 0 if low[name].is_constant else size),
        (f"{member}.period", size if size < elements else elements), (f"{member}.zero_point", zero_point),
    ]  # fmt: skip


def _binary(kind: str) -> Callable[[Any, Lowering], list[PartContext]]:
    def lower(op: Any, low: Lowering) -> list[PartContext]:
        a, b, y = low[op.inputs[0]], low[op.inputs[1]], low[op.output]
        elements, rounding = low.elements(op.output), low.graph.rounding
        compares = kind in ("TC_MAXIMUM", "TC_MINIMUM")
        zeros = [0 if compares else t.quantization.tensor_zero_point for t in (a, b)]
        scales: list[tuple[str, Any]] = []
        if kind in ("TC_ADD", "TC_SUB"):
            p = qp.add_params(a, b, y, rounding)
            for member, pair in (
                ("a.scale", (p.a_multiplier, p.a_shift)),
                ("b.scale", (p.b_multiplier, p.b_shift)),
                ("scale", (p.output_multiplier, p.output_shift)),
            ):
                scales += scale_fields(member, pair)
        elif kind == "TC_MUL":
            scales += scale_fields("scale", qp.mul_multiplier(a, b, y, rounding))
        fields = [
            ("count", elements), *_operand(low, "a", op.inputs[0], zeros[0], elements),
            *_operand(low, "b", op.inputs[1], zeros[1], elements), *scales,
            ("output_zero_point", 0 if compares else y.quantization.tensor_zero_point), *low.clamp(op),
            ("output", low.data(op.output)),
        ]  # fmt: skip
        return [part(f"tc_binary<{kind}>", "layer", fields)]

    return lower


def _pool(op: o.AveragePool2D | o.MaxPool2D, low: Lowering) -> list[PartContext]:
    fields = [
        ("count", low.elements(op.output)), *low.tap_sources(op),
        ("kernel_height", op.kernel[0]), ("kernel_width", op.kernel[1]), *low.clamp(op), *low.in_out(op),
    ]  # fmt: skip
    return [part(f"tc_pool<{'true' if isinstance(op, o.MaxPool2D) else 'false'}>", "layer", fields)]


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Elements per step along each axis."""
    return [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))]


def _mean(op: o.Mean, low: Lowering) -> list[PartContext]:
    x, y = low[op.inputs[0]], low[op.output]
    steps = _steps(x.shape)
    kept = [i for i in range(len(x.shape)) if i not in op.axes]
    count = int(np.prod([x.shape[i] for i in op.axes], dtype=np.int64))
    p = qp.mean_params(x, y, count, low.graph.rounding)
    fields: list[tuple[str, Any]] = [("count", low.elements(op.output)), ("input_elements", low.elements(op.inputs[0]))]
    for member, axes in (("kept", kept), ("reduced", list(op.axes))):
        sizes = [1] * (3 - len(axes)) + [x.shape[i] for i in axes]
        moves = [0] * (3 - len(axes)) + [steps[i] for i in axes]
        fields += [(f"{member}[{i}]", size) for i, size in enumerate(sizes)]
        fields += [(f"{member}_step[{i}]", step) for i, step in enumerate(moves)]
    fields += [
        ("offset", count * x.quantization.tensor_zero_point), *scale_fields("scale", (p.multiplier, p.shift)),
        ("output_zero_point", y.quantization.tensor_zero_point), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_mean", "layer", fields)]


# -- moving elements -----------------------------------------------------------------------------------------


def _move(
    low: Lowering,
    source: str,
    target: str,
    box: tuple[int, ...],
    strides: tuple[Sequence[int], Sequence[int]],
    starts: tuple[int, int] = (0, 0),
    *,
    clamp: Fields = (("activation_min", -128), ("activation_max", 127)),
    name: str = "layer",
) -> PartContext:
    """Copies or rescales a box of elements; `strides` and `starts` are (from, to) in elements of a sample."""
    x, y = low[source], low[target]
    lead = MAX_RANK - len(box)
    is_copy = qp.same_quantization(x, y)
    fields: list[tuple[str, Any]] = [("count", int(np.prod(box, dtype=np.int64)))]
    for i in range(MAX_RANK):
        inside = i >= lead
        fields += [
            (f"size[{i}]", box[i - lead] if inside else 1),
            (f"from_step[{i}]", strides[0][i - lead] if inside else 0),
            (f"to_step[{i}]", strides[1][i - lead] if inside else 0),
        ]
    fields += [
        ("from_elements", 0 if x.is_constant else low.elements(source)), ("from_start", starts[0]),
        ("to_elements", low.elements(target)), ("to_start", starts[1]), ("is_copy", int(is_copy)),
        ("input_zero_point", x.quantization.tensor_zero_point),
        ("output_zero_point", y.quantization.tensor_zero_point), *clamp,
    ]  # fmt: skip
    if not is_copy:
        fields += scale_fields("scale", qp.rescale_multiplier(x, y, low.graph.rounding))
    fields += [("input", low.data(source)), ("output", low.data(target))]
    return part("tc_move", name, fields)


def _rescale(op: Any, low: Lowering) -> list[PartContext]:
    flat = (low.elements(op.output),)
    return [_move(low, op.inputs[0], op.output, flat, ((1,), (1,)), clamp=low.clamp(op))]


def _concat(op: o.Concat, low: Lowering) -> list[PartContext]:
    to = _steps(low[op.output].shape)
    parts, at = [], 0
    for i, name in enumerate(op.inputs):
        shape = low[name].shape
        starts = (0, at * to[op.axis])
        parts.append(_move(low, name, op.output, shape, (_steps(shape), to), starts, name=f"part_{i}"))
        at += shape[op.axis]
    return parts


def _pad(op: o.Pad, low: Lowering) -> list[PartContext]:
    y = low[op.output]
    shape, to = low[op.inputs[0]].shape, _steps(y.shape)
    start = sum(before * step for (before, _), step in zip(op.amounts, to, strict=True))
    fill = [("count", low.elements(op.output)), ("value", qp.pad_value(op, y)), ("output", low.data(op.output))]
    return [
        part("tc_fill", "border", fill),
        _move(low, op.inputs[0], op.output, shape, (_steps(shape), to), (0, start), name="inside"),
    ]


def _slice(op: o.Slice, low: Lowering) -> list[PartContext]:
    y = low[op.output].shape
    steps = _steps(low[op.inputs[0]].shape)
    start = sum(b * s for b, s in zip(op.begin, steps, strict=True))
    moves = [s * stride for s, stride in zip(steps, op.strides, strict=True)]
    return [_move(low, op.inputs[0], op.output, y, (moves, _steps(y)), (start, 0))]


def _transpose(op: o.Transpose, low: Lowering) -> list[PartContext]:
    y = low[op.output].shape
    steps = _steps(low[op.inputs[0]].shape)
    return [_move(low, op.inputs[0], op.output, y, ([steps[axis] for axis in op.perm], _steps(y)))]


# -- tables and softmax --------------------------------------------------------------------------------------


def _table(op: o.Table, low: Lowering) -> list[PartContext]:
    assert op.table is not None
    table = low.constant(f"{op.name}_table", low[op.table].constant, f"{op.name} {op.function.value}")
    return [part("tc_table", "layer", [("count", low.elements(op.output)), ("table", table), *low.in_out(op)])]


def _softmax_members(prefix: str, low: Lowering, name: str, p: qp.SoftmaxParams) -> Fields:
    return [
        (f"{prefix}.vectors", 1), (f"{prefix}.classes", low[name].shape[-1]),
        (f"{prefix}.input_multiplier", p.multiplier), (f"{prefix}.input_shift", p.left_shift),
        (f"{prefix}.diff_min", p.diff_min), (f"{prefix}.output_bytes", 1),
    ]  # fmt: skip


def _softmax(op: o.Softmax, low: Lowering) -> list[PartContext]:
    x = low[op.inputs[0]]
    p = qp.softmax_params(x, op.beta, low.graph.rounding)
    vectors = low.elements(op.output) // x.shape[-1]
    members = _softmax_members("params", low, op.inputs[0], p)
    return [part("tc_softmax", "layer", [("count", vectors), *members, *low.in_out(op)])]


def _log_softmax(op: o.LogSoftmax, low: Lowering) -> list[PartContext]:
    x = low[op.inputs[0]]
    p = qp.log_softmax_params(x, low.graph.rounding)
    vectors = low.elements(op.output) // x.shape[-1]
    members = [
        *_softmax_members("params.exp", low, op.inputs[0], p.softmax),
        ("params.reverse_multiplier", p.reverse_multiplier), ("params.reverse_shift", p.reverse_shift),
    ]  # fmt: skip
    return [part("tc_log_softmax", "layer", [("count", vectors), *members, *low.in_out(op)])]


LOWER: dict[type[o.Op], Callable[[Any, Lowering], list[PartContext]]] = {
    o.Conv2D: _product,
    o.FullyConnected: _product,
    o.DepthwiseConv2D: _depthwise,
    o.Add: _binary("TC_ADD"),
    o.Sub: _binary("TC_SUB"),
    o.Mul: _binary("TC_MUL"),
    o.Maximum: _binary("TC_MAXIMUM"),
    o.Minimum: _binary("TC_MINIMUM"),
    o.AveragePool2D: _pool,
    o.MaxPool2D: _pool,
    o.Mean: _mean,
    o.Concat: _concat,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Transpose: _transpose,
    o.Clamp: _rescale,
    o.Quantize: _rescale,
    o.Table: _table,
    o.Softmax: _softmax,
    o.LogSoftmax: _log_softmax,
}
"""How each operator runs on a GPU. Reshape is a view and needs nothing."""


def obstacles(graph: QuantGraph) -> list[str]:
    """Why operators of `graph` cannot run as generated CUDA, one sentence each; empty when all can."""
    found = [f"the network keeps state {s.read!r}" for s in graph.states]
    for op in graph.ops:
        wide = [n for n in (*op.inputs, *op.outputs) if graph.tensors[n].dtype is not DType.INT8]
        if wide:
            found.append(f"{op.name}: tensor {wide[0]!r} is {graph.tensors[wide[0]].dtype.value}")
        elif not isinstance(op, o.Reshape) and type(op) not in LOWER:
            found.append(f"{op.name}: {op.kind} has no CUDA kernel")
        elif isinstance(op, o.Conv2D) and op.groups > 1:
            found.append(f"{op.name}: a convolution of {op.groups} groups has no CUDA kernel")
        elif isinstance(op, WEIGHTED) and any(graph.tensors[op.weights].quantization.zero_point):
            found.append(f"{op.name}: its weights have a zero point")
        elif max(len(graph.tensors[n].shape) for n in (*op.inputs, *op.outputs)) > MAX_RANK - (op.kind == "Mean"):
            found.append(f"{op.name}: a tensor has too many axes")
    return found


def packed_bytes(graph: QuantGraph, sparse: Collection[str]) -> dict[str, float]:
    """Bytes of each layer's weights, int8, of those named `sparse` as 2:4 values and positions (without padding)."""
    result = {}
    for layer in find_layers(graph):
        dense = graph.tensors[layer.weights].bytes
        result[layer.name] = dense * (STORAGE_RATIO["int8"] if layer.name in sparse else 1.0)
    return result
