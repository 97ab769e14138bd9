"""The smallest arena a RAM budget can have: against every choice of kernels and rows, and as --pareto promises it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.plan.networks import Net, residual
from tests.unit.plan.test_streamed import random_chain, smallest_peak
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.kernels.catalogue import KernelTable, KernelVariant, PackedKernel
from tinycompress.passes import prepare_for_deployment
from tinycompress.plan import OverBudget, Plan, plan
from tinycompress.plan.choose import Choice, cheapest, make_choice
from tinycompress.plan.feed import Feed
from tinycompress.plan.front import memory_front
from tinycompress.plan.planner import Schedule
from tinycompress.plan.row_net import build_net

WORD = 4


def smallest(graph: QuantGraph, **settings: object) -> tuple[Plan, str]:
    """The plan nearest to no memory at all, and what is said about it."""
    with pytest.raises(OverBudget, match="TC-B101") as refused:
        plan(graph, ram_bytes=0, **settings)  # type: ignore[arg-type]
    return refused.value.plan, refused.value.what


def _pack(op: o.Op, graph: Graph, rounding: Rounding) -> PackedKernel:
    return PackedKernel("none", ())


def two_of_each(generator: random.Random, *, one_overwrites: bool) -> KernelTable:
    """Two fake kernels per operator type: the faster makes two rows a step and has scratch, some overwrite operands."""

    def kernel(name: str, cost: int, rows: int, scratch: int, in_place: tuple[int, ...]) -> KernelVariant:
        return KernelVariant(
            name,
            "none.h",
            "portable",
            _pack,
            scratch_bytes=lambda op, graph, count: scratch * count,
            rows_per_step=lambda op, graph: rows,
            instructions=lambda op, graph: cost * graph.tensors[op.outputs[0]].elements,
            in_place=in_place,
        )

    table: KernelTable = {}
    for kind in (o.Conv2D, o.Table, o.Add):
        in_place = () if kind is o.Conv2D else (0,)
        fast = kernel(f"fast {kind.__name__}", 1, 2, 8 * generator.randint(1, 3), in_place)
        slow = kernel(f"slow {kind.__name__}", 2, 1, 8 * generator.randint(0, 1), () if one_overwrites else in_place)
        table[kind] = (fast, slow)
    return table


def assignments(graph: QuantGraph, table: KernelTable) -> Iterator[tuple[Choice, ...]]:
    """Every choice of a kernel and one or two rows per step for every layer."""
    choices = cheapest(graph, table, has_dsp=False)
    forms = [[make_choice(c.op, graph, k, (), rows) for k in table[type(c.op)] for rows in (1, 2)] for c in choices]
    return itertools.product(*forms)


@pytest.mark.parametrize("one_overwrites", [False, True])
@pytest.mark.parametrize("feed", ["whole", "rows"])
def test_no_choice_of_kernels_and_rows_has_a_smaller_peak(feed: Feed, one_overwrites: bool) -> None:
    generator = random.Random(one_overwrites)
    proved = 0
    for _ in range(8):
        graph, table = random_chain(generator), two_of_each(generator, one_overwrites=one_overwrites)
        made, what = smallest(graph, schedule="streamed", feed=feed, kernels=table)
        nets = (build_net(graph, choices, made.fed_input) for choices in assignments(graph, table))
        least = -(-min(smallest_peak(net) for net in nets) // WORD) * WORD + made.progress_bytes
        assert least <= made.arena_bytes
        assert not made.bound_is_of_any_kernels or made.arena_lower_bound_bytes == least
        assert ("no streamed plan needs less" in what) == (made.bound_is_of_any_kernels and made.arena_bytes == least)
        proved += "no streamed plan needs less" in what
    assert proved >= (1 if one_overwrites else 6)


@pytest.mark.parametrize("schedule", ["layers", "streamed", "auto"])
def test_what_the_front_lists_can_be_asked_for_and_nothing_less(schedule: Schedule) -> None:
    generator = random.Random(7)
    for graph in (residual(), *(random_chain(generator) for _ in range(6))):
        assert_promise(graph, schedule, "whole", points=2)


@pytest.mark.parametrize(
    ("model", "feed"),
    [
        ("ad01_int8", "whole"),
        ("ad01_int8", "rows"),
        pytest.param("kws_ref_model", "rows", marks=pytest.mark.slow),
        pytest.param("pretrainedResnet_quant", "rows", marks=pytest.mark.slow),
        pytest.param("vww_96_int8", "rows", marks=pytest.mark.slow),
    ],
)
def test_the_smallest_of_the_published_models_can_be_asked_for(model: str, feed: Feed, data_dir: Path) -> None:
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{model}.tflite")
    assert isinstance(graph, QuantGraph)
    assert_promise(prepare_for_deployment(graph), "auto", feed, points=2, asked=1)


def assert_promise(graph: QuantGraph, schedule: Schedule, feed: Feed, points: int, asked: int | None = None) -> None:
    """The first `asked` points of the front fit when asked for to the byte; a byte less than the first does not."""
    front = memory_front(graph, schedule=schedule, feed=feed, points=points)
    for point in front[:asked]:
        assert plan(graph, schedule=schedule, feed=feed, ram_bytes=point.arena_bytes).arena_bytes <= point.arena_bytes
    least = front[0].arena_bytes
    with pytest.raises(OverBudget, match=f"needs {least} B, .* over by 1 B"):
        plan(graph, schedule=schedule, feed=feed, ram_bytes=least - 1)


def test_a_ram_budget_does_not_break_the_flash_budget_beside_it() -> None:
    """Of two kernels with less scratch the one that needs more flash was taken, and the plan refused for its flash."""
    net = Net("both")
    x = net.conv(net.conv(net.input(16, 16, 16), 16), 64, kernel=1, padding=0)
    graph = net.build(net.conv(x, 16, kernel=1, padding=0))
    light = plan(graph, flash_bytes=9_000)
    made = plan(graph, flash_bytes=9_000, ram_bytes=light.arena_bytes - 8)
    assert made.weights_bytes <= 9_000
    assert made.arena_bytes < light.arena_bytes


@pytest.mark.parametrize("schedule", ["layers", "streamed", "auto"])
def test_what_exceeds_ram_and_flash_is_said_of_one_plan(schedule: Schedule) -> None:
    with pytest.raises(OverBudget, match="TC-B101") as refused:
        plan(residual(), ram_bytes=100, flash_bytes=100, schedule=schedule)
    made = refused.value.plan
    assert f"arena needs {made.arena_bytes} B" in refused.value.what
    assert f"weights need {made.weights_bytes} B" in refused.value.what


def test_kernels_that_are_slow_but_lean_are_left_to_budgets() -> None:
    """Depthwise layers of stride 1 keep their fast kernel until a budget is missed with it."""
    net = Net("frugal")
    x = net.conv(net.input(24, 24, 8), 8)
    graph = net.build(net.conv(net.depthwise(net.depthwise(x)), 4, stride=2))

    def kernels(made: Plan) -> set[str]:
        return {layer.kernel.name for layer in made.layers if isinstance(layer.op, o.DepthwiseConv2D)}

    unasked = plan(graph, schedule="streamed", feed="rows")
    assert kernels(unasked) == {"depthwise3x3_s8_dsp"}
    asked = plan(graph, schedule="streamed", feed="rows", ram_bytes=unasked.arena_bytes - 400)
    assert kernels(asked) == {"depthwise_taps_s8_dsp"}
    assert asked.arena_bytes < unasked.arena_bytes
    assert unasked.instructions < asked.instructions < 2 * unasked.instructions
    least, _ = smallest(graph, schedule="streamed", feed="rows")
    assert kernels(least) == {"depthwise_s8"}
