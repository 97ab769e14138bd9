"""What a layer's kernel needs at given shapes: packed weights, scratch, instructions, exactly as the planner asks.

A float graph is looked at as if it were quantized: int8 activations and weights of ordinary scales. Channel counts
between two integers interpolate linearly between the kernels' facts at both, so integers are exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinycompress.cost.macs import op_macs
from tinycompress.cost.scalar import Scalar, is_integral, plain
from tinycompress.cost.soft_shapes import SoftShape
from tinycompress.cost.variants import rows_of_call, usable
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.quant_params import FIXED_OUTPUTS
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.kernels.catalogue import Code, KernelTable

ACTIVATION_SCALE = 0.05
WEIGHT_SCALE = 0.005
INSTRUCTIONS_PER_MAC = 10.0
INSTRUCTIONS_PER_ELEMENT = 20.0
"""Estimates for operators that no kernel computes (float operators that quantization will fuse away or refuse)."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerFacts:
    """Flash bytes of packed arrays, scratch bytes of one call, estimated instructions; the kernel, its nature and its
    code."""

    weights_bytes: Scalar
    scratch_bytes: Scalar
    instructions: Scalar
    kernel: str
    in_place: tuple[int, ...]
    needs_zero_row: bool
    code: Code


def _zero_points(graph: Graph) -> dict[str, int]:
    """−128 behind a ReLU, 0 elsewhere; operators that only move values pass theirs on."""
    movers = (o.AveragePool2D, o.MaxPool2D, o.Reshape, o.Transpose, o.Slice, o.Pad, o.Concat, o.Maximum, o.Minimum)
    points: dict[str, int] = {}
    for op in graph.ops:
        activation = getattr(op, "activation", o.NO_ACTIVATION)
        inherited = points.get(op.inputs[0], 0) if isinstance(op, movers) else 0
        for name in op.outputs:
            points[name] = -128 if activation.low == 0.0 else inherited
    return points


