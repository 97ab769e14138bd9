"""The map of the arena: what it draws is what the plan says, and no byte holds two things at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.plan.networks import mixed, recurrent, residual
from tinycompress.errors import ConfigError
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.arena import arena_map
from tinycompress.pipeline.peak import live_at_peak
from tinycompress.plan import plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.planner import Schedule
from tinycompress.report import arena as a


@pytest.mark.parametrize("network", [residual, mixed, recurrent])
@pytest.mark.parametrize(("schedule", "feed"), [("layers", "whole"), ("streamed", "whole"), ("streamed", "rows")])
def test_blocks_are_the_plans(network: Callable[[], QuantGraph], schedule: Schedule, feed: Feed) -> None:
    graph = network()
    if feed == "rows" and len(graph.inputs) > 1:
        pytest.skip("one input is fed by rows")
    made = plan(graph, has_dsp=True, schedule=schedule, feed=feed)
    arena = arena_map(made)
    assert a.from_json(a.to_json(arena)) == arena
    assert max(b.offset + b.bytes for b in arena.blocks) <= arena.arena_bytes == made.arena_bytes
    assert dict(a.live_at_peak(arena)) == {t.name: t.bytes for t in live_at_peak(made)}
    for i, one in enumerate(arena.blocks):
        for other in arena.blocks[:i]:
            shares_bytes = one.offset < other.offset + other.bytes and other.offset < one.offset + one.bytes
            shares_time = one.first <= other.last and other.first <= one.last
            in_place = one.last == other.first or other.last == one.first
            assert not (shares_bytes and shares_time) or in_place, (one, other)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2}', '{"schema": 1, "blocks": 3}'])
def test_what_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"TC-C110.*not a map of an arena"):
        a.from_json(text)
