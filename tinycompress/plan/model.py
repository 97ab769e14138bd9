"""The plan: a row program and row addresses. One type for layer-by-layer, streamed and every schedule between.

A step is "layer k makes its next rows". Every row of every activation has an arena offset of its own, so a kernel gets
row pointers and never a stride. Layer by layer is the program that runs each layer to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinycompress.errors import BudgetError
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Op
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel

ARENA_ALIGN = 16
"""Alignment in bytes of the arena the caller hands over; offsets are relative to such an address."""
INPUT_ROWS = -1
"""The `layer` of a step in which the caller gives the input's next rows."""


@dataclass(frozen=True)
class Step:
    """Layer `layer` makes output rows first_row … first_row + rows − 1; an accumulating one takes these input rows.

    Where the input is fed row by row, `layer` INPUT_ROWS stands for the arrival of these rows of it.
    """

    layer: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Placement:
    """Where each row of one activation lives: `offsets[r]` in arena bytes, each row `row_bytes` long.

    A view (Reshape) shares its source's storage: `view_of` names the tensor it aliases. Rows of constants and padding
    are not placed. State that is read lives in the caller's state struct (`in_state`); its offsets count from there.
    """

    tensor: str
    row_bytes: int
    offsets: tuple[int, ...]
    view_of: str | None = None
    in_state: bool = False

    @property
    def is_contiguous(self) -> bool:
        return all(b - a == self.row_bytes for a, b in zip(self.offsets, self.offsets[1:], strict=False))


@dataclass(frozen=True)
class LayerPlan:
    """One layer: the operator, its kernel, rows per call, packed weights, and step-local or lasting work memory.

    Scratch lives only during a step. An accumulator (running sums of a streamed mean) lives from the layer's first step
    to its last. Offsets are arena bytes, 0 when the size is 0. `instructions` is the kernel's own estimate.
    """

    index: int
    op: Op
    kernel: KernelVariant
    packed: PackedKernel
    rows_per_step: int
    scratch_bytes: int
    scratch_offset: int
    accumulator_bytes: int = 0
    accumulator_offset: int = 0
    instructions: int = 0


@dataclass(frozen=True)
class Plan:
    """A deployable schedule of `graph`. Inputs and outputs live in the arena (`io_bytes` outside it is 0).

    `arena_bytes` is exact: what the generated code asks for, and what `plan.check` has verified byte by byte.
    `arena_lower_bound_bytes` holds for `bound_scope` (a sentence); `arena_is_optimal` when the two are equal. It holds
    for these kernels, and for any others of the layers where `bound_is_of_any_kernels`.
    `live_bytes[i]` is the live set during step i; `peak_layer` the layer at the largest.
    `views` are Reshape operators that need no code. `trace_tensors` are the activations in the order of trace indices.
    `padding_rows` are the constant rows that stand for vertical padding: (fill byte, bytes), one per distinct fill.
    `schedule` is 'layers' or 'streamed'; `order_method` names the search that found the order.
    `fed_input` is the input whose rows arrive one by one, as steps of their own, None when inputs are there before the
    first step. What such an inference knows between two rows is kept in `progress_bytes` at the end of the arena.
    """

    graph: QuantGraph
    layers: tuple[LayerPlan, ...]
    steps: tuple[Step, ...]
    placements: Mapping[str, Placement]
    arena_bytes: int
    arena_lower_bound_bytes: int
    bound_scope: str
    live_bytes: tuple[int, ...]
    peak_layer: int
    views: tuple[Op, ...] = ()
    padding_rows: tuple[tuple[int, int], ...] = ()
    schedule: str = "layers"
    order_method: str = "exact"
    fed_input: str | None = None
    progress_bytes: int = 0
    bound_is_of_any_kernels: bool = False

    @property
    def is_interleaved(self) -> bool:
        """Whether layers take turns: some layer makes rows after a later one began. Otherwise no program is needed."""
        order = [step.layer for step in self.steps]
        return order != sorted(order)

    @property
    def progress_offset(self) -> int:
        """Where in the arena the progress of a fed inference is kept: behind everything else."""
        return self.arena_bytes - self.progress_bytes

    @property
    def arena_is_optimal(self) -> bool:
        return self.arena_bytes == self.arena_lower_bound_bytes

    @property
    def trace_tensors(self) -> tuple[str, ...]:
        return tuple(name for layer in self.layers for name in layer.op.outputs)

    @property
    def weights_bytes(self) -> int:
        """Flash bytes of all packed arrays and padding rows (exact: the generated weights file)."""
        return sum(layer.packed.weights_bytes for layer in self.layers) + sum(size for _, size in self.padding_rows)

    @property
    def instructions(self) -> int:
        """The kernels' own estimates, summed; what the planner chooses by."""
        return sum(layer.instructions for layer in self.layers)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state struct kept between inferences."""
        return sum(self.graph.tensors[s.read].bytes for s in self.graph.states)


class OverBudget(BudgetError):
    """A plan exceeds a limit: `plan` is the one whose numbers the message states, the nearest that was found."""

    def __init__(self, code: str, what: str, plan: Plan, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(code, what, where=where, fix=fix)
        self.plan = plan
