"""Streamed plans: rows instead of whole tensors, in the order and at the addresses that need least memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinycompress.cost.scalar import round_up
from tinycompress.cost.variants import usable
from tinycompress.cost.working_set import TENSOR_ALIGN, storage_roots
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels.catalogue import KernelTable, KernelVariant
from tinycompress.kernels.running_mean import ACCUMULATING
from tinycompress.plan.choose import Choice, make_choice
from tinycompress.plan.feed import progress_bytes
from tinycompress.plan.model import INPUT_ROWS, LayerPlan, Placement, Plan, Step
from tinycompress.plan.program import layer_steps
from tinycompress.plan.row_net import RowNet, build_net
from tinycompress.plan.row_place import Item, items, place_rows
from tinycompress.plan.row_search import RowOrder, best_row_orders, peak_of, pull_rules
from tinycompress.plan.rows import row_bytes, tensor_rows

ROWS_SCOPE = (
    "whole rows, input {feed}, no recomputation, these kernels and rows per step, no overlap except element-wise "
    "operands that die"
)
RELAX_ROUNDS = 4
"""How often a plan that fits before placement but not after it is tried again with a smaller target."""
PLACED_ORDERS = 2
"""How many of the best schedules are placed; the smallest arena wins."""


@dataclass(frozen=True)
class Streamed:
    """A placed schedule: the choices in graph order, the input that is fed by rows, and everything a Plan needs.

    `arena_bytes` holds the progress that a fed inference keeps between two rows, `progress_bytes` of it, at its end.
    """

    choices: tuple[Choice, ...]
    fed: str | None
    net: RowNet
    order: RowOrder
    items: tuple[Item, ...]
    arena_bytes: int
    progress_bytes: int
    addresses: dict[str, int]


def row_choices(
    graph: QuantGraph, choices: Sequence[Choice], accumulating: KernelTable, most_rows: int | None
) -> tuple[Choice, ...]:
    """The choices for streaming: running sums where a kernel has them, at most `most_rows` rows per step."""
    made = []
    for choice in choices:
        running = usable(choice.op, graph, accumulating, has_dsp=False)
        if running and tensor_rows(graph.tensors[choice.op.inputs[0]]) > 1:
            made.append(make_choice(choice.op, graph, running[0], (), 1))
        else:
            made.append(make_choice(choice.op, graph, choice.kernel, choice.others, most_rows))
    return tuple(made)


def lean_choices(graph: QuantGraph, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """For every layer the variant of the chosen one's tier with least scratch at one row per step."""
    made = []
    for choice in choices:
        rivals = [v for v in (choice.kernel, *choice.others) if v.tier == choice.kernel.tier]
        best = min(rivals, key=lambda v: make_choice(choice.op, graph, v, (), 1).scratch_bytes)
        others = tuple(v for v in (choice.kernel, *choice.others) if v is not best)
        made.append(make_choice(choice.op, graph, best, others))
    return tuple(made)


