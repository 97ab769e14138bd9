"""Channel groups: which channels of which tensors can only be removed together.

Every index of every channel axis carries a label; operators unify the labels of channels that depend on each other
(residual additions, depthwise filters, squeeze-excite products) or carry them along (concat at an offset, flatten as
repetitions). An equivalence class of labels is one removable *channel*; channels that occur in the same tensors the
same number of times form one *group* and share one width. METHODS B0; the index maps are explicit label arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

Ids = NDArray[np.int64]
Parts = tuple[tuple[str, int], ...]
"""What an axis is made of: (group, how often each of its channels occurs)."""

FILTER, INPUT, SCALE = "filter", "input", "scale"
"""Role of a constant's axis: makes the channel, reads it, or acts on it one by one (bias, batch norm, depthwise)."""


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
    """All channel groups of one graph. `channels[tensor]` numbers the channels along the tensor's last axis."""

    all: tuple[Group, ...]
    channels: Mapping[str, Ids]
    slots: tuple[Slot, ...]
    _parts: Mapping[str, Parts] = field(init=False, repr=False, default_factory=dict)
    _slot_parts: tuple[Parts, ...] = field(init=False, repr=False, default=())

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
        for slot, parts in zip(self.slots, self._slot_parts, strict=True):
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
        object.__setattr__(self, "_slot_parts", tuple(parts(slot.channels) for slot in self.slots))


def _length(parts: Parts, sizes: Mapping[str, Any]) -> Any:
    """Length of an axis: each group's width times how often a channel of it occurs."""
    length: Any = 0
    for group, times in parts:
        length = length + (sizes[group] if times == 1 else times * sizes[group])
    return length


class Labels:
    """Union-find over channel labels while the operators of a graph are walked in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parent: list[int] = []
        self.reason: dict[int, str] = {}
        self.tensors: dict[str, Ids] = {}
        self.slots: list[tuple[str, str, int, str, Ids]] = []

    def fresh(self, count: int) -> Ids:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def unify(self, a: Iterable[int], b: Iterable[int]) -> None:
        for x, y in zip(a, b, strict=True):
            low, high = sorted((self.find(int(x)), self.find(int(y))))
            if low == high:
                continue
            self.parent[high] = low
            if high in self.reason:
                self.reason.setdefault(low, self.reason[high])

    def freeze(self, ids: Ids, why: str) -> None:
        for label in ids:
            self.reason.setdefault(self.find(int(label)), why)

    def of(self, tensor: str) -> Ids:
        """Labels of a tensor's last axis; a constant operand gets its own on first use."""
        if tensor not in self.tensors:
            shape = self.graph.tensors[tensor].shape
            self.tensors[tensor] = self.fresh(shape[-1] if shape else 1)
        return self.tensors[tensor]

    def cut(self, op: o.Op, constant: str | None, axis: int, role: str, ids: Ids) -> None:
        if constant is None:
            return
        for _, known, known_axis, _, other in self.slots:
            if (known, known_axis) == (constant, axis):
                self.unify(other, ids)
        self.slots.append((op.name, constant, axis, role, ids))


def _filters(op: Any, labels: Labels, axis: int = 0) -> None:
    ids = labels.fresh(labels.graph.tensors[op.output].shape[-1])
    labels.tensors[op.output] = ids
    labels.cut(op, op.weights, axis, FILTER, ids)
    labels.cut(op, op.bias, 0, SCALE, ids)


