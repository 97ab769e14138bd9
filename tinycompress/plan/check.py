"""Independent checker: runs the row program on an arena whose every byte is tagged with (tensor, row, position).

Shares no code with the planner: the row meaning of the operators is written here a second time, from their definitions.
It knows the graph, the steps and the addresses, and proves for the schedule at hand (docs/DESIGN.md 7.1):

1. every row a step reads is intact, byte for byte, and complete;
2. rows written are disjoint from every row read in the step, unless the kernel declares that operand in place and the
   two rows coincide;
3. every access lies inside the arena and is aligned as tensors and kernel require;
4. every layer makes every row exactly once, top down;
5. scratch is disjoint from every live row, and an accumulator is unbroken from a layer's first step to its last;
6. outputs and state to keep are intact at the end;
7. padding rows are long enough, and the declared arena is the one used;
8. rows of a fed input arrive once, top down, and what is remembered between them is never written over.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.tensor import Tensor
from tinycompress.plan.model import ARENA_ALIGN, INPUT_ROWS, LayerPlan, Plan, Step

WORD = 4
SCRATCH_ALIGNMENT = 8
DIRTY = -1


class PlanFault(AssertionError):
    """The plan would compute wrong bytes: a bug of the planner (exit code 1), never of the model."""


@dataclass(frozen=True)
class _Read:
    """Rows of one operand that a step reads; None stands for a row of padding."""

    position: int
    tensor: str
    rows: tuple[int | None, ...]


@dataclass
class _Arena:
    """Tags of every byte: tensor number · 2^40 + byte of the tensor, or a negative mark for scratch."""

    tags: NDArray[np.int64]
    numbers: dict[str, int] = field(default_factory=dict)

    def tag(self, source: str, first: int, count: int) -> NDArray[np.int64]:
        number = self.numbers.setdefault(source, len(self.numbers))
        return (np.int64(number) << 40) + np.arange(first, first + count, dtype=np.int64)


def _rows_of(tensor: Tensor) -> tuple[int, int]:
    """(rows, bytes per row)."""
    if len(tensor.shape) < 2:
        return 1, tensor.bytes
    return tensor.shape[0], tensor.bytes // tensor.shape[0]


def _taps(op: Any, plan: Plan) -> tuple[int, int, int]:
    """(number of kernel rows, dilation, padding above) of a sliding window."""
    if isinstance(op, o.Conv2D):
        return plan.graph.tensors[op.weights].shape[1], op.dilation[0], op.padding[0]
    if isinstance(op, o.DepthwiseConv2D):
        return plan.graph.tensors[op.weights].shape[0], op.dilation[0], op.padding[0]
    return op.kernel[0], 1, op.padding[0]


def _needed(op: o.Op, output_row: int, input_rows: int, output_rows: int, plan: Plan) -> list[int]:
    """Rows of an operand (possibly outside it) that one output row is computed from, by the operator's definition."""
    if isinstance(op, o.Conv2D | o.DepthwiseConv2D | o.AveragePool2D | o.MaxPool2D):
        taps, dilation, above = _taps(op, plan)
        return [output_row * op.stride[0] + k * dilation - above for k in range(taps)]
    if isinstance(op, o.Pad):
        return [output_row - (op.amounts[0][0] if len(op.amounts) > 1 else 0)]
    if isinstance(op, o.Slice):
        return [op.begin[0] + output_row * op.strides[0] if len(op.begin) > 1 else output_row]
    if input_rows == 1 and output_rows > 1:
        return [0]
    return [output_row]


