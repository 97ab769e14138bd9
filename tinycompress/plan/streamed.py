"""Streamed plans: rows instead of whole tensors, in the order and at the addresses that need least memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinycompress.cost.scalar import round_up
from tinycompress.cost.working_set import SCRATCH_ALIGN, TENSOR_ALIGN, storage_roots
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels.running_mean import ACCUMULATING
from tinycompress.plan.choose import Choice, no_heavier
from tinycompress.plan.feed import progress_bytes
from tinycompress.plan.model import INPUT_ROWS, LayerPlan, Placement, Plan, Step
from tinycompress.plan.program import layer_steps
from tinycompress.plan.row_choices import lean_choices, leanest_choices, row_choices, upgrades
from tinycompress.plan.row_net import RowNet, build_net
from tinycompress.plan.row_place import Item, fit_in, items, place_rows, scratch_item
from tinycompress.plan.row_search import PullRule, RowOrder, best_row_orders, peak_of, pull_rules
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
    `is_of_least_kernels` says that no other kernels and rows per step need less, in any order.
    """

    choices: tuple[Choice, ...]
    fed: str | None
    net: RowNet
    order: RowOrder
    items: tuple[Item, ...]
    arena_bytes: int
    progress_bytes: int
    addresses: dict[str, int]
    is_of_least_kernels: bool = False


def relax(
    graph: QuantGraph,
    lean: Sequence[Choice],
    target: int,
    fed: str | None = None,
    *,
    rule: PullRule | None = None,
    order: Sequence[int] | None = None,
) -> tuple[Choice, ...]:
    """The lean choices, made faster layer by layer wherever the peak stays within `target` bytes.

    In the order of `rule` (the pull rule that is best for the lean choices), or in `order`, by kernels of as many rows
    per step.
    """
    now = list(lean)
    if rule is None and order is None:
        rule = pull_rules(build_net(graph, now, fed))[0][0]
    for upgrade in upgrades(graph, lean):
        for form in upgrade.forms:
            if rule is None and form.rows_per_step != now[upgrade.layer].rows_per_step:
                continue
            tried = [*now[: upgrade.layer], form, *now[upgrade.layer + 1 :]]
            net = build_net(graph, tried, fed)
            if peak_of(net, rule.order(net) if rule is not None else order or ())[0] <= target:
                now = tried
                break
    return tuple(now)


def fastest_within(
    graph: QuantGraph, choices: Sequence[Choice], limit: int | None, budget: int, fed: str | None = None
) -> Streamed:
    """The fastest streamed plan found whose arena is within `limit`: of fast kernels where these fit, else of any.

    Without a limit the smallest arena of fast kernels (`row_choices.lean_choices`), and no slower than it has to be;
    where nothing fits, the smallest arena found.
    """
    choices = no_heavier(graph, tuple(choices))
    fast = row_choices(graph, choices, ACCUMULATING, None)
    lean = row_choices(graph, lean_choices(graph, choices), ACCUMULATING, 1)
    if limit is not None:
        made = _within(graph, fast, lean, limit, budget, fed)
        if made is not None:
            return made
    smallest = stream(graph, lean, budget, fed=fed)
    if limit is None or smallest.arena_bytes <= limit:
        relaxed = relax(graph, lean, smallest.order.peak, fed)
        made = smallest if relaxed == lean else stream(graph, relaxed, budget, 0, fed, smallest.order.lower_bound)
        return made if made.arena_bytes <= smallest.arena_bytes else smallest
    return _of_any_kernels(graph, choices, fast, smallest, limit, budget, fed)


def _of_any_kernels(
    graph: QuantGraph,
    choices: Sequence[Choice],
    fast: Sequence[Choice],
    smallest: Streamed,
    limit: int,
    budget: int,
    fed: str | None,
) -> Streamed:
    """The fastest plan found within a `limit` that the lean choices, `smallest`, miss; else the smallest of all."""
    least = leanest_choices(graph, choices, ACCUMULATING)
    is_lean = [c.kernel for c in least.choices] == [c.kernel for c in smallest.choices]
    tight = smallest if is_lean else stream(graph, least.choices, budget, fed=fed)
    tight = replace(tight, is_of_least_kernels=least.is_least)
    if tight.arena_bytes > limit:
        return min(tight, smallest, key=lambda made: made.arena_bytes)
    found = (
        _within(graph, fast, tight.choices, limit, budget, fed),
        _in_this_order(graph, tight, limit),
        _filled(graph, tight, limit),
    )
    return min((made for made in found if made is not None), key=lambda made: sum(c.instructions for c in made.choices))


