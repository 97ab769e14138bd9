"""Kernel variants: the cheapest per layer, given up for smaller ones where flash or RAM runs out."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from tinycompress.cost.variants import rows_of_call, usable
from tinycompress.cost.working_set import is_view
from tinycompress.errors import UnsupportedOpError
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import Op
from tinycompress.kernels.catalogue import KernelTable, KernelVariant, PackedKernel
from tinycompress.plan.row_cost import layer_instructions

WORTH = 0.2
"""Instructions saved, as a part of the network's, per part by which the weights grow: less is not taken unasked."""

SPARED_BYTES = 16 * 1024
"""A saving of flash below this is not looked at unasked: another kernel's code costs some of it again."""


@dataclass(frozen=True)
class Choice:
    """A layer's kernel with everything the planner asks of it, and the variants that could replace it."""

    op: Op
    kernel: KernelVariant
    rows_per_step: int
    scratch_bytes: int
    accumulator_bytes: int
    packed: PackedKernel
    instructions: int
    others: tuple[KernelVariant, ...] = field(default=(), repr=False)


def make_choice(
    op: Op,
    graph: QuantGraph,
    kernel: KernelVariant,
    others: tuple[KernelVariant, ...] = (),
    most_rows: int | None = None,
    *,
    at_once: bool = False,
) -> Choice:
    """`kernel` for `op`: packed, with its scratch and the rows of one call (at most `most_rows`; `at_once` where the
    layer runs as a whole)."""
    step = rows_of_call(kernel, op, graph, at_once=at_once, most=most_rows)
    return replace(_form(_Itself(graph), _Itself(op), _Itself(kernel), step), others=others)


@dataclass(frozen=True, eq=False)
class _Itself:
    """An object as the key of a cache: equal to nothing but itself."""

    value: Any

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value


@functools.lru_cache(maxsize=512)
def _form(graph: _Itself, op: _Itself, kernel: _Itself, step: int) -> Choice:
    """A search asks for the same few forms of a layer again and again, and packing one takes milliseconds."""
    return Choice(
        op=op.value,
        kernel=kernel.value,
        rows_per_step=step,
        scratch_bytes=kernel.value.scratch_bytes(op.value, graph.value, step),
        accumulator_bytes=kernel.value.accumulator_bytes(op.value, graph.value)
        if kernel.value.accumulator_bytes
        else 0,
        packed=kernel.value.pack(op.value, graph.value, graph.value.rounding),
        instructions=layer_instructions(kernel.value, op.value, graph.value, step),
    )


def least_form(choice: Choice, graph: QuantGraph, *, at_once: bool = False) -> tuple[Choice, bool]:
    """The layer's form of least memory, whatever it costs, and whether it can stand for any other in every schedule.

    `at_once` where the layer runs as a whole: rows per call then take no memory but scratch.
    """
    kernels = (choice.kernel, *choice.others)
    forms = [
        make_choice(choice.op, graph, kernel, tuple(k for k in kernels if k is not kernel), most, at_once=at_once)
        for kernel in kernels
        for most in (None, 2, 1)
    ]

    def memory(form: Choice) -> tuple[int, int, int]:
        return form.scratch_bytes, 0 if at_once else form.rows_per_step, -len(form.kernel.in_place)

    best = min(forms, key=lambda form: (*memory(form), form.instructions))
    return best, all(_stands_for(best, form, at_once) for form in forms)


def _stands_for(choice: Choice, other: Choice, at_once: bool) -> bool:
    reads_no_more = other.kernel.whole_input or not choice.kernel.whole_input
    makes_no_more = at_once or choice.rows_per_step <= other.rows_per_step
    overwrites = set(choice.kernel.in_place) >= set(other.kernel.in_place)
    return choice.scratch_bytes <= other.scratch_bytes and reads_no_more and makes_no_more and overwrites


