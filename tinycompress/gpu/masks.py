"""2:4 masks: of every four consecutive weights along the reduction kh·kw·c, the two largest stay.

A layer's weights are seen as rows: `(rows, columns)` = (output channels, kh·kw·c with c last), the order in which the
tensor cores reduce. c is a multiple of 4 in an eligible layer, so a group never straddles two taps.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array

GROUP, KEPT = 4, 2
"""N:M of the hardware: KEPT of GROUP."""

STORAGE_RATIO = {"int8": (8 * KEPT + 2 * KEPT) / (8 * GROUP), "fp16": (16 * KEPT + 2 * KEPT) / (16 * GROUP)}
"""Bits of values and positions over bits of the dense group: 0.625 and 0.5625."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """A layer with weights as the GPU sees it. `reason` says why it stays dense; empty when 2:4 is possible.

    `pixels` are the positions of one sample that share the weights.
    """

    name: str
    kind: str
    rows: int
    columns: int
    pixels: int
    weights: str
    reason: str

    @property
    def is_eligible(self) -> bool:
        return not self.reason

    @property
    def macs(self) -> int:
        """Multiplications of one sample, dense."""
        return self.rows * self.columns * self.pixels


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """Every layer of `graph` that multiplies weights, in order, with its eligibility."""
    return tuple(_layer(op, graph) for op in graph.ops if isinstance(op, WEIGHTED))


WEIGHTED = (o.Conv2D, o.DepthwiseConv2D, o.TransposeConv2D, o.FullyConnected)


def _layer(op: o.Op, graph: Graph) -> Layer:
    assert isinstance(op, WEIGHTED)
    shape, y = graph.tensors[op.weights].shape, graph.tensors[op.output].shape
    pixels = int(np.prod(y[:-1], dtype=np.int64))
    reason = ""
    if isinstance(op, o.DepthwiseConv2D):
        rows, columns = shape[2], shape[0] * shape[1]
        reason = "depthwise: each output reduces one channel only"
    else:
        rows, columns = shape[0], int(np.prod(shape[1:], dtype=np.int64))
        if isinstance(op, o.TransposeConv2D):
            reason = "transposed convolution: no implicit product"
        elif isinstance(op, o.Conv2D) and op.groups > 1:
            reason = f"{op.groups} groups: not one matrix product"
        elif shape[-1] % GROUP:
            reason = f"{shape[-1]} input channels are not a multiple of {GROUP}"
    return Layer(op.name, op.kind, rows, columns, pixels, op.weights, reason)


def as_rows(weights: Array) -> Array:
    """OHWI `(o, kh, kw, c)` or `(out, in)` as `(rows, columns)`, a view where numpy can."""
    return weights.reshape(weights.shape[0], -1)


def keep_two(magnitude: Array) -> Bools:
    """The mask of `(…, columns)`: the KEPT largest of each GROUP; of equals the earlier stay, so it is deterministic.

    ValueError when columns is not a multiple of GROUP.
    """
    if magnitude.shape[-1] % GROUP:
        raise ValueError(f"{magnitude.shape[-1]} columns are not a multiple of {GROUP}")
    groups = magnitude.reshape(*magnitude.shape[:-1], -1, GROUP)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :KEPT], True, axis=-1)
    return mask.reshape(magnitude.shape)


def magnitude_mask(weights: Array) -> Bools:
    """`keep_two` of |weights| in the layout of `weights` (OHWI or `(out, in)`)."""
    return keep_two(np.abs(as_rows(weights).astype(np.float64))).reshape(weights.shape)


def magnitude_masks(graph: Graph) -> dict[str, Bools]:
    """The magnitude mask of every eligible layer, by operator name, in the IR's layout."""
    return {
        layer.name: magnitude_mask(graph.tensors[layer.weights].constant)
        for layer in find_layers(graph)
        if layer.is_eligible
    }


def packed_bytes(graph: Graph, sparse: Collection[str]) -> dict[str, float]:
    """Bytes of each layer's weights, int8, of those named `sparse` as 2:4 values and positions (without padding)."""
    result = {}
    for layer in find_layers(graph):
        dense = graph.tensors[layer.weights].bytes
        result[layer.name] = dense * (STORAGE_RATIO["int8"] if layer.name in sparse else 1.0)
    return result


def is_two_of_four(weights: Array) -> bool:
    """Whether no group holds more than KEPT values that are not zero."""
    rows = as_rows(weights)
    if rows.shape[1] % GROUP:
        return False
    return bool((np.count_nonzero(rows.reshape(len(rows), -1, GROUP), axis=-1) <= KEPT).all())


def apply_masks(graph: Graph, masks: dict[str, Bools]) -> Graph:
    """`graph` with the weights outside their masks set to zero."""
    tensors = dict(graph.tensors)
    for op in graph.ops:
        if op.name in masks and isinstance(op, WEIGHTED):
            value = tensors[op.weights].constant
            tensors[op.weights] = tensors[op.weights].with_data(np.where(masks[op.name], value, 0).astype(value.dtype))
    return graph.with_ops(graph.ops, tensors)