def _in_this_order(graph: QuantGraph, tight: Streamed, limit: int) -> Streamed | None:
    """`tight` with the faster kernels that its order leaves memory for, placed anew; None where that misses `limit`."""
    target = limit - tight.progress_bytes
    for _ in range(RELAX_ROUNDS):
        choices = relax(graph, tight.choices, target, tight.fed, order=tight.order.nodes)
        net = build_net(graph, choices, tight.fed)
        order = replace(tight.order, peak=peak_of(net, tight.order.nodes)[0])
        made = _placed(choices, tight.fed, net, order, tight.progress_bytes, limit)
        if made.arena_bytes <= limit:
            return replace(made, is_of_least_kernels=tight.is_of_least_kernels)
        target = min(target, order.peak) - (made.arena_bytes - limit)
    return None


def _filled(graph: QuantGraph, made: Streamed, limit: int) -> Streamed:
    """`made` with faster kernels whose scratch finds room below `limit`, everything else where it is."""
    end = limit - made.progress_bytes
    choices, placed, addresses = list(made.choices), {item.name: item for item in made.items}, dict(made.addresses)
    for upgrade in upgrades(graph, made.choices):
        now = choices[upgrade.layer]
        times = [time for time, node in enumerate(made.order.nodes) if node == upgrade.layer]
        for form in upgrade.forms:
            if form.rows_per_step != now.rows_per_step or not set(form.kernel.in_place) >= set(now.kernel.in_place):
                continue
            item = scratch_item(now.op.name, int(round_up(form.scratch_bytes, SCRATCH_ALIGN)), times)
            address = fit_in(tuple(placed.values()), addresses, item, end)
            if address is not None:
                choices[upgrade.layer], placed[item.name], addresses[item.name] = form, item, address
                break
    net = build_net(graph, choices, made.fed)
    order = replace(made.order, peak=peak_of(net, made.order.nodes)[0])
    size = int(round_up(max(addresses[name] + item.size for name, item in placed.items()), TENSOR_ALIGN))
    return replace(
        made,
        choices=tuple(choices),
        net=net,
        order=order,
        items=tuple(placed.values()),
        arena_bytes=size + made.progress_bytes,
        addresses=addresses,
    )


def _within(
    graph: QuantGraph, fast: Sequence[Choice], lean: Sequence[Choice], limit: int, budget: int, fed: str | None
) -> Streamed | None:
    """A plan of at most `limit` bytes between the fast choices and the lean ones; None when none is found."""
    target = limit - (0 if fed is None else progress_bytes(graph, fast, fed))
    rule, _, least = pull_rules(build_net(graph, lean, fed))[0]
    most = pull_rules(build_net(graph, fast, fed))[0][2] if least <= target else 0
    for _ in range(RELAX_ROUNDS):
        if least > target:
            break
        tried = fast if most <= target else relax(graph, lean, target, fed, rule=rule)
        made = stream(graph, tried, budget // 8, limit, fed)
        if made.arena_bytes <= limit:
            return made
        target -= made.arena_bytes - limit
    return None


def stream(
    graph: QuantGraph,
    choices: Sequence[Choice],
    budget: int,
    enough: int = 0,
    fed: str | None = None,
    bound: int | None = None,
) -> Streamed:
    """The best placed schedule of the given choices; the first whose arena is `enough` bytes or less will do.

    `bound` is a lower bound of the peak where one is known: orders are then pulled and not searched for.
    """
    net = build_net(graph, choices, fed)
    progress = 0 if fed is None else progress_bytes(graph, choices, fed)
    best: Streamed | None = None
    for order in best_row_orders(net, budget, bound)[:PLACED_ORDERS]:
        if best is not None and (best.arena_bytes <= enough or order.peak + progress >= best.arena_bytes):
            break
        made = _placed(choices, fed, net, order, progress, enough)
        if best is None or made.arena_bytes < best.arena_bytes:
            best = made
    assert best is not None
    return best


def _placed(
    choices: Sequence[Choice], fed: str | None, net: RowNet, order: RowOrder, progress: int, enough: int
) -> Streamed:
    """`order` with addresses: rows of one step side by side where that is `enough`, or no larger."""
    best: Streamed | None = None
    for side_by_side in (True, False):
        found = items(net, order.nodes, side_by_side=side_by_side)
        size, addresses = place_rows(found, max(order.peak, enough - progress))
        size = int(round_up(size, TENSOR_ALIGN)) + progress
        if best is None or size < best.arena_bytes:
            best = Streamed(tuple(choices), fed, net, order, found, size, progress, dict(addresses))
        if size <= max(enough, order.peak + progress):
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
        bound_is_of_any_kernels=made.is_of_least_kernels,
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