def cheapest(graph: QuantGraph, table: KernelTable, *, has_dsp: bool) -> tuple[Choice, ...]:
    """The cheapest exact kernel of every operator that needs code, in graph order.

    Raises UnsupportedOpError TC-M502 naming every operator without a kernel.
    """
    found = {}
    for op in graph.ops:
        if not is_view(op, graph):
            found[op.name] = (op, usable(op, graph, table, has_dsp=has_dsp))
    missing = [f"{op.name} ({op.kind})" for op, variants in found.values() if not variants]
    if missing:
        raise UnsupportedOpError(
            "TC-M502",
            f"no kernel computes {len(missing)} of {len(found)} operators exactly: {', '.join(missing)}",
            where=graph.name,
            fix="`tinycompress ops` lists what each operator supports",
        )
    return tuple(make_choice(op, graph, variants[0], variants[1:], at_once=True) for op, variants in found.values())


def spare_flash(choices: tuple[Choice, ...], graph: QuantGraph) -> tuple[Choice, ...]:
    """Gives up large packings that gain little: one stays while its part of the instructions is at least WORTH of its
    part of the weights."""
    while True:
        found = _cheapest_saving(choices, graph, set(range(len(choices))), "flash", SPARED_BYTES)
        if found is None:
            return choices
        index, other = found
        now = choices[index]
        flash = (now.packed.weights_bytes - other.packed.weights_bytes) / sum(c.packed.weights_bytes for c in choices)
        speed = (other.instructions - now.instructions) / max(1, sum(c.instructions for c in choices))
        if speed >= WORTH * flash:
            return choices
        choices = (*choices[:index], other, *choices[index + 1 :])


def _cheapest_saving(
    choices: tuple[Choice, ...], graph: QuantGraph, layers: set[int], bytes_of: str, least: int = 1
) -> tuple[int, Choice] | None:
    """The replacement among `layers` that saves most bytes per added instruction, and at least `least` bytes."""
    best: tuple[float, int, Choice] | None = None
    for index in sorted(layers):
        now = choices[index]
        kernels = (now.kernel, *now.others)
        for kernel, most_rows in itertools.product(kernels, (None, 1) if bytes_of == "scratch" else (None,)):
            rest = tuple(k for k in kernels if k is not kernel)
            other = make_choice(now.op, graph, kernel, rest, most_rows, at_once=True)
            saved = _size(now, bytes_of) - _size(other, bytes_of)
            if saved >= least:
                rate = saved / max(1, other.instructions - now.instructions)
                if best is None or rate > best[0]:
                    best = (rate, index, other)
    return None if best is None else best[1:]


def _size(choice: Choice, bytes_of: str) -> int:
    return choice.packed.weights_bytes if bytes_of == "flash" else choice.scratch_bytes


def shrink_flash(choices: tuple[Choice, ...], graph: QuantGraph, weights_budget: int) -> tuple[Choice, ...]:
    """Replaces variants by smaller ones, best saving per instruction first, until the weights fit or nothing helps."""
    while sum(c.packed.weights_bytes for c in choices) > weights_budget:
        found = _cheapest_saving(choices, graph, set(range(len(choices))), "flash")
        if found is None:
            break
        index, other = found
        choices = (*choices[:index], other, *choices[index + 1 :])
    return choices


def no_heavier(graph: QuantGraph, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """The choices with those variants only to replace them that take no more flash: a budget for it has been kept."""

    def fits(choice: Choice, variant: KernelVariant) -> bool:
        return make_choice(choice.op, graph, variant).packed.weights_bytes <= choice.packed.weights_bytes

    return tuple(replace(c, others=tuple(v for v in c.others if fits(c, v))) for c in choices)


def shrink_scratch(choices: tuple[Choice, ...], graph: QuantGraph, layers: set[int]) -> tuple[Choice, ...] | None:
    """The choices with one layer among `layers` (indices into `choices`) given less scratch; None when none can."""
    found = _cheapest_saving(choices, graph, layers, "scratch")
    if found is None:
        return None
    index, other = found
    return (*choices[:index], other, *choices[index + 1 :])
