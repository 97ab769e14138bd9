"""The independent checker: accepts what the planner makes, rejects every single mutation that breaks a byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.plan.networks import mixed, recurrent, residual
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan import Placement, Plan, Step, plan
from tinycompress.plan.check import PlanFault, check


@pytest.fixture(scope="module")
def good() -> Plan:
    return plan(residual(), has_dsp=False)


@pytest.mark.parametrize("network", [residual, mixed, recurrent])
def test_accepts_plans_of_the_planner(network: Callable[[], QuantGraph]) -> None:
    check(plan(network(), has_dsp=False))


def _moved(made: Plan, name: str, by: int) -> Plan:
    old = made.placements[name]
    new = Placement(name, old.row_bytes, tuple(o + by for o in old.offsets), old.view_of, old.in_state)
    return replace(made, placements={**made.placements, name: new})


def test_rejects_a_tensor_on_top_of_a_live_one(good: Plan) -> None:
    faults = 0
    for name, placement in good.placements.items():
        for by in (-16, -4, 4, 16, -placement.offsets[0] or 8):
            try:
                check(_moved(good, name, by))
            except PlanFault:
                faults += 1
    assert faults > len(good.placements)


def test_rejects_dropped_repeated_and_swapped_steps(good: Plan) -> None:
    generator = random.Random(0)
    for _ in range(60):
        steps = list(good.steps)
        i, j = generator.randrange(len(steps)), generator.randrange(len(steps))
        kind = generator.choice(("drop", "repeat", "swap"))
        if kind == "drop":
            del steps[i]
        elif kind == "repeat":
            steps.insert(i, steps[i])
        elif steps[i].layer == steps[j].layer and steps[i] != steps[j]:
            steps[i], steps[j] = steps[j], steps[i]
        else:
            continue
        with pytest.raises(PlanFault):
            check(replace(good, steps=tuple(steps)))


def test_rejects_a_step_of_too_many_rows(good: Plan) -> None:
    first = good.steps[0]
    grown = (Step(first.layer, 0, first.rows + 1), *good.steps[2:])
    with pytest.raises(PlanFault, match="scratch is for 1"):
        check(replace(good, steps=grown))


def test_rejects_an_arena_that_is_declared_too_large_or_too_small(good: Plan) -> None:
    for change in (-4, 16):
        with pytest.raises(PlanFault):
            check(replace(good, arena_bytes=good.arena_bytes + change))


def test_rejects_missing_padding_rows(good: Plan) -> None:
    short = tuple((fill, size - 1) for fill, size in good.padding_rows)
    with pytest.raises(PlanFault, match="padding row"):
        check(replace(good, padding_rows=short))


def test_rejects_scratch_that_is_too_small_or_unaligned(good: Plan) -> None:
    layer = next(item for item in good.layers if item.op.kind == "Conv2D")
    needy = replace(layer, kernel=replace(layer.kernel, scratch_bytes=lambda op, graph, rows: 64))
    layers = tuple(needy if item is layer else item for item in good.layers)
    with pytest.raises(PlanFault, match="needs 64 B"):
        check(replace(good, layers=layers))
    crooked = replace(needy, scratch_bytes=64, scratch_offset=4)
    with pytest.raises(PlanFault, match="scratch at 4"):
        check(replace(good, layers=tuple(crooked if item is needy else item for item in layers)))


def test_rejects_overwriting_an_operand_that_the_kernel_does_not_allow(good: Plan) -> None:
    added = [item for item in good.layers if item.op.kind == "Add"]
    assert any(
        good.placements[item.op.output].offsets in [good.placements[n].offsets for n in item.op.inputs]
        for item in added
    )
    layers = tuple(replace(item, kernel=replace(item.kernel, in_place=())) for item in good.layers)
    with pytest.raises(PlanFault, match="which it reads"):
        check(replace(good, layers=layers))
