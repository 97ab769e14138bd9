"""Channel order: permuting the channels of a group changes nothing but which weights share a four.

The search swaps columns between groups of four while that keeps more magnitude under a 2:4 mask; the permutation is
folded into every constant that makes, scales or reads the channels, so nothing is left to do at inference.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompress.compress.coupling import INPUT, Ids
from tinycompress.compress.groups import Group, Groups, find_groups
from tinycompress.gpu.masks import GROUP, Bools, find_layers
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array

MAX_SWEEPS = 10
"""Rounds over all pairs of fours; a round without improvement ends the search before."""

Permutation = NDArray[np.int64]
"""Entry i is the old index of the channel that becomes number i."""

_SUBSETS = tuple(itertools.combinations(range(2 * GROUP), GROUP))
_SPLITS = tuple(
    (i, _SUBSETS.index(tuple(sorted(set(range(2 * GROUP)) - set(s))))) for i, s in enumerate(_SUBSETS) if 0 in s
)
"""The 35 ways to cut eight columns into two fours, as indices into _SUBSETS; the first is the order as it is."""


@dataclass(frozen=True)
class Gain:
    """What a group's permutation did to the magnitude kept in the layers that read it."""

    group: str
    consumers: tuple[str, ...]
    before: float
    after: float


def kept_by_four(columns: Array) -> NDArray[np.float64]:
    """Sum over rows of the two largest of four magnitudes: `(…, rows, 4)` → `(…)`."""
    a, b, c, d = (columns[..., i] for i in range(GROUP))
    best = np.maximum(np.maximum(a, b) + np.maximum(c, d), np.maximum(a + b, c + d))
    total: NDArray[np.float64] = best.sum(axis=-1)
    return total


def search_permutation(magnitude: Array, sweeps: int = MAX_SWEEPS) -> Permutation:
    """A column order of `(rows, columns)` that keeps at least as much magnitude as the order it has.

    Deterministic: pairs of fours in turn, the best of their 35 splits when it is better than the present one. Columns
    beyond the last whole four stay.
    """
    columns = np.abs(magnitude).astype(np.float64)
    fours = columns.shape[1] // GROUP
    order = np.arange(columns.shape[1])
    for _ in range(sweeps):
        improved = False
        for first, second in itertools.combinations(range(fours), 2):
            places = np.r_[GROUP * first : GROUP * (first + 1), GROUP * second : GROUP * (second + 1)]
            eight = columns[:, order[places]]
            kept = kept_by_four(eight[:, np.array(_SUBSETS)].transpose(1, 0, 2))
            totals = np.array([kept[a] + kept[b] for a, b in _SPLITS])
            best = int(totals.argmax())
            if totals[best] > totals[0] * (1 + 1e-12):
                a, b = _SPLITS[best]
                order[places] = order[places][[*_SUBSETS[a], *_SUBSETS[b]]]
                improved = True
        if not improved:
            break
    return order


def permute(graph: Graph, permutations: Mapping[str, Permutation], groups: Groups | None = None) -> Graph:
    """`graph` with the channels of each named group in a new order; computes the same to float rounding.

    Permuting with the inverse (`np.argsort`) gives the graph back exactly. ValueError for a group that cannot be
    reordered (`obstacle`).
    """
    groups = groups or find_groups(graph)
    moved = np.arange(groups.total)
    for name, permutation in permutations.items():
        group = groups.group(name)
        why = obstacle(graph, groups, group)
        if why:
            raise ValueError(f"group {name!r} cannot be reordered: {why}")
        moved[group.start : group.start + group.size] = group.start + np.asarray(permutation)
    tensors = dict(graph.tensors)
    for constant, axis, ids in dict.fromkeys((s.constant, s.axis, tuple(s.channels.tolist())) for s in groups.slots):
        order = _axis_order(np.array(ids), moved)
        value = tensors[constant].constant.take(order, axis)
        tensors[constant] = tensors[constant].with_data(np.ascontiguousarray(value))
    return graph.with_ops(graph.ops, tensors)


def _axis_order(ids: Ids, moved: Ids) -> Ids:
    """For every index of an axis the old index to take: a channel's k-th occurrence from the k-th of its source."""
    places: dict[int, list[int]] = {}
    for index, channel in enumerate(ids.tolist()):
        places.setdefault(channel, []).append(index)
    used: dict[int, int] = {}
    order = np.empty(len(ids), dtype=np.int64)
    for index, channel in enumerate(ids.tolist()):
        occurrence = used.get(channel, 0)
        used[channel] = occurrence + 1
        order[index] = places[int(moved[channel])][occurrence]
    return order


def obstacle(graph: Graph, groups: Groups, group: Group) -> str:
    """Why the channels of a group must keep their order; empty when they need not."""
    if group.frozen:
        return group.frozen
    members = set(group.channels)
    grouped = {op.name for op in graph.ops if isinstance(op, o.Conv2D) and op.groups > 1}
    for slot in groups.slots:
        if slot.op in grouped and members & set(slot.channels.tolist()):
            return f"{slot.op} is a grouped convolution"
    return ""


def find_permutations(graph: Graph) -> tuple[dict[str, Permutation], tuple[Gain, ...]]:
    """A searched permutation for every group whose consumers can be 2:4, and what each one gained."""
    groups = find_groups(graph)
    eligible = {layer.name for layer in find_layers(graph) if layer.is_eligible}
    found: dict[str, Permutation] = {}
    gains = []
    for group in groups.prunable:
        if obstacle(graph, groups, group) or group.size <= GROUP:
            continue
        stacked, consumers = _columns(graph, groups, group, eligible)
        if not consumers:
            continue
        order = search_permutation(stacked)
        whole = group.size // GROUP * GROUP
        before, after = (_kept(stacked[:, list(o)][:, :whole]) for o in (range(group.size), order))
        gains.append(Gain(group.name, consumers, before, after))
        if after > before:
            found[group.name] = order
    return found, tuple(gains)


def _kept(columns: Array) -> float:
    rows, width = columns.shape
    fours = np.abs(columns).astype(np.float64).reshape(rows, width // GROUP, GROUP)
    return float(kept_by_four(fours.transpose(1, 0, 2)).sum())


def _columns(graph: Graph, groups: Groups, group: Group, eligible: set[str]) -> tuple[Array, tuple[str, ...]]:
    """The input slices of all consumers as rows over the group's channels, and the consumers that have whole fours."""
    parts, consumers = [], []
    for slot in groups.slots:
        if slot.role != INPUT or slot.op not in eligible:
            continue
        places = np.flatnonzero(np.isin(slot.channels, np.array(group.channels)))
        if not _has_whole_fours(slot.channels, places, group):
            continue
        weights = np.moveaxis(graph.tensors[slot.constant].constant, slot.axis, -1)[..., places]
        parts.append(weights.reshape(-1, group.size))
        consumers.append(slot.op)
    return (np.concatenate(parts) if parts else np.zeros((0, group.size))), tuple(consumers)


def _has_whole_fours(ids: Ids, places: Ids, group: Group) -> bool:
    """Whether the group stands in the axis as whole runs of its channels in order, each from a multiple of 4 on."""
    if len(places) == 0 or len(places) % group.size or group.size % GROUP:
        return False
    runs = ids[places].reshape(-1, group.size)
    starts = places.reshape(-1, group.size)
    in_order: Bools = runs == np.array(group.channels)
    adjacent: Bools = starts == starts[:, :1] + np.arange(group.size)
    return bool(in_order.all() and adjacent.all() and not (starts[:, 0] % GROUP).any())
