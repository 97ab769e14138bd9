"""Input fed by rows: its rows are steps, live until their last reader; the checker proves it, budgets hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plan.networks import Net, mixed, recurrent, residual
from tests.unit.plan.test_streamed import random_chain, smallest_peak
from tinycompress.errors import BudgetError, ConfigError, UnsupportedOpError
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels import KERNELS
from tinycompress.kernels.running_mean import ACCUMULATING
from tinycompress.plan import Plan, Step, plan
from tinycompress.plan.check import PlanFault, check
from tinycompress.plan.choose import cheapest
from tinycompress.plan.feed import feed_work
from tinycompress.plan.model import INPUT_ROWS
from tinycompress.plan.row_choices import row_choices
from tinycompress.plan.row_net import RowNet, build_net
from tinycompress.plan.row_search import best_row_orders


def fed(graph: QuantGraph, **settings: object) -> Plan:
    return plan(graph, schedule="streamed", feed="rows", **settings)  # type: ignore[arg-type]


def fed_net(graph: QuantGraph) -> RowNet:
    choices = row_choices(graph, cheapest(graph, KERNELS, has_dsp=False), ACCUMULATING, 1)
    return build_net(graph, choices, graph.input_names[0])


@pytest.mark.parametrize("part", range(3))
def test_search_finds_the_smallest_peak_of_all_orders(part: int) -> None:
    generator = random.Random(100 + part)
    for _ in range(20):
        net = fed_net(random_chain(generator))
        best = best_row_orders(net)[0]
        assert best.peak == best.lower_bound == smallest_peak(net)


@pytest.mark.parametrize("network", [residual, recurrent])
@pytest.mark.parametrize("has_dsp", [False, True])
def test_every_row_arrives_once_and_the_plan_passes_the_checker(
    network: Callable[[], QuantGraph], has_dsp: bool
) -> None:
    graph = network()
    made = fed(graph, has_dsp=has_dsp)
    assert made.fed_input == graph.input_names[0]
    rows = len(made.placements[made.fed_input].offsets)
    assert [s for s in made.steps if s.layer == INPUT_ROWS] == [Step(INPUT_ROWS, row, 1) for row in range(rows)]
    assert made.progress_offset + made.progress_bytes == made.arena_bytes
    assert "fed by rows" in made.bound_scope
    check(made)


def test_only_the_rows_still_needed_are_in_memory() -> None:
    """A tall image through strides: of a longer one the arena holds no more than its longer output."""
    sizes = []
    for height in (32, 128):
        net = Net("tall")
        x = net.input(height, 32, 4)
        for _ in range(4):
            x = net.conv(x, 8, stride=2)
        made = fed(net.build(x), has_dsp=False)
        sizes.append(made.arena_bytes - net.tensors[x].bytes)
    assert sizes[0] == sizes[1] < 32 * 32 * 4 / 3


def test_dropped_repeated_and_late_rows_are_rejected() -> None:
    made = fed(residual(), has_dsp=False)
    feeds = [i for i, s in enumerate(made.steps) if s.layer == INPUT_ROWS]
    for at in feeds:
        without = made.steps[:at] + made.steps[at + 1 :]
        for steps in (without, (*made.steps[:at], made.steps[at], *made.steps[at:]), (*without, made.steps[at])):
            with pytest.raises(PlanFault):
                check(replace(made, steps=steps, live_bytes=made.live_bytes))


def test_moved_rows_are_rejected_or_harmless() -> None:
    made = fed(residual(), has_dsp=False)
    assert made.fed_input is not None
    placement = made.placements[made.fed_input]
    rejected = 0
    for row in range(len(placement.offsets)):
        for by in (-36, -4, 4, 36, 400):
            offsets = list(placement.offsets)
            offsets[row] += by
            moved = {**made.placements, made.fed_input: replace(placement, offsets=tuple(offsets))}
            try:
                check(replace(made, placements=moved))
            except PlanFault:
                rejected += 1
    assert rejected > 30


def test_progress_that_is_short_or_written_over_is_rejected() -> None:
    made = fed(residual(), has_dsp=False)
    with pytest.raises(PlanFault, match="progress"):
        check(replace(made, progress_bytes=made.progress_bytes - 4))
    with pytest.raises(PlanFault, match="progress"):
        check(replace(made, progress_bytes=0))
    with pytest.raises(PlanFault, match="progress"):
        check(replace(made, arena_bytes=made.arena_bytes - 4))
    with pytest.raises(PlanFault, match="progress"):
        check(replace(plan(residual()), progress_bytes=64))


def test_whole_layers_and_several_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="TC-C134"):
        plan(residual(), schedule="layers", feed="rows")
    with pytest.raises(UnsupportedOpError, match="TC-M506"):
        plan(mixed(), schedule="auto", feed="rows")


def test_a_budget_holds_with_the_progress_in_it() -> None:
    graph = residual()
    smallest = fed(graph).arena_bytes
    for limit in (smallest, smallest + 400, 4000):
        made = plan(graph, schedule="auto", feed="rows", ram_bytes=limit)
        assert made.fed_input
        assert made.arena_bytes <= limit
    with pytest.raises(BudgetError, match="TC-B101"):
        plan(graph, schedule="auto", feed="rows", ram_bytes=200)


def test_work_after_rows_adds_up() -> None:
    graph = residual()
    work = feed_work(fed(graph))
    assert 0 < work.after_last <= work.largest < work.total
    assert work.total == feed_work(plan(graph)).after_last


@pytest.mark.parametrize(
    ("model", "bound"), [("kws_ref_model", 3580), ("pretrainedResnet_quant", 9188), ("vww_96_int8", 9952)]
)
def test_published_models(data_dir: Path, model: str, bound: int) -> None:
    """Portable kernels: proved bounds, input rows and progress counted; placement within 5 % of them."""
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{model}.tflite")
    assert isinstance(graph, QuantGraph)
    made = fed(graph, has_dsp=False)
    assert (made.arena_lower_bound_bytes, made.order_method) == (bound, "exact")
    assert bound <= made.arena_bytes <= 1.05 * bound
