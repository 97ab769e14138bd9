"""Streamed plans: proved bounds, every row checked, budgets, and the search against exhaustive enumeration."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plan.networks import Net, mixed, recurrent, residual
from tinycompress.errors import BudgetError
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels import KERNELS
from tinycompress.kernels.running_mean import ACCUMULATING
from tinycompress.plan import plan
from tinycompress.plan.check import PlanFault, check
from tinycompress.plan.choose import cheapest
from tinycompress.plan.row_choices import lean_choices, row_choices
from tinycompress.plan.row_net import Done, RowNet, build_net
from tinycompress.plan.row_search import best_row_orders, peak_of, search
from tinycompress.plan.streamed import relax


def _net(graph: QuantGraph, most_rows: int | None = 1) -> RowNet:
    return build_net(graph, row_choices(graph, cheapest(graph, KERNELS, has_dsp=False), ACCUMULATING, most_rows))


def random_chain(generator: random.Random) -> QuantGraph:
    """A small random network of convolutions, strides, joins and tables, few rows high."""
    net = Net("chain", generator.randrange(2**31))
    names = [net.input(generator.randint(3, 5), 2, generator.randint(1, 4))]
    for _ in range(generator.randint(2, 3)):
        x = generator.choice(names)
        same = [n for n in names if net.tensors[n].shape == net.tensors[x].shape and n != x]
        kind = generator.choice(("conv", "stride", "point", "table", "add"))
        if kind == "add" and same:
            names.append(net.add(x, generator.choice(same)))
        elif kind == "table":
            names.append(net.table(x))
        elif kind == "point":
            names.append(net.conv(x, generator.randint(1, 6), kernel=1, padding=0))
        else:
            names.append(net.conv(x, generator.randint(1, 6), stride=2 if kind == "stride" else 1))
    read = {n for op in net.ops for n in op.inputs}
    return net.build(*[op.outputs[0] for op in net.ops if op.outputs[0] not in read])


def smallest_peak(net: RowNet) -> int:
    """Over every order of steps, by plain enumeration of step vectors without any dominance rule."""
    final = tuple(n.steps for n in net.nodes)
    start, live = net.start()
    best: dict[Done, int] = {start: live}
    at: dict[Done, int] = {start: live}
    for _ in range(sum(final)):
        following: dict[Done, int] = {}
        for done, top in best.items():
            for node in range(len(net.nodes)):
                if net.is_ready(node, done):
                    during, after = net.run(node, done, at[done])
                    state = (*done[:node], done[node] + 1, *done[node + 1 :])
                    at[state] = after
                    following[state] = min(following.get(state, 1 << 60), max(top, during))
        best = following
    return best[final]


def _live_by_definition(net: RowNet, order: tuple[int, ...]) -> Iterator[int]:
    """Live bytes after each step, recounted from scratch: rows made and still needed."""
    done = list(net.start()[0])
    for node in order:
        done[node] += 1
        rows = (max(0, net.made(t, done) - net.freed(t, done)) * s.slot_bytes for t, s in enumerate(net.tensors))
        sums = sum(n.accumulator for n, d in zip(net.nodes, done, strict=True) if 0 < d < n.steps)
        yield sum(rows) + sums


def test_rows_written_over_the_inputs_do_not_end_in_an_output() -> None:
    """Both are contiguous: only a chain that leaves one of the two may lie row by row in the other."""
    net = Net("edges", 0)
    x = net.input(5, 8, 5)
    rows = _net(net.build(net.table(net.table(net.table(x)))))
    assert [node.reads[0].reusable for node in rows.nodes] == [True, True, False]


@pytest.mark.parametrize("part", range(4))
def test_search_finds_the_smallest_peak_of_all_orders(part: int) -> None:
    generator = random.Random(part)
    for _ in range(25):
        net = _net(random_chain(generator))
        best = best_row_orders(net)[0]
        assert best.peak == best.lower_bound == smallest_peak(net)
        assert best.method == "exact"


@pytest.mark.parametrize("network", [residual, mixed, recurrent])
def test_incremental_live_bytes_equal_a_recount(network: object) -> None:
    net = _net(network())  # type: ignore[operator]
    order = best_row_orders(net)[0].nodes
    done, live = net.start()
    for node, expected in zip(order, _live_by_definition(net, order), strict=True):
        _, live = net.run(node, done, live)
        done = (*done[:node], done[node] + 1, *done[node + 1 :])
        assert live == expected


def test_an_exhausted_budget_gives_a_bound_and_a_heuristic_order() -> None:
    net = _net(residual())
    exact = best_row_orders(net)[0]
    order, bound = search(net, budget=1)
    assert order is None
    assert bound <= exact.peak
    cut = best_row_orders(net, budget=1)[0]
    assert cut.peak >= exact.peak
    assert peak_of(net, cut.nodes)[0] == cut.peak


@pytest.mark.parametrize("network", [residual, mixed, recurrent])
@pytest.mark.parametrize("has_dsp", [False, True])
def test_streamed_plans_pass_the_checker_and_are_never_larger(network: object, has_dsp: bool) -> None:
    graph = network()  # type: ignore[operator]
    streamed = plan(graph, has_dsp=has_dsp, schedule="streamed")
    assert streamed.schedule == "streamed"
    assert streamed.arena_bytes <= plan(graph, has_dsp=has_dsp).arena_bytes
    assert max(streamed.live_bytes) <= streamed.arena_bytes
    check(streamed)


def test_single_mutations_are_rejected() -> None:
    made = plan(residual(), has_dsp=False, schedule="streamed")
    generator = random.Random(0)
    rejected = 0
    for _ in range(60):
        name = generator.choice([n for n, p in made.placements.items() if not p.view_of])
        placement = made.placements[name]
        row = generator.randrange(len(placement.offsets))
        moved = list(placement.offsets)
        moved[row] = generator.randrange(0, made.arena_bytes - placement.row_bytes + 1, 4)
        if moved[row] == placement.offsets[row]:
            continue
        try:
            check(replace(made, placements={**made.placements, name: replace(placement, offsets=tuple(moved))}))
        except PlanFault:
            rejected += 1
    assert rejected > 40


def test_broken_running_sums_are_rejected() -> None:
    made = plan(residual(), has_dsp=False, schedule="streamed")
    layer = next(item for item in made.layers if item.accumulator_bytes)
    for change in ({"accumulator_offset": 4}, {"accumulator_bytes": 8}, {"accumulator_offset": made.arena_bytes}):
        broken = tuple(replace(item, **change) if item is layer else item for item in made.layers)  # type: ignore[arg-type]
        with pytest.raises(PlanFault):
            check(replace(made, layers=broken))
    target = [i for i, s in enumerate(made.steps) if s.layer == layer.index]
    swapped = list(made.steps)
    swapped[target[0]], swapped[target[1]] = swapped[target[1]], swapped[target[0]]
    with pytest.raises(PlanFault, match="out of turn"):
        check(replace(made, steps=tuple(swapped)))


def test_auto_streams_only_what_does_not_fit() -> None:
    graph = residual()
    layers = plan(graph, has_dsp=False)
    assert plan(graph, has_dsp=False, schedule="auto", ram_bytes=layers.arena_bytes).schedule == "layers"
    smaller = plan(graph, has_dsp=False, schedule="auto", ram_bytes=layers.arena_bytes - 4)
    assert smaller.schedule == "streamed"
    with pytest.raises(BudgetError, match="TC-B101"):
        plan(graph, has_dsp=False, schedule="auto", ram_bytes=200)


def test_a_limit_takes_the_fastest_kernels_that_fit(data_dir: Path) -> None:
    """ResNet-8 with DSP kernels: more arena, fewer instructions, never above the limit."""
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / "pretrainedResnet_quant.tflite")
    assert isinstance(graph, QuantGraph)
    work = []
    for limit in (13_000, 16_384, 24_576):
        made = plan(graph, schedule="streamed", ram_bytes=limit, state_budget=500)
        assert made.arena_bytes <= limit
        work.append(sum(layer.instructions for layer in made.layers))
    assert work[0] > work[1] > work[2]


def test_relaxing_never_raises_the_peak_above_the_target() -> None:
    graph = residual()
    choices = cheapest(graph, KERNELS, has_dsp=True)
    lean = row_choices(graph, lean_choices(graph, choices), ACCUMULATING, 1)
    for target in (1500, 2500, 4000):
        relaxed = relax(graph, lean, target)
        reached = best_row_orders(build_net(graph, relaxed), budget=1)[0].peak
        assert reached <= max(target, best_row_orders(build_net(graph, lean), budget=1)[0].peak)


def test_rows_that_nobody_reads_are_freed_at_once() -> None:
    net = Net("skipping")
    x = net.input(9, 4, 2)
    a = net.conv(x, 4)
    graph = net.build(net.conv(a, 3, kernel=1, stride=2, padding=0))
    made = plan(graph, has_dsp=False, schedule="streamed")
    assert made.arena_is_optimal
    check(made)


@pytest.mark.parametrize(
    ("model", "layers", "bound"),
    [("kws_ref_model", 16000, 3868), ("pretrainedResnet_quant", 49152, 10304), ("vww_96_int8", 55296, 28032)],
)
def test_published_models(data_dir: Path, model: str, layers: int, bound: int) -> None:
    """Input resident, portable kernels, proved bounds; placement within 3 % of them."""
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{model}.tflite")
    assert isinstance(graph, QuantGraph)
    assert plan(graph, has_dsp=False).arena_bytes == layers
    made = plan(graph, has_dsp=False, schedule="streamed")
    assert made.arena_lower_bound_bytes == bound
    assert bound <= made.arena_bytes <= 1.03 * bound
    assert any(isinstance(layer.op, o.AveragePool2D) and layer.accumulator_bytes for layer in made.layers)


def test_rows_of_one_step_lie_side_by_side_where_memory_allows() -> None:
    """Odd rows that a pointwise kernel runs over as one: two a step, in one piece."""
    net = Net("pairs")
    x = net.conv(net.input(12, 5, 8), 8)
    graph = net.build(net.conv(net.conv(x, 8, kernel=1, padding=0), 8, stride=2))
    made = plan(graph, schedule="streamed", ram_bytes=4_000)
    (pointwise,) = (layer for layer in made.layers if layer.op.name == "conv1")
    assert pointwise.rows_per_step == 2
    for name in (*pointwise.op.inputs, *pointwise.op.outputs):
        placement = made.placements[name]
        for row in range(0, 12, 2):
            assert placement.offsets[row + 1] == placement.offsets[row] + placement.row_bytes
