"""Channels of an integer graph that cannot matter: removed with every output byte unchanged.

A channel goes when each consumer can do without it: it holds one value for every input and folds into the bias of the
convolution that reads it (padding taps add nothing, so only where no tap can be padding, or the value is the zero
point), or its weights there are zero. Depthwise convolutions, pools, element-wise operators and joins pass the decision
on to the channels they make. The largest set that satisfies all operators at once is taken. Pruned and quantized
networks are full of such channels: filters that quantized to zero, or that a clamp holds at one end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.passes.channel_ranges import Bools, Bounds, channel_bounds, dense_weights

_INT32 = 2**31
_PASSES_ON = (
    o.AveragePool2D, o.MaxPool2D, o.Clamp, o.Table, o.Quantize, o.ResizeNearest, o.ResizeBilinear,
    o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum,
)  # fmt: skip
"""Operators that compute channel c of the output from channel c of every activation operand."""


def remove_dead_channels(graph: QuantGraph) -> QuantGraph:
    """`graph` without channels that no output depends on; notes say how many. The graph itself when there are none.

    The graph itself, too, when it has int16 layers: bounds and folding are those of 32-bit sums.
    """
    layers = (op for op in graph.ops if _is_reader(op) or isinstance(op, o.DepthwiseConv2D))
    if any(graph.tensors[op.inputs[0]].dtype is not DType.INT8 for op in layers):
        return graph
    bounds = channel_bounds(graph)
    removed = _removable(graph, bounds)
    total = sum(int(r.sum()) for r in removed.values())
    if total == 0:
        return graph
    rewritten = _rewrite(graph, bounds, {n: ~r for n, r in removed.items()})
    makers = [op for op in graph.ops if _is_reader(op) or isinstance(op, o.DepthwiseConv2D)]
    channels = sum(int(removed[op.output].sum()) for op in makers)
    of = sum(graph.tensors[op.output].shape[-1] for op in makers)
    note = f"removed {channels} of {of} convolution channels that no output depends on"
    return replace(rewritten, notes=(*rewritten.notes, note))


def _is_reader(op: o.Op) -> bool:
    """Operators that mix all input channels, so that a constant one folds into the bias."""
    return isinstance(op, o.FullyConnected) or (isinstance(op, o.Conv2D) and op.groups == 1)


def _channel_maps(op: o.Op, graph: QuantGraph) -> list[tuple[str, NDArray[np.intp], int]] | None:
    """For operators that pass channels on: (activation input, its channel for outputs from `offset` on, `offset`).

    None when the operator does something else with channels, so that all of them have to stay.
    """
    out = graph.tensors[op.outputs[0]].shape
    activations = [n for n in op.inputs if not graph.tensors[n].is_constant]
    same = np.arange(out[-1] if out else 1, dtype=np.intp)
    if isinstance(op, o.DepthwiseConv2D):
        return [(op.inputs[0], same // op.multiplier, 0)]
    if isinstance(op, _PASSES_ON):
        if any(graph.tensors[n].shape[-1:] != out[-1:] for n in activations):
            return None
        return [(n, same, 0) for n in activations]
    x = graph.tensors[op.inputs[0]].shape
    if isinstance(op, o.Reshape):
        if out[-1] == x[-1]:
            return [(op.inputs[0], same, 0)]
        is_flatten = len(out) == 1
        return [(op.inputs[0], same % x[-1], 0)] if is_flatten else None
    if isinstance(op, o.Pad):
        return [(op.inputs[0], same, 0)] if op.amounts[-1] == (0, 0) else None
    if isinstance(op, o.Mean):
        return [(op.inputs[0], same, 0)] if len(x) - 1 not in op.axes else None
    if isinstance(op, o.Slice):
        whole = (op.begin[-1], op.end[-1], op.strides[-1]) == (0, x[-1], 1)
        return [(op.inputs[0], same, 0)] if whole else None
    if isinstance(op, o.Concat) and op.axis == len(out) - 1 and len(activations) == len(op.inputs):
        sizes = [graph.tensors[n].shape[-1] for n in op.inputs]
        offsets = np.cumsum([0, *sizes[:-1]])
        return [(n, np.arange(s, dtype=np.intp), int(f)) for n, s, f in zip(op.inputs, sizes, offsets, strict=True)]
    if isinstance(op, o.Concat) and op.axis != len(out) - 1 and len(activations) == len(op.inputs):
        return [(n, same, 0) for n in op.inputs]
    return None


def _removable(graph: QuantGraph, bounds: dict[str, Bounds]) -> dict[str, Bools]:
    """The largest consistent set of channels to remove, per activation: start with all, put back until it holds."""
    activations = [t for t in graph.tensors.values() if not t.is_constant]
    removed = {t.name: np.ones(t.shape[-1] if t.shape else 1, dtype=np.bool_) for t in activations}
    pinned = {*graph.input_names, *graph.outputs, *(n for s in graph.states for n in (s.read, s.write))}
    for name in pinned & removed.keys():
        removed[name][:] = False
    for name in removed.keys() - pinned:
        if not graph.consumers(name):
            removed[name][:] = False
    while True:
        _settle(graph, bounds, removed)
        emptied = next((op for op in graph.ops if all(removed[n].all() for n in op.outputs)), None)
        if emptied is None:
            return removed
        # Every tensor keeps a channel: put the first one of the earliest emptied tensor back, and settle again.
        removed[emptied.outputs[0]][0] = False


def _settle(graph: QuantGraph, bounds: dict[str, Bounds], removed: dict[str, Bools]) -> None:
    """Puts channels back until every operator agrees. Only ever clears entries, so it ends."""
    changed = True
    while changed:
        before = {n: int(r.sum()) for n, r in removed.items()}
        for op in reversed(graph.ops):
            _apply(op, graph, bounds, removed)
        for op in graph.ops:
            _apply(op, graph, bounds, removed)
        changed = any(before[n] != int(r.sum()) for n, r in removed.items())


def _apply(op: o.Op, graph: QuantGraph, bounds: dict[str, Bounds], removed: dict[str, Bools]) -> None:
    if _is_reader(op):
        removed[op.inputs[0]] &= _foldable(op, graph, bounds, ~removed[op.outputs[0]])
        return
    maps = _channel_maps(op, graph)
    if maps is None:
        for name in (*op.inputs, *op.outputs):
            if name in removed:
                removed[name][:] = False
        return
    out = removed[op.outputs[0]]
    for name, channel, offset in maps:
        part = out[offset : offset + len(channel)]
        kept = np.zeros(len(removed[name]), dtype=np.bool_)
        np.logical_or.at(kept, channel, ~part)
        removed[name] &= ~kept
        part &= removed[name][channel]


def _foldable(op: Any, graph: QuantGraph, bounds: dict[str, Bounds], kept_outputs: Bools) -> Bools:
    """Input channels whose contribution to every kept output is the same everywhere: zero, or a constant."""
    weights, padded = dense_weights(op, graph)
    weights = weights[kept_outputs]
    x = bounds[op.inputs[0]]
    zero = graph.tensors[op.inputs[0]].quantization.tensor_zero_point
    is_unused: Bools = ~np.any(weights, axis=(0, 1))
    is_uniform: Bools = (x.low == zero) | ~np.any(weights[:, padded], axis=(0, 1))
    folded = is_unused | (x.is_constant & is_uniform)
    return folded if _bias_fits(op, graph, weights, x, folded, kept_outputs) else is_unused


def _shift(weights: NDArray[np.int64], x: Bounds, zero: int, folded: Bools) -> NDArray[np.int64]:
    """What the removed input channels add to each output's accumulator."""
    values = np.where(folded & x.is_constant, x.low - zero, 0)
    total: NDArray[np.int64] = (weights.sum(axis=1) * values).sum(axis=1)
    return total


