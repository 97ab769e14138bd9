"""From a quantized graph to a Plan: kernels, order, placement, checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tinycompress.cost.order import all_orders, best_order
from tinycompress.cost.working_set import Buffer, Workload, buffers, last_uses, live_bytes, storage_roots, workload
from tinycompress.errors import UnsupportedOpError
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels import KERNELS
from tinycompress.kernels.catalogue import KernelTable
from tinycompress.plan.check import check
from tinycompress.plan.choose import Choice, cheapest, least_form, no_heavier, shrink_flash, shrink_scratch, spare_flash
from tinycompress.plan.feed import Feed, fed_input
from tinycompress.plan.model import LayerPlan, OverBudget, Placement, Plan
from tinycompress.plan.place import Placed, place
from tinycompress.plan.program import layer_by_layer
from tinycompress.plan.row_search import STATE_BUDGET
from tinycompress.plan.rows import row_bytes, row_windows, tensor_rows
from tinycompress.plan.streamed import assemble, fastest_within

Schedule = Literal["layers", "streamed", "auto"]

MAX_TABLE_BYTES = 4 * 65_535
"""What the row tables of the generated code reach: 16-bit word numbers."""
ORDER_BUDGET = 2_000
"""Schedules (orders with their choice of overwritten operands) that are placed exactly when the bound is not met."""
LAYERS_SCOPE = "whole tensors, no recomputation, no overlap except element-wise operands that die"


@dataclass(frozen=True)
class _Layout:
    """An order of the choices with its blocks, their placement and the bound that holds over all orders."""

    order: tuple[int, ...]
    blocks: tuple[Buffer, ...]
    placed: Placed
    lower_bound: int
    method: str


def plan(
    graph: QuantGraph,
    *,
    has_dsp: bool = True,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    spares_flash: bool = False,
    board: str = "the budget",
    schedule: Schedule = "layers",
    feed: Feed = "whole",
    kernels: KernelTable = KERNELS,
    state_budget: int = STATE_BUDGET,
) -> Plan:
    """The plan of `graph`: kernels, order and addresses; checked byte by byte.

    `schedule` 'layers' runs whole layers with the cheapest kernels; 'streamed' keeps rows instead of tensors and takes
    the smallest arena that fast kernels allow (the fastest within `ram_bytes`, when given); 'auto' runs whole layers
    while their cheapest kernels fit, else whichever of the two needs fewer instructions inside the limit.
    With `feed` 'rows' the plan is streamed and the caller gives the input row by row: only the rows still needed are in
    memory (ConfigError TC-C134 with 'layers', UnsupportedOpError TC-M506 for several inputs).
    `ram_bytes` limits arena and state, `flash_bytes` the packed weights; cheaper kernels give way to smaller ones, in
    the end to those of least memory, before OverBudget TC-B101 (RAM) or TC-B102 (flash) says by how much and at which
    layer; `board` names the limit.
    With `spares_flash`, packings that cost much flash for little speed are not taken (`choose.spare_flash`).
    `state_budget` bounds the exact search for streamed orders. Raises UnsupportedOpError TC-M502 when an operator has
    no exact kernel.
    """
    fed = fed_input(graph, schedule, feed)
    choices = cheapest(graph, kernels, has_dsp=has_dsp)
    if spares_flash:
        choices = spare_flash(choices, graph)
    if flash_bytes is not None:
        padding_bytes = sum(size for _, size in padding_rows(choices, graph))
        choices = shrink_flash(choices, graph, flash_bytes - padding_bytes)
    state_bytes = sum(graph.tensors[s.read].bytes for s in graph.states)
    arena_limit = None if ram_bytes is None else ram_bytes - state_bytes
    result = None if schedule == "streamed" or fed else _plan_layers(graph, choices, arena_limit)
    if result is not None and flash_bytes is not None and result.weights_bytes > flash_bytes:
        result = _plan_layers(graph, no_heavier(graph, choices), arena_limit)
    if result is None or (schedule == "auto" and _has_given_way(result, choices, arena_limit)):
        streamed = _plan_streamed(graph, choices, arena_limit, state_budget, fed)
        result = streamed if result is None else _faster_inside(result, streamed, arena_limit)
    check(result)
    _enforce(result, ram_bytes, flash_bytes, board)
    return result


def _has_given_way(made: Plan, choices: tuple[Choice, ...], arena_limit: int | None) -> bool:
    """True when the limit is missed, or was kept by kernels slower than the cheapest."""
    cheapest_work = sum(choice.instructions for choice in choices)
    return arena_limit is not None and (made.arena_bytes > arena_limit or made.instructions > cheapest_work)


def _faster_inside(layers: Plan, streamed: Plan, arena_limit: int | None) -> Plan:
    """Of those that keep the limit the one with fewer instructions; the smaller one when neither does."""
    inside = [p for p in (layers, streamed) if arena_limit is None or p.arena_bytes <= arena_limit]
    if inside:
        return min(inside, key=lambda p: p.instructions)
    return min((layers, streamed), key=lambda p: p.arena_bytes)


def _plan_streamed(
    graph: QuantGraph, choices: tuple[Choice, ...], arena_limit: int | None, state_budget: int, fed: str | None
) -> Plan:
    """The fastest streamed plan that fits; the smallest when there is no limit or nothing fits."""
    limit = None if arena_limit is None else min(arena_limit, MAX_TABLE_BYTES)
    best = fastest_within(graph, choices, limit, state_budget, fed)
    if best.arena_bytes > MAX_TABLE_BYTES:
        raise UnsupportedOpError(
            "TC-M505",
            f"streamed rows are addressed within {MAX_TABLE_BYTES} B, the arena is {best.arena_bytes} B",
            where=graph.name,
            fix="plan it with schedule 'layers', or compress the model",
        )
    return assemble(graph, best, padding_rows(best.choices, graph))


def _plan_layers(graph: QuantGraph, choices: tuple[Choice, ...], arena_limit: int | None) -> Plan:
    """Whole layers; with a limit, scratch at the peak is given up for less as long as that helps."""
    layout = _lay_out(choices, graph)
    while arena_limit is not None and layout.placed.bytes > arena_limit:
        smaller = shrink_scratch(choices, graph, _layers_at_peak(layout))
        if smaller is None:
            break
        choices = smaller
        layout = _lay_out(choices, graph)
    if arena_limit is not None and layout.placed.bytes > arena_limit:
        return _plan_least_layers(graph, choices, layout, arena_limit)
    return _assemble(choices, graph, layout)


def _plan_least_layers(graph: QuantGraph, choices: tuple[Choice, ...], missing: _Layout, arena_limit: int) -> Plan:
    """Whole layers of least memory, in the order that is the best for them: `choices`, laid out, miss the limit.

    Where it is kept, faster kernels are taken back as long as it is; otherwise the smaller of the two plans.
    """
    forms = [least_form(choice, graph, at_once=True) for choice in choices]
    least = tuple(form for form, _ in forms)
    layout = _lay_out(least, graph)
    if layout.placed.bytes > arena_limit:
        if layout.placed.bytes > missing.placed.bytes:
            return _assemble(choices, graph, missing)
        return replace(_assemble(least, graph, layout), bound_is_of_any_kernels=all(proved for _, proved in forms))
    for index in sorted(range(len(least)), key=lambda i: choices[i].instructions - least[i].instructions):
        tried = (*least[:index], choices[index], *least[index + 1 :])
        found = _lay_out(tried, graph)
        if found.placed.bytes <= arena_limit:
            least, layout = tried, found
    return _assemble(least, graph, layout)


def _lay_out(choices: Sequence[Choice], graph: QuantGraph) -> _Layout:
    """The best order, placed; where its bound is not met, every schedule of a small graph is tried exactly."""
    work = workload(
        graph,
        {c.op.name: c.scratch_bytes for c in choices},
        {c.op.name: c.kernel.in_place for c in choices},
    )
    found = best_order(work)
    blocks = buffers(work, found.indices)
    peak = int(max(live_bytes(blocks, len(found.indices))))
    placed = place(blocks, peak)
    best = _Layout(found.indices, blocks, placed, int(found.lower_bound), found.method)
    if placed.bytes == best.lower_bound or len(blocks) > 12:
        return best
    return _exhaust(work, best)


def _exhaust(work: Workload, best: _Layout) -> _Layout:
    """Places every schedule within ORDER_BUDGET; proves the smallest arena optimal when all of them were tried."""
    tried = 0
    for order, joined in _schedules(work):
        tried += 1
        if tried > ORDER_BUDGET:
            return best
        blocks = buffers(work, order, joined)
        peak = int(max(live_bytes(blocks, len(order))))
        if peak >= best.placed.bytes:
            continue
        placed = place(blocks, peak)
        if not placed.is_optimal:
            return best
        if placed.bytes < best.placed.bytes:
            best = _Layout(order, blocks, placed, best.lower_bound, best.method)
        if placed.bytes == best.lower_bound:
            return best
    if best.placed.is_optimal:
        return _Layout(best.order, best.blocks, best.placed, best.placed.bytes, "exhaustive")
    return best


def _schedules(work: Workload) -> Iterator[tuple[tuple[int, ...], Mapping[str, str]]]:
    """Every order with every choice of which dying operand, if any, each output overwrites."""
    for order in all_orders(work):
        last = last_uses(work, order)
        options: list[list[tuple[str, str] | None]] = []
        for position, index in enumerate(order):
            task = work.tasks[index]
            dying = [r for r in task.reusable if last[r] == position and r not in work.exit]
            options.append([*((task.writes[0], r) for r in dying), None])
        for picks in itertools.product(*options):
            yield order, dict(pick for pick in picks if pick is not None)


def _layers_at_peak(layout: _Layout) -> set[int]:
    """Indices (into the choices) of the layers whose live set is the largest."""
    live = live_bytes(layout.blocks, len(layout.order))
    return {layout.order[t] for t, size in enumerate(live) if size == max(live) and layout.order}


def padding_rows(choices: Sequence[Choice], graph: QuantGraph) -> tuple[tuple[int, int], ...]:
    """(fill byte, bytes) of the constant rows that kernels read as vertical padding, one per distinct zero point."""
    lengths: dict[int, int] = {}
    for choice in choices:
        if not choice.kernel.needs_zero_row:
            continue
        for window in row_windows(choice.op, graph, choice.kernel):
            if not window.pads:
                continue
            tensor = graph.tensors[window.tensor]
            fill = tensor.quantization.tensor_zero_point
            if tensor.dtype.itemsize > 1 and fill != 0:
                raise UnsupportedOpError(
                    "TC-M503",
                    f"padding a {tensor.dtype.value} tensor needs zero point 0, not {fill}",
                    where=choice.op.name,
                )
            lengths[fill] = max(lengths.get(fill, 0), row_bytes(tensor))
    return tuple(sorted(lengths.items()))


def _assemble(choices: Sequence[Choice], graph: QuantGraph, layout: _Layout) -> Plan:
    ordered = [choices[i] for i in layout.order]
    layers = tuple(
        LayerPlan(
            index=index,
            op=choice.op,
            kernel=choice.kernel,
            packed=choice.packed,
            rows_per_step=choice.rows_per_step,
            scratch_bytes=choice.scratch_bytes,
            scratch_offset=layout.placed.offsets.get(f"{choice.op.name}.scratch", 0),
            instructions=choice.instructions,
        )
        for index, choice in enumerate(ordered)
    )
    live = tuple(int(n) for n in live_bytes(layout.blocks, len(layers)))
    steps = layer_by_layer(ordered, graph)
    return Plan(
        graph=graph,
        layers=layers,
        steps=steps,
        placements=_placements(graph, layout),
        arena_bytes=layout.placed.bytes,
        arena_lower_bound_bytes=layout.lower_bound,
        bound_scope=LAYERS_SCOPE,
        live_bytes=tuple(live[step.layer] for step in steps) or live,
        peak_layer=live.index(max(live)),
        views=tuple(op for op in graph.ops if op.name not in {c.op.name for c in ordered}),
        padding_rows=padding_rows(choices, graph),
        order_method=layout.method,
    )


def _placements(graph: QuantGraph, layout: _Layout) -> dict[str, Placement]:
    """Contiguous rows for every activation: at its block's offset, or in the state struct."""
    roots = storage_roots(graph)
    states = {roots[s.read] for s in graph.states}
    at = {m: layout.placed.offsets[b.name] for b in layout.blocks for m in b.members}
    result = {}
    for name, root in roots.items():
        tensor = graph.tensors[name]
        size = row_bytes(tensor)
        base = 0 if root in states else at[root]
        offsets = tuple(base + size * r for r in range(tensor_rows(tensor)))
        result[name] = Placement(name, size, offsets, None if name == root else root, root in states)
    return result