class LayerCosts:
    """The facts of every layer of one graph, cached by integer shapes."""

    def __init__(self, graph: Graph, table: KernelTable, *, has_dsp: bool) -> None:
        self._graph = graph
        self._table = table
        self._has_dsp = has_dsp
        self._points = _zero_points(graph)
        self._fixed = {op.output: FIXED_OUTPUTS[type(op)] for op in graph.ops if type(op) in FIXED_OUTPUTS}
        self._cache: dict[tuple[str, tuple[Shape, ...]], LayerFacts] = {}

    def zero_point(self, tensor: str) -> int:
        """The activation's zero point, as quantized or as it would be."""
        own = self._graph.tensors[tensor].qparams
        return own.tensor_zero_point if own is not None else self._points.get(tensor, 0)

    def facts(self, op: o.Op, shapes: Mapping[str, SoftShape]) -> LayerFacts:
        """The facts of `op` at possibly soft shapes: a multilinear mix of the integer corners around them."""
        reads = [n for n in op.inputs if not self._graph.tensors[n].is_constant]
        own_output = isinstance(op, o.Conv2D | o.TransposeConv2D | o.FullyConnected)
        inputs = [_corners(shapes[n]) for n in reads]
        output = _corners(shapes[op.outputs[0]]) if own_output else None
        in_part = _part([shapes[n][-1] for n in reads if shapes[n]])
        out_part: Scalar = _part([shapes[op.outputs[0]][-1]]) if own_output else 0
        corners = []
        for high_in, high_out in itertools.product((False, True), repeat=2):
            weight = (in_part if high_in else 1 - in_part) * (out_part if high_out else 1 - out_part)
            if is_integral(weight) and weight == 0:
                continue
            chosen = tuple(pair[high_in] for pair in inputs)
            made = output[high_out] if output else None
            corners.append((weight, self._at(op, reads, chosen, made)))
        return _mix(corners)

    def _at(self, op: o.Op, reads: list[str], inputs: tuple[Shape, ...], output: Shape | None) -> LayerFacts:
        key = (op.name, (*inputs, output or ()))
        if key not in self._cache:
            self._cache[key] = self._measure(op, dict(zip(reads, inputs, strict=True)), output)
        return self._cache[key]

    def _measure(self, op: o.Op, inputs: dict[str, Shape], output: Shape | None) -> LayerFacts:
        graph = self._graph
        is_own = isinstance(graph, QuantGraph) and all(graph.tensors[n].shape == s for n, s in inputs.items())
        if not (is_own and (output is None or graph.tensors[op.outputs[0]].shape == output)):
            graph = self._as_quantized(op, inputs, output)
            (op,) = graph.ops
        variants = usable(op, graph, self._table, has_dsp=self._has_dsp)
        if not variants:
            return self._without_kernel(op, graph)
        kernel = variants[0]
        step = rows_of_call(kernel, op, graph, at_once=True)
        rounding = graph.rounding if isinstance(graph, QuantGraph) else Rounding.DOUBLE
        return LayerFacts(
            weights_bytes=kernel.pack(op, graph, rounding).weights_bytes,
            scratch_bytes=kernel.scratch_bytes(op, graph, step),
            instructions=int(kernel.instructions(op, graph)) if kernel.instructions else 0,
            kernel=kernel.name,
            in_place=kernel.in_place,
            needs_zero_row=kernel.needs_zero_row,
            code=kernel.code_of(op, graph),
        )

    def _without_kernel(self, op: o.Op, graph: Graph) -> LayerFacts:
        shapes = {n: t.shape for n, t in graph.tensors.items()}
        elements = graph.tensors[op.outputs[0]].elements
        work = INSTRUCTIONS_PER_MAC * op_macs(op, shapes) + INSTRUCTIONS_PER_ELEMENT * elements
        return LayerFacts(
            sum(graph.tensors[n].elements for n in op.constants()), 0, int(work), "none", (), False, Code(0)
        )

    def _as_quantized(self, op: o.Op, inputs: dict[str, Shape], output: Shape | None) -> Graph:
        """A one-operator graph with these shapes, int8, ordinary scales, constant weights."""
        tensors = {n: self._activation(n, s) for n, s in inputs.items()}
        for name in op.inputs:
            if name not in tensors:
                tensors[name] = _constant(self._graph.tensors[name], self._graph.tensors[name].shape, None)
        channels = output[-1] if output else 0
        for name in op.constants():
            tensors[name] = self._constant_of(op, name, inputs, channels)
        if isinstance(op, o.Table) and op.table is None:
            op = replace(op, table=f"{op.name}_table")
            tensors[f"{op.name}_table"] = Tensor(f"{op.name}_table", (256,), DType.INT8, None, np.zeros(256, np.int8))
        op = _fitted(op, tensors, self._graph.tensors[op.inputs[0]].shape)
        for name, shape in zip(op.outputs, infer(op, tensors), strict=True):
            tensors[name] = self._activation(name, shape)
        return Graph("layer", (), op.outputs, tensors, (op,))

    def _activation(self, name: str, shape: Shape) -> Tensor:
        dtype = self._graph.tensors[name].dtype
        dtype = DType.INT8 if dtype is DType.FLOAT32 else dtype
        own = self._graph.tensors[name].qparams or self._fixed.get(name)
        params = own if own is not None else QParams.per_tensor(ACTIVATION_SCALE, self._points.get(name, 0))
        return Tensor(name, shape, dtype, params)

    def _constant_of(self, op: o.Op, name: str, inputs: dict[str, Shape], channels: int) -> Tensor:
        tensor = self._graph.tensors[name]
        read = inputs[op.inputs[0]][-1] if op.inputs[0] in inputs and inputs[op.inputs[0]] else 0
        if isinstance(op, o.Conv2D | o.TransposeConv2D) and name == op.weights:
            _, kh, kw, per_group = tensor.shape
            is_grouped = isinstance(op, o.Conv2D) and op.groups > 1
            return _constant(tensor, (channels, kh, kw, per_group if is_grouped else read), 0)
        if isinstance(op, o.DepthwiseConv2D) and name == op.weights:
            return _constant(tensor, (*tensor.shape[:2], read * op.multiplier), 2)
        if isinstance(op, o.FullyConnected) and name == op.weights:
            return _constant(tensor, (channels, read), 0)
        if isinstance(op, o.LayerNorm):
            return _norm_constant(name, read, DType.INT16 if name == op.gamma else DType.INT32)
        if name == getattr(op, "bias", None):
            count = read * op.multiplier if isinstance(op, o.DepthwiseConv2D) else channels
            return Tensor(name, (count,), DType.INT32, None, np.zeros(count, np.int32))
        return _constant(tensor, tensor.shape, None)