def _bias_fits(
    op: Any, graph: QuantGraph, weights: NDArray[np.int64], x: Bounds, folded: Bools, kept_outputs: Bools
) -> bool:
    zero = graph.tensors[op.inputs[0]].quantization.tensor_zero_point
    bias = graph.tensors[op.bias].constant.astype(np.int64)[kept_outputs] if op.bias else np.int64(0)
    moved = bias + _shift(weights, x, zero, folded)
    return bool((np.abs(moved) < _INT32).all())


def _rewrite(graph: QuantGraph, bounds: dict[str, Bounds], kept: dict[str, Bools]) -> QuantGraph:
    tensors = dict(graph.tensors)
    for name, channels in kept.items():
        tensor = graph.tensors[name]
        if not channels.all():
            tensors[name] = replace(tensor, shape=(*tensor.shape[:-1], int(channels.sum())))
    ops = [_rewritten(op, graph, bounds, kept, tensors) for op in graph.ops]
    return graph.with_ops(ops, tensors)


def _rewritten(
    op: o.Op, graph: QuantGraph, bounds: dict[str, Bounds], kept: dict[str, Bools], tensors: dict[str, Tensor]
) -> o.Op:
    out = kept[op.outputs[0]]
    if isinstance(op, (o.Conv2D, o.FullyConnected)) and _is_reader(op):
        return _rewritten_reader(op, graph, bounds, kept, tensors)
    if out.all():
        return op
    if isinstance(op, o.DepthwiseConv2D):
        changes = {"weights": _cut(op.weights, graph, out, 2, tensors, op)}
        if op.bias:
            changes["bias"] = _cut(op.bias, graph, out, 0, tensors, op)
        return replace(op, **changes)  # type: ignore[arg-type]
    if isinstance(op, o.Reshape):
        return replace(op, shape=tensors[op.output].shape)
    if isinstance(op, o.Slice):
        return replace(op, end=(*op.end[:-1], int(out.sum())))
    operands = []
    for name in op.inputs:
        tensor = graph.tensors[name]
        is_cut = tensor.is_constant and tensor.shape[-1:] == out.shape
        operands.append(_cut(name, graph, out, len(tensor.shape) - 1, tensors, op) if is_cut else name)
    return replace(op, inputs=tuple(operands))


