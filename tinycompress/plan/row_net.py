"""A network as rows: which rows every step of a layer needs, makes and frees. What streamed schedules are searched on.

A row lives from its production until every consumer's first row still needed lies below it. Rows are freed top down, so
per tensor two counters say everything: rows made and first row still needed. Every step happens exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinycompress.cost.scalar import round_up
from tinycompress.cost.working_set import SCRATCH_ALIGN, TENSOR_ALIGN, is_view, storage_roots
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan.choose import Choice
from tinycompress.plan.program import layer_steps, step_count
from tinycompress.plan.rows import row_bytes, row_windows, tensor_rows

Done = tuple[int, ...]
"""Steps done per node: the state of a schedule."""


@dataclass(frozen=True)
class RowTensor:
    """A tensor of the arena. `slot_bytes` is what one row takes: whole words unless its rows must be contiguous.

    Contiguous (`is_block`) are inputs that are there at once, outputs, kept state, and tensors that a view cuts into
    other rows.
    """

    name: str
    rows: int
    slot_bytes: int
    is_block: bool
    is_kept: bool
    producer: int | None
    readers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RowRead:
    """One operand of a node: step s needs rows < needed[s] to exist; rows < free[s] are not needed after s steps."""

    tensor: int
    needed: tuple[int, ...]
    free: tuple[int, ...]
    reusable: bool


@dataclass(frozen=True)
class RowNode:
    """A layer: `made[k][s]` rows of its k-th output exist after s steps; step s makes rows from first[s]."""

    name: str
    steps: int
    first: tuple[int, ...]
    reads: tuple[RowRead, ...]
    writes: tuple[int, ...]
    made: tuple[tuple[int, ...], ...]
    scratch: int
    accumulator: int


@dataclass(frozen=True)
class RowNet:
    """Nodes and tensors of one network under given kernels and rows per step."""

    nodes: tuple[RowNode, ...]
    tensors: tuple[RowTensor, ...]

    def start(self) -> tuple[Done, int]:
        """The state before the first step, and the bytes live then: the inputs."""
        live = sum(t.rows * t.slot_bytes for t in self.tensors if t.producer is None)
        return (0,) * len(self.nodes), live

    def made(self, tensor: int, done: Sequence[int]) -> int:
        """Rows of a tensor that exist."""
        t = self.tensors[tensor]
        if t.producer is None:
            return t.rows
        node = self.nodes[t.producer]
        return node.made[node.writes.index(tensor)][done[t.producer]]

    def freed(self, tensor: int, done: Sequence[int]) -> int:
        """The first row of a tensor that is still needed."""
        t = self.tensors[tensor]
        if t.is_kept:
            return 0
        nodes = self.nodes
        return min((nodes[n].reads[k].free[done[n]] for n, k in t.readers), default=t.rows)

    def is_ready(self, node: int, done: Sequence[int]) -> bool:
        """True when the node's next step can run."""
        item, step = self.nodes[node], done[node]
        return step < item.steps and all(self.made(r.tensor, done) >= r.needed[step] for r in item.reads)

    def is_source(self, node: int) -> bool:
        """True for a node that reads nothing in the arena: rows from outside."""
        return not self.nodes[node].reads

    def is_awaited(self, node: int, done: Sequence[int]) -> bool:
        """True when some layer is still to read what the node makes next."""
        item = self.nodes[node]
        return any(
            self.nodes[n].reads[k].free[done[n]] < made[done[node] + 1]
            for made, tensor in zip(item.made, item.writes, strict=True)
            for n, k in self.tensors[tensor].readers
        )

    def overwrites(self, node: int, done: Sequence[int]) -> int | None:
        """The operand whose rows die in the node's next step and may be overwritten by it; None when there is none."""
        item, step = self.nodes[node], done[node]
        after = _advanced(done, node)
        last = item.made[0][step + 1]
        for position, read in enumerate(item.reads):
            if read.reusable and self.freed(read.tensor, after) >= last:
                return position
        return None

    def run(self, node: int, done: Sequence[int], live: int) -> tuple[int, int]:
        """(bytes live during the node's next step, bytes live after it)."""
        item, step = self.nodes[node], done[node]
        after = _advanced(done, node)
        new = change = 0
        for made, tensor in zip(item.made, item.writes, strict=True):
            slot = self.tensors[tensor].slot_bytes
            new += (made[step + 1] - made[step]) * slot
            unneeded = self.freed(tensor, after)
            change += (max(0, made[step + 1] - unneeded) - max(0, made[step] - unneeded)) * slot
        for tensor in {r.tensor for r in item.reads}:
            rows, slot = self.made(tensor, done), self.tensors[tensor].slot_bytes
            before, later = self.freed(tensor, done), self.freed(tensor, after)
            change -= (max(0, rows - before) - max(0, rows - later)) * slot
        during = live + new + item.scratch
        if step == 0:
            during += item.accumulator
            change += item.accumulator
        if step + 1 == item.steps:
            change -= item.accumulator
        reused = self.overwrites(node, done)
        if reused is not None:
            rows = item.made[0][step + 1] - item.made[0][step]
            during -= rows * self.tensors[item.reads[reused].tensor].slot_bytes
        return during, live + change

    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For each node, those whose readiness or cost its step can change: itself, its readers, its fellow readers."""
        found = []
        for index, node in enumerate(self.nodes):
            near = {index}
            for tensor in (*node.writes, *(r.tensor for r in node.reads)):
                near.update(n for n, _ in self.tensors[tensor].readers)
            found.append(tuple(sorted(near, reverse=True)))
        return tuple(found)


def _advanced(done: Sequence[int], node: int) -> list[int]:
    after = list(done)
    after[node] += 1
    return after


def build_net(graph: QuantGraph, choices: Sequence[Choice], fed: str | None = None) -> RowNet:
    """The row network of `graph` under `choices`, in their order.

    The rows of input `fed` are made by a node of their own, the last one, whose steps the caller takes.
    """
    return _Builder(graph, choices, fed).build()


class _Builder:
    def __init__(self, graph: QuantGraph, choices: Sequence[Choice], fed: str | None) -> None:
        self.graph = graph
        self.choices = choices
        self.fed = fed
        self.roots = storage_roots(graph)
        self.outside = {self.roots[s.read] for s in graph.states}
        kept = {self.roots[n] for n in (*graph.outputs, *(s.write for s in graph.states))}
        self.names = [r for r in dict.fromkeys(self.roots.values()) if r not in self.outside]
        self.kept = kept - self.outside
        self.blocks = {*self.kept, *(self.roots[n] for n in graph.input_names if n != fed)} | self._recut()
        self.in_block: set[str] = set()
        """Tensors whose rows may lie in a block that is not theirs, written over it row by row."""
        self.number = {name: i for i, name in enumerate(self.names)}

    def _recut(self) -> set[str]:
        """Tensors with a view whose rows differ from their own."""
        found = set()
        for op in self.graph.ops:
            if is_view(op, self.graph):
                root = self.roots[op.output]
                if row_bytes(self.graph.tensors[op.output]) != row_bytes(self.graph.tensors[root]):
                    found.add(root)
        return found

    def slot(self, name: str) -> int:
        size = row_bytes(self.graph.tensors[name])
        return size if name in self.blocks else int(round_up(size, TENSOR_ALIGN))

    def build(self) -> RowNet:
        nodes = tuple(self.node(choice) for choice in self.choices)
        if self.fed is not None:
            nodes = (*nodes, self.feeder(self.fed))
        producer = {t: i for i, node in enumerate(nodes) for t in node.writes}
        readers: Mapping[int, list[tuple[int, int]]] = {i: [] for i in range(len(self.names))}
        for i, node in enumerate(nodes):
            for k, read in enumerate(node.reads):
                readers[read.tensor].append((i, k))
        tensors = tuple(
            RowTensor(
                name=name,
                rows=tensor_rows(self.graph.tensors[name]),
                slot_bytes=self.slot(name),
                is_block=name in self.blocks,
                is_kept=name in self.kept,
                producer=producer.get(i),
                readers=tuple(readers[i]),
            )
            for i, name in enumerate(self.names)
        )
        return RowNet(nodes, tensors)

    def node(self, choice: Choice) -> RowNode:
        steps = tuple(layer_steps(0, choice, self.graph))
        made = []
        for name in choice.op.outputs:
            rows = tensor_rows(self.graph.tensors[name])
            if choice.kernel.whole_input or choice.kernel.accumulator_bytes is not None:
                made.append((*(0 for _ in steps), rows))
            else:
                made.append((0, *(s.first_row + s.rows for s in steps)))
        return RowNode(
            name=choice.op.name,
            steps=step_count(choice, self.graph),
            first=tuple(s.first_row for s in steps),
            reads=self.reads(choice),
            writes=tuple(self.number[n] for n in choice.op.outputs),
            made=tuple(made),
            scratch=int(round_up(choice.scratch_bytes, SCRATCH_ALIGN)),
            accumulator=int(round_up(choice.accumulator_bytes, SCRATCH_ALIGN)),
        )

    def feeder(self, name: str) -> RowNode:
        """The caller as a node: makes one row of the input per step from nothing in the arena."""
        rows = tensor_rows(self.graph.tensors[name])
        first = tuple(range(rows))
        return RowNode(f"rows of {name}", rows, first, (), (self.number[name],), ((*first, rows),), 0, 0)

    def reads(self, choice: Choice) -> tuple[RowRead, ...]:
        """Operands by storage: a view's rows are mapped to the rows of the tensor whose bytes it shares."""
        graph, op = self.graph, choice.op
        output = op.outputs[0]
        found = []
        for window in row_windows(op, graph, choice.kernel):
            root = self.roots[window.tensor]
            if root in self.outside:
                continue
            own, base = row_bytes(graph.tensors[window.tensor]), row_bytes(graph.tensors[root])
            height, rows = tensor_rows(graph.tensors[window.tensor]), tensor_rows(graph.tensors[root])
            needed, free = [], []
            for step in layer_steps(0, choice, graph):
                span = window.span(step.first_row, step.rows, height)
                needed.append(min(rows, -(-max(0, min(span.stop, height)) * own // base)))
                free.append(min(rows, max(0, span.start) * own // base))
            tensor = graph.tensors[window.tensor]
            same = tensor.shape == graph.tensors[output].shape and tensor.dtype is graph.tensors[output].dtype
            one_block = output not in self.blocks or root not in self.blocks | self.in_block
            even = self.slot(root) == self.slot(output)
            allowed = all(i in choice.kernel.in_place for i, n in enumerate(op.inputs) if self.roots.get(n) == root)
            reusable = allowed and same and one_block and even and not window.shared and own == base
            if reusable and root in self.blocks | self.in_block:
                self.in_block.add(output)
            found.append(RowRead(self.number[root], tuple(needed), (*free, rows), reusable))
        return tuple(found)
