"""Operators that only move elements, on batched arrays: one meaning for float and integer execution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.quant_params import nearest_indices
from tinycompress.ir.tensor import Array


def reshape(op: o.Reshape, x: Array) -> Array:
    return x.reshape(-1, *op.shape)


def transpose(op: o.Transpose, x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, *(axis + 1 for axis in op.perm)))


def cut(op: o.Slice, x: Array) -> Array:
    ranges = tuple(slice(b, e, s) for b, e, s in zip(op.begin, op.end, op.strides, strict=True))
    return np.ascontiguousarray(x[(slice(None), *ranges)])


def join(op: o.Concat, parts: Sequence[Array], are_constant: Sequence[bool]) -> Array:
    """Concatenation along the batch-free `op.axis`; constants have no batch axis and are repeated."""
    batch = max((v.shape[0] for v, fixed in zip(parts, are_constant, strict=True) if not fixed), default=1)
    spread = [np.broadcast_to(v, (batch, *v.shape)) if c else v for v, c in zip(parts, are_constant, strict=True)]
    return np.concatenate(spread, axis=op.axis + 1)


def look_up(indices: Array, table: Array) -> Array:
    """Rows of `table` `(n, c)`; indices beyond its ends give the nearest row."""
    rows: Array = table[np.clip(indices.astype(np.int64), 0, len(table) - 1)]
    return rows


def pad(op: o.Pad, x: Array, value: float) -> Array:
    return np.pad(x, ((0, 0), *op.amounts), constant_values=value)


def resize_nearest(op: o.ResizeNearest, x: Array) -> Array:
    for axis in (1, 2):
        indices = nearest_indices(x.shape[axis], op.size[axis - 1], op.align_corners, op.half_pixel_centers)
        x = np.take(x, list(indices), axis=axis)
    return x
