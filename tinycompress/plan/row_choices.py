"""Kernels and rows per step for streaming: the lean ones, the leanest ones, and what faster ones could replace them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinycompress.cost.scalar import round_up
from tinycompress.cost.variants import usable
from tinycompress.cost.working_set import SCRATCH_ALIGN, TENSOR_ALIGN
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels.catalogue import KernelTable
from tinycompress.plan.choose import Choice, least_form, make_choice
from tinycompress.plan.rows import row_bytes, tensor_rows

LEAN_COST = 1.25
"""How many instructions a lean kernel may take for each of the fastest, both at one row per step."""


def row_choices(
    graph: QuantGraph, choices: Sequence[Choice], accumulating: KernelTable, most_rows: int | None
) -> tuple[Choice, ...]:
    """The choices for streaming: running sums where a kernel has them, at most `most_rows` rows per step."""
    made = []
    for choice in choices:
        running = _running(choice, graph, accumulating)
        made.append(running or make_choice(choice.op, graph, choice.kernel, choice.others, most_rows))
    return tuple(made)


def _running(choice: Choice, graph: QuantGraph, accumulating: KernelTable) -> Choice | None:
    """The layer with running sums, a row at a time; None where no kernel has them or there is one row."""
    kernels = usable(choice.op, graph, accumulating, has_dsp=False)
    if not kernels or tensor_rows(graph.tensors[choice.op.inputs[0]]) == 1:
        return None
    return make_choice(choice.op, graph, kernels[0], (), 1)


def lean_choices(graph: QuantGraph, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """For every layer the variant with least scratch at one row per step among the fast ones.

    Fast are those of the chosen kernel's tier that need at most LEAN_COST times the instructions of the fastest there.
    """
    made = []
    for choice in choices:
        kernels = [v for v in (choice.kernel, *choice.others) if v.tier == choice.kernel.tier]
        forms = [make_choice(choice.op, graph, v, (), 1) for v in kernels]
        least = min(form.instructions for form in forms)
        fast = [form for form in forms if form.instructions <= LEAN_COST * least]
        best = min(fast, key=lambda form: form.scratch_bytes).kernel
        others = tuple(v for v in (choice.kernel, *choice.others) if v is not best)
        made.append(make_choice(choice.op, graph, best, others))
    return tuple(made)


@dataclass(frozen=True)
class Leanest:
    """The choices that need least memory, whatever they cost. `is_least`: proved for any choice of kernels and rows."""

    choices: tuple[Choice, ...]
    is_least: bool


def leanest_choices(graph: QuantGraph, choices: Sequence[Choice], accumulating: KernelTable) -> Leanest:
    """For every layer the form with least memory, of any tier, at one row per step.

    Running sums are taken where they and one row are smaller than all rows; which of the two a schedule's peak prefers
    is not known beforehand, so that nothing is proved about a network with such a layer.
    """
    made = []
    is_least = True
    for choice in choices:
        best, is_proved = least_form(choice, graph)
        is_least = is_least and is_proved
        running = _running(choice, graph, accumulating)
        if running is not None:
            is_least = False
            source = graph.tensors[choice.op.inputs[0]]
            slot = int(round_up(row_bytes(source), TENSOR_ALIGN))
            sums = int(round_up(running.accumulator_bytes, SCRATCH_ALIGN))
            best = running if sums + slot <= tensor_rows(source) * slot else best
        made.append(best)
    return Leanest(tuple(made), is_least)


@dataclass(frozen=True)
class Upgrade:
    """Faster forms of one layer than its leanest, fastest first, and the instructions the fastest saves."""

    layer: int
    forms: tuple[Choice, ...]
    saving: int


def upgrades(graph: QuantGraph, lean: Sequence[Choice]) -> list[Upgrade]:
    """By saving: every kernel at its own rows per step, at two and at one."""
    found = []
    for index, small in enumerate(lean):
        if small.kernel.accumulator_bytes is not None:
            continue
        forms = [
            make_choice(small.op, graph, kernel, small.others, most_rows)
            for kernel in (small.kernel, *small.others)
            for most_rows in (None, 2, 1)
        ]
        useful = _undominated([form for form in forms if form.instructions < small.instructions])
        if useful:
            found.append(Upgrade(index, useful, small.instructions - useful[0].instructions))
    return sorted(found, key=lambda item: -item.saving)


def _undominated(forms: Sequence[Choice]) -> tuple[Choice, ...]:
    """Fastest first, without those that another, no slower form undercuts in scratch and rows per step."""
    kept: list[Choice] = []
    for form in sorted(forms, key=lambda c: (c.instructions, c.scratch_bytes, c.rows_per_step)):
        if all(form.scratch_bytes < k.scratch_bytes or form.rows_per_step < k.rows_per_step for k in kept):
            kept.append(form)
    return tuple(kept)