def no_heavier(graph: QuantGraph, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The choices with those variants only to replace them that take no more flash: a budget for it has been kept."""

    def fits(choice: Choice, variant: KernelVariant) -> bool:
        return variant.pack(choice.op, graph, graph.rounding).weights_bytes <= choice.packed.weights_bytes

    return tuple(replace(c, others=tuple(v for v in c.others if fits(c, v))) for c in choices)


@dataclass(frozen=True)
class _Upgrade:
    """Faster forms of one layer than its leanest, fastest first, and the instructions the fastest saves."""

    layer: int
    forms: tuple[Choice, ...]
    saving: int


def _upgrades(graph: QuantGraph, lean: Sequence[Choice]) -> list[_Upgrade]:
    """By saving: every kernel of the lean one's tier at its own rows per step, at two and at one."""
    found = []
    for index, small in enumerate(lean):
        if small.kernel.accumulator_bytes is not None:
            continue
        forms = [
            make_choice(small.op, graph, kernel, small.others, most_rows)
            for kernel in (small.kernel, *small.others)
            if kernel.tier == small.kernel.tier
            for most_rows in (None, 2, 1)
        ]
        useful = _undominated([form for form in forms if form.instructions < small.instructions])
        if useful:
            found.append(_Upgrade(index, useful, small.instructions - useful[0].instructions))
    return sorted(found, key=lambda item: -item.saving)


def _undominated(forms: Sequence[Choice]) -> tuple[Choice, ...]:
    """Fastest first, without those that another, no slower form undercuts in scratch and rows per step."""
    kept: list[Choice] = []
    for form in sorted(forms, key=lambda c: (c.instructions, c.scratch_bytes, c.rows_per_step)):
        if all(form.scratch_bytes < k.scratch_bytes or form.rows_per_step < k.rows_per_step for k in kept):
            kept.append(form)
    return tuple(kept)


def relax(graph: QuantGraph, lean: Sequence[Choice], target: int, fed: str | None = None) -> tuple[Choice, ...]:
    """The lean choices, made faster layer by layer wherever the peak stays within `target` bytes."""
    now = list(lean)
    rule = pull_rules(build_net(graph, now, fed))[0][0]
    for upgrade in _upgrades(graph, lean):
        for form in upgrade.forms:
            tried = [*now[: upgrade.layer], form, *now[upgrade.layer + 1 :]]
            net = build_net(graph, tried, fed)
            if peak_of(net, rule.order(net))[0] <= target:
                now = tried
                break
    return tuple(now)


def fastest_within(
    graph: QuantGraph, choices: Sequence[Choice], limit: int | None, budget: int, fed: str | None = None
) -> Streamed:
    """The fastest streamed plan found whose arena is within `limit`.

    Without a limit, or where none is found: the smallest arena, and no slower than it has to be.
    """
    choices = no_heavier(graph, choices)
    fast = row_choices(graph, choices, ACCUMULATING, None)
    lean = row_choices(graph, lean_choices(graph, choices), ACCUMULATING, 1)
    if limit is not None:
        made = _within(graph, fast, lean, limit, budget, fed)
        if made is not None:
            return made
    smallest = stream(graph, lean, budget, fed=fed)
    relaxed = relax(graph, lean, smallest.order.peak, fed)
    made = smallest if relaxed == lean else stream(graph, relaxed, budget, fed=fed)
    return made if made.arena_bytes <= smallest.arena_bytes else smallest


def _within(
    graph: QuantGraph, fast: Sequence[Choice], lean: Sequence[Choice], limit: int, budget: int, fed: str | None
) -> Streamed | None:
    """A plan of at most `limit` bytes between the fast choices and the lean ones; None when none is found."""
    target = limit - (0 if fed is None else progress_bytes(graph, fast, fed))
    for _ in range(RELAX_ROUNDS):
        if _pulled_peak(graph, lean, fed) > target:
            break
        tried = fast if _pulled_peak(graph, fast, fed) <= target else relax(graph, lean, target, fed)
        made = stream(graph, tried, budget // 8, limit, fed)
        if made.arena_bytes <= limit:
            return made
        target -= made.arena_bytes - limit
    return None


def _pulled_peak(graph: QuantGraph, choices: Sequence[Choice], fed: str | None) -> int:
    return pull_rules(build_net(graph, choices, fed))[0][2]


def stream(
    graph: QuantGraph, choices: Sequence[Choice], budget: int, enough: int = 0, fed: str | None = None
) -> Streamed:
    """The best placed schedule of the given choices; the first whose arena is `enough` bytes or less will do."""
    net = build_net(graph, choices, fed)
    progress = 0 if fed is None else progress_bytes(graph, choices, fed)
    best: Streamed | None = None
    for order in best_row_orders(net, budget)[:PLACED_ORDERS]:
        if best is not None and order.peak + progress >= best.arena_bytes:
            break
        for side_by_side in (True, False):
            found = items(net, order.nodes, side_by_side=side_by_side)
            size, addresses = place_rows(found, max(order.peak, enough - progress))
            size = int(round_up(size, TENSOR_ALIGN)) + progress
            if best is None or size < best.arena_bytes:
                best = Streamed(tuple(choices), fed, net, order, found, size, progress, dict(addresses))
            if size <= max(enough, order.peak + progress):
                break
        if best is not None and best.arena_bytes <= enough:
            break
    assert best is not None
    return best


def assemble(graph: QuantGraph, made: Streamed, padding: tuple[tuple[int, int], ...]) -> Plan:
    """The Plan of a placed schedule; layers are numbered by their first step, rows of a fed input are no layer."""
    first = [node for node in dict.fromkeys(made.order.nodes) if node < len(made.choices)]
    number = {node: index for index, node in enumerate(first)}
    pending = {node: iter(tuple(layer_steps(number[node], made.choices[node], graph))) for node in first}
    if made.fed is not None:
        rows = range(tensor_rows(graph.tensors[made.fed]))
        pending[len(made.choices)] = iter(tuple(Step(INPUT_ROWS, row, 1) for row in rows))
    steps: tuple[Step, ...] = tuple(next(pending[node]) for node in made.order.nodes)
    _, live = peak_of(made.net, made.order.nodes)
    bound = int(round_up(made.order.lower_bound, TENSOR_ALIGN)) + made.progress_bytes
    by_layer = [(size, -index, step.layer) for index, (size, step) in enumerate(zip(live, steps, strict=True))]
    peak = max((entry for entry in by_layer if entry[2] != INPUT_ROWS), default=(0, 0, 0))[2]
    return Plan(
        graph=graph,
        layers=tuple(_layer(made, node, index) for index, node in enumerate(first)),
        steps=steps,
        placements=_placements(graph, made),
        arena_bytes=made.arena_bytes,
        arena_lower_bound_bytes=min(bound, made.arena_bytes),
        bound_scope=ROWS_SCOPE.format(feed="resident" if made.fed is None else "fed by rows"),
        live_bytes=live or (made.arena_bytes,),
        peak_layer=peak,
        views=tuple(op for op in graph.ops if op.name not in {c.op.name for c in made.choices}),
        padding_rows=padding,
        schedule="streamed",
        order_method=made.order.method,
        fed_input=made.fed,
        progress_bytes=made.progress_bytes,
    )


def _layer(made: Streamed, node: int, index: int) -> LayerPlan:
    choice = made.choices[node]
    name = choice.op.name
    return LayerPlan(
        index=index,
        op=choice.op,
        kernel=choice.kernel,
        packed=choice.packed,
        rows_per_step=choice.rows_per_step,
        scratch_bytes=choice.scratch_bytes,
        scratch_offset=made.addresses.get(f"{name}.scratch", 0),
        accumulator_bytes=choice.accumulator_bytes,
        accumulator_offset=made.addresses.get(f"{name}.accumulator", 0),
        instructions=choice.instructions,
    )


def _placements(graph: QuantGraph, made: Streamed) -> dict[str, Placement]:
    """Row addresses of every tensor; views take the bytes of the tensor they cut."""
    at = {row: made.addresses[item.name] + offset for item in made.items for row, offset in item.rows}
    number = {tensor.name: i for i, tensor in enumerate(made.net.tensors)}
    result = {}
    for name, root in storage_roots(graph).items():
        tensor = graph.tensors[name]
        rows, size = tensor_rows(tensor), row_bytes(tensor)
        view = None if name == root else root
        if root not in number:
            result[name] = Placement(name, size, tuple(size * r for r in range(rows)), view, in_state=True)
        elif size == row_bytes(graph.tensors[root]):
            result[name] = Placement(name, size, tuple(at[number[root], r] for r in range(rows)), view)
        else:
            base = at[number[root], 0]
            result[name] = Placement(name, size, tuple(base + size * r for r in range(rows)), view)
    return result