def _reads(layer: LayerPlan, step: Step, plan: Plan) -> Iterator[_Read]:
    output_rows, _ = _rows_of(plan.graph.tensors[layer.op.outputs[0]])
    for position, name in enumerate(layer.op.inputs):
        tensor = plan.graph.tensors[name]
        if tensor.is_constant:
            continue
        height, _ = _rows_of(tensor)
        if layer.kernel.whole_input:
            yield _Read(position, name, tuple(range(height)))
            continue
        if layer.kernel.accumulator_bytes is not None:
            yield _Read(position, name, tuple(range(step.first_row, step.first_row + step.rows)))
            continue
        wanted: set[int] = set()
        for row in range(step.first_row, step.first_row + step.rows):
            wanted.update(_needed(layer.op, row, height, output_rows, plan))
        yield _Read(position, name, tuple(r if 0 <= r < height else None for r in sorted(wanted)))


class _Checker:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arena = _Arena(np.full(plan.arena_bytes, DIRTY, dtype=np.int64))
        self.source: dict[str, str] = {}
        self.made: dict[str, int] = {}
        self.summed: dict[str, int] = {}
        self.used = 0
        for view in plan.views:
            self.source[view.outputs[0]] = self.source.get(view.inputs[0], view.inputs[0])
        self.padding = dict(plan.padding_rows)

    def fail(self, what: str) -> None:
        raise PlanFault(f"plan of {self.plan.graph.name}: {what}")

    def address(self, tensor: str, row: int, alignment: int = 1) -> int:
        """Arena offset of a row, checked to lie inside and to be aligned for its element type and the kernel."""
        placement = self.plan.placements[tensor]
        at, size = placement.offsets[row], placement.row_bytes
        if at < 0 or at + size > self.plan.arena_bytes:
            self.fail(f"{tensor} row {row} at {at} leaves the arena of {self.plan.arena_bytes} B")
        if at % max(alignment, self.plan.graph.tensors[tensor].dtype.itemsize):
            self.fail(f"{tensor} row {row} at {at} is not aligned to {alignment} B")
        self.used = max(self.used, at + size)
        return at

    def expected(self, tensor: str, row: int) -> NDArray[np.int64]:
        _, size = _rows_of(self.plan.graph.tensors[tensor])
        return self.arena.tag(self.source.get(tensor, tensor), row * size, size)

    def write(self, tensor: str, row: int, alignment: int = 1) -> None:
        at = self.address(tensor, row, alignment)
        tags = self.expected(tensor, row)
        self.arena.tags[at : at + len(tags)] = tags

    def read(self, tensor: str, row: int, why: str, alignment: int = 1) -> None:
        if self.plan.placements[tensor].in_state:
            return
        at = self.address(tensor, row, alignment)
        tags = self.expected(tensor, row)
        if not np.array_equal(self.arena.tags[at : at + len(tags)], tags):
            self.fail(f"{why} reads {tensor} row {row}, which is not intact at {at}")

    def check_shapes(self) -> None:
        for name, placement in self.plan.placements.items():
            rows, size = _rows_of(self.plan.graph.tensors[name])
            if len(placement.offsets) != rows or placement.row_bytes != size:
                self.fail(f"{name} is placed as {len(placement.offsets)} rows of {placement.row_bytes} B")
        whole = [name for name in self.plan.graph.input_names if name != self.plan.fed_input]
        for name in (*whole, *self.plan.graph.outputs):
            if not self.plan.placements[name].is_contiguous:
                self.fail(f"{name} is an input or output, but its rows are not contiguous")

    def run(self) -> None:
        graph = self.plan.graph
        self.check_shapes()
        fed = self.plan.fed_input
        for name in graph.input_names:
            for row in range(_rows_of(graph.tensors[name])[0] if name != fed else 0):
                self.write(name, row)
        self.begin_progress()
        for number, step in enumerate(self.plan.steps):
            if step.layer == INPUT_ROWS:
                self.feed(number, step)
            else:
                self.step(number, step)
            self.check_progress(number)
        made = [name for layer in self.plan.layers for name in layer.op.outputs]
        for name in made if fed is None else (fed, *made):
            if self.made.get(name, 0) != _rows_of(graph.tensors[name])[0]:
                self.fail(f"{name} ends with {self.made.get(name, 0)} rows made")
        for name in (*graph.outputs, *(s.write for s in graph.states)):
            for row in range(_rows_of(graph.tensors[name])[0]):
                self.read(name, row, "the end of the inference")
        if self.used > self.plan.arena_bytes or self.plan.arena_bytes - self.used >= ARENA_ALIGN:
            self.fail(f"declares {self.plan.arena_bytes} B of arena and uses {self.used} B")
        if self.plan.arena_bytes < self.plan.arena_lower_bound_bytes:
            self.fail(f"arena {self.plan.arena_bytes} B is below its lower bound {self.plan.arena_lower_bound_bytes} B")

    def step(self, number: int, step: Step) -> None:
        layer = self.plan.layers[step.layer]
        why = f"step {number} ({layer.op.name})"
        reads = list(_reads(layer, step, self.plan))
        writes = [(name, row) for name in layer.op.outputs for row in self.output_rows(layer, name, step, why)]
        work = [*self.scratch(layer, why), *self.accumulator(layer, step, why)]
        for operand in reads:
            self.check_operand(layer, operand, writes, why)
        for name, row in writes:
            at = self.address(name, row, layer.kernel.row_alignment)
            size = self.plan.placements[name].row_bytes
            if any(_overlap(at, size, *block) for block in work):
                self.fail(f"{why} writes {name} row {row} over its own work memory")
        spots = sorted((self.address(n, r), self.plan.placements[n].row_bytes) for n, r in writes)
        if any(a + size > b for (a, size), (b, _) in itertools.pairwise(spots)):
            self.fail(f"{why} writes two rows to one place")
        for name, row in writes:
            self.write(name, row)
            self.made[name] = row + 1

    def feed(self, number: int, step: Step) -> None:
        """The caller writes the input's next row, at any time since the step before."""
        name = self.plan.fed_input
        if name is None or step.rows != 1 or step.first_row != self.made.get(name, 0):
            self.fail(f"step {number} feeds {step.rows} rows from {step.first_row}, out of turn")
            return
        self.write(name, step.first_row)
        self.made[name] = step.first_row + 1

    def begin_progress(self) -> None:
        """Tags what a fed inference remembers: two counters and one for each layer, behind everything else."""
        at, size = self.plan.progress_offset, self.plan.progress_bytes
        counters = 2 + len(self.plan.layers)
        if (size >= 2 * counters) != (self.plan.fed_input is not None) or at % WORD or at < 0:
            self.fail(f"keeps its progress in {size} B at {at}")
        if size:
            self.arena.tags[at:] = self.arena.tag("progress", 0, size)
            self.used = self.plan.arena_bytes

    def check_progress(self, number: int) -> None:
        at, size = self.plan.progress_offset, self.plan.progress_bytes
        if size and not np.array_equal(self.arena.tags[at:], self.arena.tag("progress", 0, size)):
            self.fail(f"step {number} writes over the progress at {at}")

    def output_rows(self, layer: LayerPlan, name: str, step: Step, why: str) -> range:
        height, _ = _rows_of(self.plan.graph.tensors[name])
        if layer.kernel.whole_input:
            if self.made.get(name, 0):
                self.fail(f"{why} makes {name} twice")
            return range(height)
        if layer.kernel.accumulator_bytes is not None:
            return range(height if self.is_last_sum(layer, step, why) else 0)
        if step.first_row != self.made.get(name, 0) or step.first_row + step.rows > height or step.rows < 1:
            self.fail(f"{why} makes rows {step.first_row}..{step.first_row + step.rows - 1} out of turn")
        if step.rows > layer.rows_per_step:
            self.fail(f"{why} makes {step.rows} rows, its scratch is for {layer.rows_per_step}")
        return range(step.first_row, step.first_row + step.rows)

    def is_last_sum(self, layer: LayerPlan, step: Step, why: str) -> bool:
        """True in the step that takes the last input row; input rows come in turn, each once."""
        height, _ = _rows_of(self.plan.graph.tensors[layer.op.inputs[0]])
        taken = self.summed.get(layer.op.name, 0)
        if step.first_row != taken or step.rows < 1 or step.rows > layer.rows_per_step or taken + step.rows > height:
            self.fail(f"{why} takes input rows {step.first_row}.. out of turn")
        self.summed[layer.op.name] = taken + step.rows
        return taken + step.rows == height

    def accumulator(self, layer: LayerPlan, step: Step, why: str) -> list[tuple[int, int]]:
        """The running sums: unbroken since the last step, whole again after this one."""
        if layer.kernel.accumulator_bytes is None:
            return []
        size, at = layer.accumulator_bytes, layer.accumulator_offset
        if size < layer.kernel.accumulator_bytes(layer.op, self.plan.graph) or at % SCRATCH_ALIGNMENT:
            self.fail(f"{why} has an accumulator of {size} B at {at}")
        if at < 0 or at + size > self.plan.arena_bytes:
            self.fail(f"{why} has an accumulator outside the arena")
        tags = self.arena.tag(f"{layer.op.name}.accumulator", 0, size)
        if step.first_row > 0 and not np.array_equal(self.arena.tags[at : at + size], tags):
            self.fail(f"{why} finds its running sums broken")
        self.arena.tags[at : at + size] = tags
        self.used = max(self.used, at + size)
        return [(at, size)]

    def scratch(self, layer: LayerPlan, why: str) -> list[tuple[int, int]]:
        """Dirties the step's scratch, so that any row it touches is found broken later; returns the blocks."""
        need = layer.kernel.scratch_bytes(layer.op, self.plan.graph, layer.rows_per_step)
        if layer.scratch_bytes < need:
            self.fail(f"{why} has {layer.scratch_bytes} B of scratch, the kernel needs {need} B")
        blocks = []
        if layer.scratch_bytes:
            at, size = layer.scratch_offset, layer.scratch_bytes
            if at % SCRATCH_ALIGNMENT or at < 0 or at + size > self.plan.arena_bytes:
                self.fail(f"{why} has scratch at {at}, {size} B")
            self.arena.tags[at : at + size] = DIRTY
            self.used = max(self.used, at + size)
            blocks.append((at, size))
        return blocks

    def check_operand(self, layer: LayerPlan, operand: _Read, writes: list[tuple[str, int]], why: str) -> None:
        tensor = self.plan.graph.tensors[operand.tensor]
        placement = self.plan.placements[operand.tensor]
        may_coincide = operand.position in layer.kernel.in_place
        for row in operand.rows:
            if row is None:
                self.check_padding(layer, tensor, why)
                continue
            self.read(operand.tensor, row, why, layer.kernel.row_alignment)
            if placement.in_state:
                continue
            at, size = placement.offsets[row], placement.row_bytes
            for name, made in writes:
                other = self.plan.placements[name]
                if not _overlap(at, size, other.offsets[made], other.row_bytes):
                    continue
                same = (at, size, row) == (other.offsets[made], other.row_bytes, made)
                if not (may_coincide and same):
                    self.fail(f"{why} writes {name} row {made} over {operand.tensor} row {row}, which it reads")

    def check_padding(self, layer: LayerPlan, tensor: Tensor, why: str) -> None:
        if not layer.kernel.needs_zero_row:
            return
        _, size = _rows_of(tensor)
        if self.padding.get(tensor.quantization.tensor_zero_point, 0) < size:
            self.fail(f"{why} needs a padding row of {size} B")


def _overlap(a: int, a_bytes: int, b: int, b_bytes: int) -> bool:
    return a < b + b_bytes and b < a + a_bytes


def check(plan: Plan) -> None:
    """Raises PlanFault unless the plan computes every row from intact bytes inside its arena."""
    if plan.arena_bytes % WORD or any(math.prod(t.shape) < 1 for t in plan.graph.tensors.values()):
        raise PlanFault(f"plan of {plan.graph.name}: arena of {plan.arena_bytes} B")
    _Checker(plan).run()
