"""The live set that `analyze` prints adds up to the plan's peak."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.plan.networks import mixed, recurrent, residual
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.peak import live_at_peak
from tinycompress.plan import plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.planner import Schedule

WORD = 4


@pytest.mark.parametrize("has_dsp", [False, True])
@pytest.mark.parametrize("network", [residual, mixed, recurrent])
@pytest.mark.parametrize(("schedule", "feed"), [("layers", "whole"), ("streamed", "whole"), ("streamed", "rows")])
def test_live_buffers_add_up(network: Callable[[], QuantGraph], schedule: Schedule, feed: Feed, has_dsp: bool) -> None:
    graph = network()
    if feed == "rows" and len(graph.inputs) > 1:
        pytest.skip("one input is fed by rows")
    made = plan(graph, has_dsp=has_dsp, schedule=schedule, feed=feed)
    live = live_at_peak(made)
    total = sum(tensor.bytes for tensor in live)
    padding = sum(WORD * len(made.placements[t.name].offsets) for t in live if t.name in made.placements) + 16
    assert max(made.live_bytes) - padding <= total - made.progress_bytes <= max(made.live_bytes)
    assert total <= made.arena_bytes


def test_a_fed_input_counts_by_its_rows() -> None:
    graph = residual()
    live = {t.name: t.bytes for t in live_at_peak(plan(graph, has_dsp=False, schedule="streamed", feed="rows"))}
    assert live.get("x0", 0) < graph.tensors["x0"].bytes
    assert "progress between rows" in live