def _conv2d(op: o.Conv2D, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    if op.groups == 1:
        labels.cut(op, op.weights, 3, INPUT, source)
        return
    made = labels.tensors[op.output]
    for block_in, block_out in zip(np.split(source, op.groups), np.split(made, op.groups), strict=True):
        for ids in (block_in[1:], block_out):
            labels.unify(ids, [int(block_in[0])] * len(ids))


def _transpose_conv(op: o.TransposeConv2D, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    labels.cut(op, op.weights, 3, INPUT, source)


def _fully_connected(op: o.FullyConnected, labels: Labels) -> None:
    source = labels.of(op.inputs[0])
    _filters(op, labels)
    labels.cut(op, op.weights, 1, INPUT, source)


def _depthwise(op: o.DepthwiseConv2D, labels: Labels) -> None:
    ids = np.repeat(labels.of(op.inputs[0]), op.multiplier)
    labels.tensors[op.output] = ids
    labels.cut(op, op.weights, 2, SCALE, ids)
    labels.cut(op, op.bias, 0, SCALE, ids)


def _elementwise(op: o.Op, labels: Labels) -> None:
    sides = [(name, labels.of(name)) for name in op.inputs]
    widest = max(sides, key=lambda side: len(side[1]))[1]
    for name, ids in sides:
        if len(ids) == len(widest):
            labels.unify(ids, widest)
            tensor = labels.graph.tensors[name]
            if tensor.is_constant and tensor.shape:
                labels.cut(op, name, len(tensor.shape) - 1, SCALE, ids)
        else:
            labels.freeze(ids, f"{op.name} spreads its one channel over {len(widest)}")
    labels.tensors[op.output] = widest


def _keep(op: o.Op, labels: Labels) -> None:
    labels.tensors[op.output] = labels.of(op.inputs[0])


def _batch_norm(op: o.BatchNorm, labels: Labels) -> None:
    _keep(op, labels)
    for name in op.constants():
        labels.cut(op, name, 0, SCALE, labels.of(op.inputs[0]))


def _prelu(op: o.PReLU, labels: Labels) -> None:
    _keep(op, labels)
    shape = labels.graph.tensors[op.alpha].shape
    ids = labels.of(op.inputs[0])
    if shape and shape[-1] == len(ids):
        labels.cut(op, op.alpha, len(shape) - 1, SCALE, ids)


def _mean(op: o.Mean, labels: Labels) -> None:
    ids = labels.of(op.inputs[0])
    rank = len(labels.graph.tensors[op.inputs[0]].shape)
    if rank - 1 in op.axes:
        labels.freeze(ids, f"{op.name} averages over channels")
        _opaque_output(op, labels)
    else:
        labels.tensors[op.output] = ids


def _pad(op: o.Pad, labels: Labels) -> None:
    before, after = op.amounts[-1]
    ids = labels.of(op.inputs[0])
    labels.tensors[op.output] = np.concatenate([labels.fresh(before), ids, labels.fresh(after)])


def _concat(op: o.Concat, labels: Labels) -> None:
    parts = [labels.of(name) for name in op.inputs]
    if op.axis == len(labels.graph.tensors[op.output].shape) - 1:
        labels.tensors[op.output] = np.concatenate(parts)
        return
    for ids in parts[1:]:
        labels.unify(ids, parts[0])
    labels.tensors[op.output] = parts[0]


def _reshape(op: o.Reshape, labels: Labels) -> None:
    source = labels.graph.tensors[op.inputs[0]].shape
    ids = labels.of(op.inputs[0])
    if not op.shape or not source:
        _opaque(op, labels)
    elif op.shape[-1] == source[-1]:
        labels.tensors[op.output] = ids
    elif op.shape[-1] % source[-1] == 0 and _ends_with_whole_axes(source, op.shape[-1]):
        labels.tensors[op.output] = np.tile(ids, op.shape[-1] // source[-1])
    else:
        _opaque(op, labels)


def _ends_with_whole_axes(shape: Sequence[int], length: int) -> bool:
    """True when `length` is the product of some last axes of `shape`, so that they merge into one."""
    product = 1
    for size in reversed(shape):
        product *= size
        if product == length:
            return True
    return False


def _transpose(op: o.Transpose, labels: Labels) -> None:
    rank = len(labels.graph.tensors[op.inputs[0]].shape)
    if op.perm[-1] == rank - 1:
        _keep(op, labels)
    else:
        _opaque(op, labels)


def _slice(op: o.Slice, labels: Labels) -> None:
    ids = labels.of(op.inputs[0])
    if op.strides[-1] != 1:
        labels.freeze(ids, f"{op.name} takes every {op.strides[-1]}th channel")
    labels.tensors[op.output] = ids[op.begin[-1] : op.end[-1] : op.strides[-1]]


def _softmax(op: o.Op, labels: Labels) -> None:
    labels.freeze(labels.of(op.inputs[0]), f"{op.name} ({op.kind}) normalises over channels")
    _keep(op, labels)


def _opaque_output(op: o.Op, labels: Labels) -> None:
    for name in op.outputs:
        labels.freeze(labels.of(name), f"{op.name} ({op.kind}) mixes channels")


def _opaque(op: o.Op, labels: Labels) -> None:
    for name in op.inputs:
        labels.freeze(labels.of(name), f"{op.name} ({op.kind}) mixes channels")
    _opaque_output(op, labels)


COUPLING: dict[type[o.Op], Callable[[Any, Labels], None]] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.Add: _elementwise,
    o.Sub: _elementwise,
    o.Mul: _elementwise,
    o.Maximum: _elementwise,
    o.Minimum: _elementwise,
    o.AveragePool2D: _keep,
    o.MaxPool2D: _keep,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _softmax,
    o.LogSoftmax: _softmax,
    o.Clamp: _keep,
    o.PReLU: _prelu,
    o.Table: _keep,
    o.BatchNorm: _batch_norm,
    o.Dropout: _keep,
    o.Quantize: _keep,
    o.Dequantize: _keep,
    o.ResizeNearest: _keep,
    o.ResizeBilinear: _keep,
    o.SVDF: _opaque,
}


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