def _rewritten_reader(
    op: o.Conv2D | o.FullyConnected,
    graph: QuantGraph,
    bounds: dict[str, Bounds],
    kept: dict[str, Bools],
    tensors: dict[str, Tensor],
) -> o.Op:
    inputs, outputs = kept[op.inputs[0]], kept[op.output]
    if inputs.all() and outputs.all():
        return op
    weights, _ = dense_weights(op, graph)
    zero = graph.tensors[op.inputs[0]].quantization.tensor_zero_point
    shift = _shift(weights, bounds[op.inputs[0]], zero, ~inputs)[outputs]
    stored = _slices(graph.tensors[op.weights], outputs, 0)
    stored = replace(stored, name=f"{op.weights}_live")
    tensors[stored.name] = stored.with_data(np.ascontiguousarray(stored.constant[..., inputs]))
    changes: dict[str, Any] = {"weights": stored.name}
    if op.bias or shift.any():
        bias = _bias(op, graph, outputs)
        values = (bias.constant.astype(np.int64) + shift).astype(np.int32)
        tensors[f"{bias.name}_live"] = replace(bias.with_data(values), name=f"{bias.name}_live")
        changes["bias"] = f"{bias.name}_live"
    return replace(op, **changes)


def _bias(op: o.Conv2D | o.FullyConnected, graph: QuantGraph, outputs: Bools) -> Tensor:
    """The operator's bias for the kept outputs; zeros of the right scale when it has none."""
    if op.bias:
        return _slices(graph.tensors[op.bias], outputs, 0)
    weights = _slices(graph.tensors[op.weights], outputs, 0).quantization
    x = graph.tensors[op.inputs[0]].quantization.tensor_scale
    axis = None if weights.is_per_tensor else 0
    qparams = QParams(tuple(s * x for s in weights.scale), (0,) * len(weights.scale), axis, bits=32)
    zeros = np.zeros(int(outputs.sum()), dtype=np.int32)
    return Tensor(f"{op.name}_bias", zeros.shape, DType.INT32, qparams, zeros)


def _cut(name: str, graph: QuantGraph, kept: Bools, axis: int, tensors: dict[str, Tensor], op: o.Op) -> str:
    """A constant's kept slices under a new name."""
    new = f"{name}_live_{op.name}"
    tensors[new] = replace(_slices(graph.tensors[name], kept, axis), name=new)
    return new


def _slices(tensor: Tensor, kept: Bools, axis: int) -> Tensor:
    """A constant's kept slices along `axis`, with their scales."""
    data = np.ascontiguousarray(np.compress(kept, tensor.constant, axis=axis))
    qparams = tensor.qparams
    if qparams is not None and qparams.axis == axis:
        pairs = [(s, z) for s, z, k in zip(qparams.scale, qparams.zero_point, kept, strict=True) if k]
        qparams = replace(qparams, scale=tuple(s for s, _ in pairs), zero_point=tuple(z for _, z in pairs))
    return replace(tensor.with_data(data), qparams=qparams)
