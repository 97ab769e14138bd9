"""How the elements of an IR tensor lie relative to the source tensor they stand for.

Front ends whose sources are channels-first keep activations channels-last without moving data: a `Layout` lists, in the
IR tensor's memory order, `(size, stride)` pairs where stride is counted in elements of the source tensor (batch-free,
row-major). A source reshape leaves it unchanged, a source transpose only changes strides, and what an operator needs
is compared with what is there: equal means no work. Layouts are canonical: neighbours that are one run are merged and
sizes of 1 are dropped, so equality is equality of element order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Layout = tuple[tuple[int, int], ...]
Order = tuple[int, ...]

IMAGE_ORDERS: dict[int, Order] = {0: (), 1: (0,), 2: (1, 0), 3: (1, 2, 0)}
"""Channels-last order of the batch-free source axes, by rank: `C`, `CT → TC`, `CHW → HWC`."""


def strides_of(shape: Shape) -> Shape:
    """Row-major strides in elements."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def canonical(pairs: Iterable[tuple[int, int]]) -> Layout:
    """The layout with runs merged and sizes of 1 dropped."""
    merged: list[tuple[int, int]] = []
    for size, stride in pairs:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    return tuple(merged)


def layout_of(shape: Shape, order: Order) -> Layout:
    """The layout of an IR tensor that holds the source axes of `shape` in `order`."""
    strides = strides_of(shape)
    return canonical((shape[a], strides[a]) for a in order)


def plain_layout(shape: Shape) -> Layout:
    """The layout of an IR tensor in the source's own order."""
    return layout_of(shape, tuple(range(len(shape))))


def order_of(layout: Layout, shape: Shape) -> Order | None:
    """The order of whole source axes that `layout` is, channels-last preferred; None when it splits an axis."""
    rank = len(shape)
    preferred = [IMAGE_ORDERS.get(rank, tuple(range(rank))), tuple(range(rank))]
    for order in itertools.chain(preferred, itertools.permutations(range(rank))):
        if layout_of(shape, order) == layout:
            return order
    return None


def split_at(layout: Layout, strides: Iterable[int]) -> Layout | None:
    """The layout with runs cut so that none crosses one of `strides`; None when a cut would not be even."""
    pairs = list(layout)
    for cut in sorted(set(strides), reverse=True):
        result: list[tuple[int, int]] = []
        for size, stride in pairs:
            if stride < cut < size * stride:
                if cut % stride or (size * stride) % cut:
                    return None
                result += [(size * stride // cut, cut), (cut // stride, stride)]
            else:
                result.append((size, stride))
        pairs = result
    return tuple(pairs)


def permuted(layout: Layout, shape: Shape, perm: Order) -> Layout | None:
    """The same IR tensor relative to the source transposed by `perm`; None when a run crosses axes unevenly."""
    old = strides_of(shape)
    pieces = split_at(layout, old)
    if pieces is None:
        return None
    new_shape = tuple(shape[p] for p in perm)
    new = strides_of(new_shape)
    position = {axis: i for i, axis in enumerate(perm)}
    moved = []
    for size, stride in pieces:
        axis = next(a for a in range(len(shape)) if shape[a] > 1 and old[a] <= stride < old[a] * shape[a])
        moved.append((size, stride // old[axis] * new[position[axis]]))
    return canonical(moved)


def rearrangement(current: Layout, wanted: Layout) -> tuple[Shape, Order] | None:
    """(sizes, perm): reshaping an IR tensor to `sizes` and transposing by `perm` turns `current` into `wanted`.

    None when the two cannot be cut into the same pieces (go through the plain layout then).
    """
    cuts = {stride for _, stride in (*current, *wanted)}
    have, want = split_at(current, cuts), split_at(wanted, cuts)
    if have is None or want is None or sorted(have) != sorted(want):
        return None
    return tuple(size for size, _ in have), tuple(have.index(piece) for piece in want)


def source_indices(layout: Layout) -> NDArray[np.int64]:
    """For each element of the IR tensor, in memory order, its flat index in the source tensor."""
    indices: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
    for size, stride in layout:
        indices = (indices[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return indices


def to_order(values: NDArray[Any], order: Sequence[int]) -> NDArray[Any]:
    """A constant with its source axes put in `order`, contiguous."""
    return np.ascontiguousarray(np.transpose(values, tuple(order)))
