"""The working set of a whole-tensor schedule: which arena buffers live during which operator.

The planner places these buffers and the compression prices them, so that both see one memory. A buffer is a tensor and
its views (Reshape shares its input's bytes); an element-wise operator may write over an operand that dies there, which
joins the two buffers; scratch is a buffer that lives during one operator. Sizes are rounded up to the alignment, so a
sum of live sizes is a true lower bound of every placement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinycompress.cost.scalar import Scalar, largest, plain, round_up, total
from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Op, Reshape
from tinycompress.ir.tensor import Tensor

TENSOR_ALIGN = 4
"""Arena alignment of tensors in bytes: whole words, so that word loads never straddle two tensors."""
SCRATCH_ALIGN = 8
"""Arena alignment of kernel scratch in bytes."""


@dataclass(frozen=True)
class Task:
    """One operator as memory sees it.

    `reads` and `writes` name buffers; `scratch` is bytes that live only during the task; `reusable` are the buffers
    among `reads` that the first written buffer may overwrite if they die here.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch: Scalar = 0
    reusable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workload:
    """Tasks (in a valid order), rounded buffer sizes, the buffers live at the start and those to keep to the end."""

    tasks: tuple[Task, ...]
    sizes: Mapping[str, Scalar]
    entry: tuple[str, ...]
    exit: frozenset[str]


@dataclass(frozen=True)
class Buffer:
    """A block of the arena from task `birth` to task `death`, both included, and the tensor buffers that share it."""

    name: str
    birth: int
    death: int
    bytes: Scalar
    alignment: int = TENSOR_ALIGN
    members: tuple[str, ...] = ()

    def overlaps(self, other: Buffer) -> bool:
        """True when both are live during some task."""
        return self.birth <= other.death and other.birth <= self.death


def is_view(op: Op, graph: Graph) -> bool:
    """True for operators that need no code because their output is their input's bytes."""
    return isinstance(op, Reshape) and not graph.tensors[op.inputs[0]].is_constant


def storage_roots(graph: Graph) -> dict[str, str]:
    """For every activation, the tensor whose bytes it shares: itself, or through views the first of the chain."""
    roots = {name: name for name in (*graph.input_names, *(s.read for s in graph.states))}
    for op in graph.ops:
        for name in op.outputs:
            roots[name] = roots[op.inputs[0]] if is_view(op, graph) else name
    return roots


def reusable_inputs(op: Op, graph: Graph, in_place: Sequence[int], roots: Mapping[str, str]) -> tuple[str, ...]:
    """Buffers that `op` may overwrite row by row: every use of them is an `in_place` input of the output's shape."""
    output = graph.tensors[op.outputs[0]]

    def fits(index: int, tensor: Tensor) -> bool:
        return index in in_place and tensor.shape == output.shape and tensor.dtype is output.dtype

    uses: dict[str, bool] = {}
    for index, name in enumerate(op.inputs):
        tensor = graph.tensors[name]
        if not tensor.is_constant:
            root = roots[name]
            uses[root] = uses.get(root, True) and fits(index, tensor)
    return tuple(root for root, ok in uses.items() if ok)


def workload(
    graph: Graph,
    scratch: Mapping[str, Scalar],
    in_place: Mapping[str, Sequence[int]],
    sizes: Mapping[str, Scalar] | None = None,
) -> Workload:
    """The memory side of `graph`. `scratch` and `in_place` are by operator name; `sizes` replaces tensor bytes.

    State that is read lives in the state struct, not in the arena, and is never overwritten.
    """
    roots = storage_roots(graph)
    outside = {roots[s.read] for s in graph.states}
    tasks = []
    for op in graph.ops:
        if is_view(op, graph):
            continue
        reads = tuple(dict.fromkeys(roots[n] for n in op.inputs if n in roots and roots[n] not in outside))
        reusable = reusable_inputs(op, graph, in_place.get(op.name, ()), roots)
        tasks.append(
            Task(
                op.name,
                reads,
                tuple(roots[n] for n in op.outputs),
                round_up(scratch.get(op.name, 0), SCRATCH_ALIGN),
                tuple(r for r in reusable if r not in outside),
            )
        )
    plain = {root: graph.tensors[root].bytes for root in dict.fromkeys(roots.values()) if root not in outside}
    chosen = {root: round_up(sizes[root] if sizes else size, TENSOR_ALIGN) for root, size in plain.items()}
    kept = {roots[n] for n in (*graph.outputs, *(s.write for s in graph.states))} - outside
    entry = tuple(dict.fromkeys(roots[n] for n in graph.input_names))
    return Workload(tuple(tasks), chosen, entry, frozenset(kept))


def joins(work: Workload, order: Sequence[int]) -> dict[str, str]:
    """Which written buffer takes over which dying operand under `order`: {written: overwritten}.

    Overwriting never enlarges a live set, so every chance is taken; among several operands the largest goes.
    """
    last = last_uses(work, order)
    taken = {}
    for position, index in enumerate(order):
        task = work.tasks[index]
        dying = [r for r in task.reusable if last[r] == position and r not in work.exit]
        if dying:
            taken[task.writes[0]] = max(dying, key=lambda r: plain(work.sizes[r]))
    return taken


def last_uses(work: Workload, order: Sequence[int]) -> dict[str, int]:
    """Position of the last task that reads or writes each buffer; kept buffers last to the end."""
    last = dict.fromkeys(work.entry, 0)
    for position, index in enumerate(order):
        for name in (*work.tasks[index].reads, *work.tasks[index].writes):
            last[name] = position
    end = max(0, len(order) - 1)
    last.update({name: end for name in work.exit if name in work.sizes})
    return last


def buffers(work: Workload, order: Sequence[int], joined: Mapping[str, str] | None = None) -> tuple[Buffer, ...]:
    """The blocks to place for `order`, tensors before scratch; `joined` defaults to `joins(work, order)`."""
    joined = joins(work, order) if joined is None else joined
    last = last_uses(work, order)
    block: dict[str, str] = {name: name for name in work.entry}
    birth: dict[str, int] = dict.fromkeys(work.entry, 0)
    members: dict[str, list[str]] = {name: [name] for name in work.entry}
    for position, index in enumerate(order):
        for name in work.tasks[index].writes:
            block[name] = block[joined[name]] if name in joined else name
            birth.setdefault(block[name], position)
            members.setdefault(block[name], []).append(name)
    result = [
        Buffer(
            name,
            birth[name],
            max(last[m] for m in names),
            largest(work.sizes[m] for m in names),
            TENSOR_ALIGN,
            tuple(names),
        )
        for name, names in members.items()
    ]
    for position, index in enumerate(order):
        task = work.tasks[index]
        if plain(task.scratch) > 0:
            result.append(Buffer(f"{task.name}.scratch", position, position, task.scratch, SCRATCH_ALIGN))
    return tuple(result)


def live_bytes(blocks: Sequence[Buffer], steps: int) -> tuple[Scalar, ...]:
    """Bytes alive during each of `steps` tasks (at least one: the inputs alone)."""
    return tuple(total(b.bytes for b in blocks if b.birth <= t <= b.death) for t in range(max(1, steps)))


def peak(work: Workload, order: Sequence[int]) -> Scalar:
    """Largest sum of simultaneously live tensor and scratch bytes over `order`, graph inputs and outputs included.

    Exact for whole tensors without recomputation: equals Plan.arena_bytes whenever that plan is optimal.
    """
    return largest(live_bytes(buffers(work, order), len(order)))