def _standing(plan: Plan) -> str:
    """How a plan that is larger than allowed stands among all plans of its schedule."""
    kind = "streamed plan" if plan.schedule == "streamed" else "plan of whole layers"
    if plan.bound_is_of_any_kernels and plan.arena_is_optimal:
        return f"no {kind} needs less"
    least = f", none needs less than {plan.arena_lower_bound_bytes + plan.state_bytes} B"
    return f"the smallest {kind} found" + (least if plan.bound_is_of_any_kernels else "")


def _enforce(plan: Plan, ram_bytes: int | None, flash_bytes: int | None, board: str) -> None:
    """Raises OverBudget for what the plan exceeds; where that is both, TC-B101 says both."""
    flash = None if flash_bytes is None else _flash_missed(plan, flash_bytes, board)
    if ram_bytes is not None and plan.arena_bytes + plan.state_bytes > ram_bytes:
        layer = plan.layers[plan.peak_layer] if plan.layers else None
        where = f"layer {layer.index} {layer.op.name}" if layer else plan.graph.name
        need = plan.arena_bytes + plan.state_bytes
        raise OverBudget(
            "TC-B101",
            f"{'arena and state' if plan.state_bytes else 'arena'} needs {need} B, {board} has {ram_bytes} B: "
            f"over by {need - ram_bytes} B at {where}; {_standing(plan)}{f'; {flash}' if flash else ''}",
            plan,
            where=where,
            fix="compress the model to this budget" + (", or stream it" if plan.schedule == "layers" else ""),
        )
    if flash is not None:
        largest = _largest(plan)
        where = f"layer {largest.index} {largest.op.name}"
        raise OverBudget("TC-B102", flash, plan, where=where, fix="compress the model to this budget")


def _flash_missed(plan: Plan, flash_bytes: int, board: str) -> str | None:
    """By how much the weights exceed the limit, None when they keep it."""
    over = plan.weights_bytes - flash_bytes
    if over <= 0:
        return None
    largest = _largest(plan)
    return (
        f"weights need {plan.weights_bytes} B, {board} has {flash_bytes} B: over by {over} B; the largest is layer "
        f"{largest.index} {largest.op.name} with {largest.packed.weights_bytes} B"
    )


def _largest(plan: Plan) -> LayerPlan:
    return max(plan.layers, key=lambda item: item.packed.weights_bytes)
