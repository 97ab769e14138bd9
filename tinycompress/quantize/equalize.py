"""Cross-layer equalization: moves scale between neighbouring layers so that channel ranges match (METHODS B4.4).

For a layer, a ReLU (or nothing) and a layer, W1[i] / s and W2[:, i] · s give the same output for any s > 0; with
s = √(r1 / r2) both channels' largest weights are equal. It matters for per-tensor weights and for activation ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array
from tinycompress.quantize.constants import WEIGHTED, WeightedOp, output_axis

TOLERANCE = 1e-3
SWEEPS = 20


@dataclass(frozen=True)
class Pair:
    """Two layers of which the first's output goes to the second alone."""

    first: WeightedOp
    second: WeightedOp


def equalize(graph: Graph) -> Graph:
    """`graph` with the ranges of all neighbouring layers equalized; float outputs stay, up to rounding.

    Sweeps over the pairs until no factor differs from 1 by more than 1e-3, at most 20 times. Pairs with an upper clamp
    (ReLU6) between, or with shared weights, are left alone; so are channels without weights on either side.
    """
    pairs = find_pairs(graph)
    data = {name: graph.tensors[name].constant.astype(np.float64) for p in pairs for name in _constants(p)}
    for _ in range(SWEEPS):
        largest = max((_equalize_pair(pair, data) for pair in pairs), default=0.0)
        if largest < TOLERANCE:
            break
    tensors = dict(graph.tensors)
    for name, values in data.items():
        tensors[name] = tensors[name].with_data(values.astype(np.float32))
    return graph.with_ops(graph.ops, tensors)


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """All pairs that may be equalized, in execution order."""
    pairs = []
    for op in graph.ops:
        if not isinstance(op, WEIGHTED) or op.output in graph.outputs or op.activation.high is not None:
            continue
        if op.activation.low not in (None, 0.0) or any(s.write == op.output for s in graph.states):
            continue
        consumers = graph.consumers(op.output)
        if len(consumers) != 1 or not isinstance(consumers[0], WEIGHTED):
            continue
        pair = Pair(op, consumers[0])
        if all(len(graph.consumers(name)) == 1 for name in _constants(pair)) and _is_channelwise(pair):
            pairs.append(pair)
    return tuple(pairs)


def _is_channelwise(pair: Pair) -> bool:
    """Whether the second layer's input channels are one axis of its weights."""
    if isinstance(pair.second, o.DepthwiseConv2D):
        return pair.second.multiplier == 1
    return not (isinstance(pair.second, o.Conv2D) and pair.second.groups != 1)


def _constants(pair: Pair) -> list[str]:
    names = [pair.first.weights, pair.second.weights]
    return names + ([pair.first.bias] if pair.first.bias is not None else [])


def _input_axis(op: WeightedOp) -> int:
    return {o.DepthwiseConv2D: 2, o.FullyConnected: 1}.get(type(op), 3)


def _ranges(weights: Array, axis: int) -> Array:
    return np.asarray(np.abs(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)).max(axis=1))


def _along(values: Array, axis: int, rank: int) -> Array:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _equalize_pair(pair: Pair, data: dict[str, Array]) -> float:
    """Rescales one pair in place; the largest |s − 1|."""
    first, second = data[pair.first.weights], data[pair.second.weights]
    out_axis, in_axis = output_axis(pair.first), _input_axis(pair.second)
    r1, r2 = _ranges(first, out_axis), _ranges(second, in_axis)
    usable = (r1 > 0) & (r2 > 0)
    factor = np.where(usable, np.sqrt(r1 / np.where(usable, r2, 1.0)), 1.0)
    first /= _along(factor, out_axis, first.ndim)
    second *= _along(factor, in_axis, second.ndim)
    if pair.first.bias is not None:
        data[pair.first.bias] /= factor
    return float(np.abs(factor - 1.0).max(initial=0.0))
