"""The front of RAM against instructions, and the estimates it is drawn from."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.unit.plan.networks import Net, residual
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels import KERNELS
from tinycompress.plan import plan
from tinycompress.plan.choose import cheapest, make_choice
from tinycompress.plan.feed import Feed
from tinycompress.plan.front import memory_front
from tinycompress.plan.row_cost import layer_instructions


@pytest.mark.parametrize("feed", ["whole", "rows"])
def test_more_memory_buys_fewer_instructions(feed: Feed) -> None:
    graph = residual()
    front = memory_front(graph, feed=feed, points=5)
    assert len(front) >= 2
    for small, large in pairwise(front):
        assert small.arena_bytes < large.arena_bytes
        assert small.instructions > large.instructions
    assert all((made.fed_input is not None) == (feed == "rows") for made in front)
    if feed == "whole":
        fastest = plan(graph)
        assert front[-1].instructions <= fastest.instructions
        assert front[-1].arena_bytes <= fastest.arena_bytes


def wide() -> QuantGraph:
    """Convolutions that the tiled kernels of many rows take."""
    net = Net("wide")
    x = net.conv(net.input(16, 16, 16), 16)
    return net.build(net.depthwise(x))


def test_streaming_keeps_a_flash_budget() -> None:
    graph = wide()
    limit = min(
        sum(layer.packed.weights_bytes for layer in p.layers) for p in (plan(graph), plan(graph, has_dsp=False))
    )
    limit += sum(size for _, size in plan(graph).padding_rows) + 100
    for schedule in ("layers", "streamed"):
        made = plan(graph, flash_bytes=limit, schedule=schedule)  # type: ignore[arg-type]
        assert made.weights_bytes <= limit < plan(graph).weights_bytes


def test_kernels_of_many_rows_cost_more_at_one() -> None:
    graph = wide()
    for choice in cheapest(graph, KERNELS, has_dsp=True):
        for kernel in (choice.kernel, *choice.others):
            whole = make_choice(choice.op, graph, kernel)
            assert whole.instructions == layer_instructions(kernel, choice.op, graph, whole.rows_per_step)
            one = layer_instructions(kernel, choice.op, graph, 1)
            assert one >= 0.99 * whole.instructions
            if "winograd" in kernel.name:
                assert one > 3.9 * whole.instructions
            if "depthwise3x3" in kernel.name:
                assert 1.2 < one / whole.instructions < 2


def test_an_odd_last_row_is_a_call_of_its_own() -> None:
    net = Net("odd")
    graph = net.build(net.conv(net.input(7, 5, 8), 8, kernel=1, padding=0))
    (choice,) = cheapest(graph, KERNELS, has_dsp=False)
    kernel, op = choice.kernel, choice.op
    assert kernel.instructions is not None
    assert layer_instructions(kernel, op, graph, 2) == kernel.instructions(op, graph)
    assert layer_instructions(kernel, op, graph, 100) == kernel.instructions(op, graph)
