"""Channel groups: which channels of which tensors can only be removed together.

An equivalence class of the labels of `coupling` is one removable *channel*; channels that occur in the same tensors
the same number of times form one *group* and share one width. METHODS B0; the index maps are explicit label arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycompress.compress.coupling import COUPLING, FILTER, INPUT, Ids, Labels
from tinycompress.ir.graph import Graph

Parts = tuple[tuple[str, int], ...]
"""What an axis is made of: (group, how often each of its channels occurs)."""


@dataclass(frozen=True)
class Slot:
    """One axis of one constant that is cut when channels go: `channels[i]` is the channel of index i."""

    op: str
    constant: str
    axis: int
    role: str
    channels: Ids


@dataclass(frozen=True)
class Group:
    """`size` channels numbered `start … start + size − 1` in the graph's channel numbering; one width for all.

    `producers` are the operators whose filters go with a channel, `consumers` those whose input slices go. `frozen`
    says why nothing may be removed; it is empty for a prunable group.
    """

    name: str
    start: int
    size: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    frozen: str = ""

    @property
    def channels(self) -> range:
        return range(self.start, self.start + self.size)


@dataclass(frozen=True)
class Groups:
    """All channel groups of one graph.

    `channels[tensor]` numbers the channels along the tensor's last axis; `slot_parts[i]` says which groups, how often,
    make up the axis of `slots[i]`.
    """

    all: tuple[Group, ...]
    channels: Mapping[str, Ids]
    slots: tuple[Slot, ...]
    _parts: Mapping[str, Parts] = field(init=False, repr=False, default_factory=dict)
    slot_parts: tuple[Parts, ...] = field(init=False, repr=False, default=())

    @property
    def prunable(self) -> tuple[Group, ...]:
        return tuple(g for g in self.all if not g.frozen)

    @property
    def total(self) -> int:
        """Number of channels over all groups."""
        return sum(g.size for g in self.all)

    def group(self, name: str) -> Group:
        """The group of that name (KeyError when there is none)."""
        for group in self.all:
            if group.name == name:
                return group
        raise KeyError(name)

    def widths(self) -> dict[str, int]:
        """Present width of every prunable group."""
        return {g.name: g.size for g in self.prunable}

    def tensor_widths(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        """Channel-axis length of every activation when group g has `counts[g]` channels (ints or torch scalars).

        Groups that `counts` leaves out keep their size. Exact at integers: equals the shape after `shrink`.
        """
        sizes: dict[str, Any] = {g.name: g.size for g in self.all}
        sizes.update(counts)
        return {tensor: _length(parts, sizes) for tensor, parts in self._parts.items()}

    def shapes(self, graph: Graph, counts: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Shapes of all tensors of `graph`, constants too, at those widths; dimensions are ints or torch scalars."""
        sizes: dict[str, Any] = {g.name: g.size for g in self.all}
        sizes.update(counts)
        shapes: dict[str, tuple[Any, ...]] = {name: tensor.shape for name, tensor in graph.tensors.items()}
        for name, parts in self._parts.items():
            if shapes.get(name):
                shapes[name] = (*shapes[name][:-1], _length(parts, sizes))
        for slot, parts in zip(self.slots, self.slot_parts, strict=True):
            shape = shapes[slot.constant]
            shapes[slot.constant] = (*shape[: slot.axis], _length(parts, sizes), *shape[slot.axis + 1 :])
        return shapes

    def __post_init__(self) -> None:
        owner = np.zeros(self.total, dtype=np.int64)
        for index, group in enumerate(self.all):
            owner[list(group.channels)] = index

        def parts(ids: Ids) -> Parts:
            found, occurrences = np.unique(owner[ids], return_counts=True)
            return tuple(
                (self.all[g].name, int(n) // self.all[g].size) for g, n in zip(found, occurrences, strict=True)
            )

        object.__setattr__(self, "_parts", {tensor: parts(ids) for tensor, ids in self.channels.items()})
        object.__setattr__(self, "slot_parts", tuple(parts(slot.channels) for slot in self.slots))


def _length(parts: Parts, sizes: Mapping[str, Any]) -> Any:
    """Length of an axis: each group's width times how often a channel of it occurs."""
    length: Any = 0
    for group, times in parts:
        length = length + (sizes[group] if times == 1 else times * sizes[group])
    return length


def find_groups(graph: Graph) -> Groups:
    """Channel groups of a float graph, in the order their first producer runs; a group's name is that producer's.

    Where one producer makes several groups (its output is split or joined to different partners) the later ones are
    numbered: ``conv3``, ``conv3.1``.
    """
    labels = Labels(graph)
    for name in graph.input_names:
        labels.freeze(labels.of(name), f"it is the graph input {name!r}")
    for state in graph.states:
        labels.freeze(labels.of(state.read), f"it is the state {state.read!r}")
    for op in graph.ops:
        COUPLING[type(op)](op, labels)
    for name in (*graph.outputs, *(s.write for s in graph.states)):
        labels.freeze(labels.of(name), f"it reaches the graph output {name!r}")
    return _collect(graph, labels)


def _collect(graph: Graph, labels: Labels) -> Groups:
    roots = np.array([labels.find(i) for i in range(len(labels.parent))], dtype=np.int64)
    places = [(f"tensor {n}", roots[ids]) for n, ids in labels.tensors.items()]
    places += [(f"{c}.{a}.{k}", roots[ids]) for k, (_, c, a, _, ids) in enumerate(labels.slots)]
    signature: dict[int, list[tuple[int, int]]] = {}
    for index, (_, ids) in enumerate(places):
        found, times = np.unique(ids, return_counts=True)
        for root, n in zip(found.tolist(), times.tolist(), strict=True):
            signature.setdefault(root, []).append((index, n))
    members: dict[tuple[object, ...], list[int]] = {}
    for root in sorted(signature):
        members.setdefault((labels.reason.get(root, ""), *signature[root]), []).append(root)
    order = sorted(members.values(), key=lambda m: m[0])
    number = np.full(len(roots), -1, dtype=np.int64)
    for index, root in enumerate(r for m in order for r in m):
        number[root] = index
    slots = tuple(Slot(op, c, a, role, number[roots[ids]]) for op, c, a, role, ids in labels.slots)
    groups: list[Group] = []
    start = 0
    taken: dict[str, int] = {}
    for roots_of in order:
        span = range(start, start + len(roots_of))
        groups.append(_describe(graph, labels, roots_of, span, slots, taken))
        start = span.stop
    return Groups(tuple(groups), {n: number[roots[ids]] for n, ids in labels.tensors.items()}, slots)


def _describe(
    graph: Graph, labels: Labels, roots: list[int], span: range, slots: tuple[Slot, ...], taken: dict[str, int]
) -> Group:
    def users(role: str) -> tuple[str, ...]:
        hits = (s.op for s in slots if s.role == role and np.isin(s.channels, span).any())
        return tuple(dict.fromkeys(hits))

    producers, consumers = users(FILTER), users(INPUT)
    inside = set(roots)
    base = (
        producers[0]
        if producers
        else next(t for t, ids in labels.tensors.items() if inside & {labels.find(int(i)) for i in ids})
    )
    seen = taken.get(base, 0)
    taken[base] = seen + 1
    why = labels.reason.get(roots[0], "")
    if not why and len(roots) == 1:
        why = "it has a single channel"
    if not why and not producers:
        why = "no operator makes it"
    return Group(base if not seen else f"{base}.{seen}", span.start, len(roots), producers, consumers, why)
