"""RAM against instructions: the plans between the fastest and the smallest, for choosing a budget."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tinycompress.ir.graph import QuantGraph
from tinycompress.plan.feed import Feed
from tinycompress.plan.model import OverBudget, Plan
from tinycompress.plan.planner import MAX_TABLE_BYTES, Schedule, plan
from tinycompress.plan.row_search import STATE_BUDGET

POINTS = 8
"""Budgets that are planned from the smallest plan of fast kernels to the fastest, evenly spaced in ratio."""
FRUGAL_POINTS = 2
"""Budgets that are planned between the smallest plan of all and that of fast kernels."""
STATES = 500
"""Step vectors the exact search may visit for one plan of a front."""
NEAR = 1.01
"""Between plans whose RAM differs by less than this ratio no budgets are planned."""


def memory_front(
    graph: QuantGraph,
    *,
    has_dsp: bool = True,
    flash_bytes: int | None = None,
    spares_flash: bool = False,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
    points: int = POINTS,
) -> tuple[Plan, ...]:
    """Plans of which none needs both more RAM and more instructions than another, smallest first; all checked.

    The smallest that a RAM budget can have, the smallest of fast kernels, the fastest, and the best that is found
    inside budgets between the last two (`Plan.instructions`, the kernels' estimates). A RAM budget of as many bytes as
    one of them needs can be met. Raises what `plan.plan` raises without a RAM budget.
    """

    def nearest(ram_bytes: int | None, states: int = STATES) -> Plan:
        try:
            return plan(
                graph,
                has_dsp=has_dsp,
                ram_bytes=ram_bytes,
                flash_bytes=flash_bytes,
                spares_flash=spares_flash,
                schedule="streamed" if ram_bytes is None else schedule,
                feed=feed,
                state_budget=states,
            )
        except OverBudget as missed:
            return missed.plan

    least = nearest(0, STATE_BUDGET)
    fastest = nearest(sys.maxsize if feed == "whole" else MAX_TABLE_BYTES)
    small = least if schedule == "layers" else nearest(None)
    found = [least, small, fastest]
    budgets = {*_between(least, small, FRUGAL_POINTS), *_between(small, fastest, points - 2)}
    for ram_bytes in sorted(budgets):
        made = nearest(ram_bytes)
        if _need(made) <= ram_bytes:  # the search for one budget is short: what fits the next larger one is shown
            found.append(made)
    return _undominated(made for made in found if _need(made) >= _need(least))


def _need(made: Plan) -> int:
    return made.arena_bytes + made.state_bytes


def _between(small: Plan, large: Plan, count: int) -> list[int]:
    """`count` budgets between what two plans need, evenly spaced in ratio."""
    low, high = _need(small), _need(large)
    steps = range(1, count + 1) if high > NEAR * low else ()
    return [round(low * (high / low) ** (index / (count + 1))) for index in steps]


def _undominated(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    kept: list[Plan] = []
    for made in sorted(plans, key=lambda p: (p.arena_bytes, p.instructions)):
        if not kept or made.instructions < kept[-1].instructions:
            kept.append(made)
    return tuple(kept)