def _constant(tensor: Tensor, shape: Shape, axis: int | None) -> Tensor:
    """An int8 constant of `shape`: small equal weights, quantized per tensor if it is already, else along `axis`."""
    dtype = DType.INT8 if tensor.dtype is DType.FLOAT32 else tensor.dtype
    params = tensor.qparams
    if params is None or params.axis is not None:
        count = shape[axis] if axis is not None else 1
        scales = tuple(WEIGHT_SCALE * (1 + i % 8 / 8) for i in range(count))
        params = QParams(scales, (0,) * count, axis)
    data = np.broadcast_to(np.ones((), dtype.numpy), shape)
    return replace(tensor, shape=shape, dtype=dtype, qparams=params, data=data)


def _norm_constant(name: str, channels: int, dtype: DType) -> Tensor:
    """gamma or beta of a LayerNorm."""
    return Tensor(name, (channels,), dtype, QParams.per_tensor(WEIGHT_SCALE, 0), np.ones(channels, dtype.numpy))


def _fitted(op: o.Op, tensors: Mapping[str, Tensor], before: Shape) -> o.Op:
    """The operator with those attributes that spell out extents made to fit its inputs; `before` is the first one's
    shape that they fit now."""
    if isinstance(op, o.Conv2D) and op.groups > 1:
        per_group = tensors[op.weights].shape[3]
        return replace(op, groups=max(1, tensors[op.inputs[0]].shape[-1] // per_group))
    if isinstance(op, o.Reshape):
        return replace(op, shape=(*op.shape[:-1], tensors[op.inputs[0]].elements // math.prod(op.shape[:-1])))
    if isinstance(op, o.Slice):
        scales = [(new, old) for new, old in zip(tensors[op.inputs[0]].shape, before, strict=True)]
        ends = tuple(max(e * new // old, 1) for e, (new, old) in zip(op.end, scales, strict=True))
        starts = tuple(min(b * new // old, e - 1) for b, e, (new, old) in zip(op.begin, ends, scales, strict=True))
        return replace(op, begin=starts, end=ends)
    return op


def _corners(shape: SoftShape) -> tuple[Shape, Shape]:
    """The integer shapes at or below a soft one, and above it (so that integers have a slope, too)."""
    low = tuple(d if is_integral(d) else _below(d) for d in shape)
    high = tuple(d if is_integral(d) else _below(d) + 1 for d in shape)
    return low, high


def _below(count: Scalar) -> int:
    return max(1, math.floor(plain(count)))


def _part(counts: list[Scalar]) -> Scalar:
    """How far the counts are on their way from the integers below to those above, in 0…1; exactly 0 on ints."""
    soft = [c for c in counts if not is_integral(c)]
    if not soft:
        return 0
    part: Scalar = 0
    for count in soft:
        part = part + (count - _below(count))
    return part / len(soft)


def _mix(corners: list[tuple[Scalar, LayerFacts]]) -> LayerFacts:
    if len(corners) == 1:
        return corners[0][1]
    weights: Scalar = 0
    scratch: Scalar = 0
    instructions: Scalar = 0
    for share, facts in corners:
        weights = weights + share * facts.weights_bytes
        scratch = scratch + share * facts.scratch_bytes
        instructions = instructions + share * facts.instructions
    main = max(corners, key=lambda corner: plain(corner[0]))[1]
    return LayerFacts(weights, scratch, instructions, main.kernel, main.in_place, main.needs_zero_row, main.code)
