"""RAM against instructions: the plans between the fastest and the smallest, for choosing a budget."""

from __future__ import annotations

from collections.abc import Iterable

from tinycompress.errors import BudgetError
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan.feed import Feed
from tinycompress.plan.model import Plan
from tinycompress.plan.planner import MAX_TABLE_BYTES, plan

POINTS = 8
"""Budgets that are planned, both ends included, evenly spaced in ratio."""
STATES = 500
"""Step vectors the exact search may visit for one plan of a front."""


def memory_front(
    graph: QuantGraph,
    *,
    has_dsp: bool = True,
    flash_bytes: int | None = None,
    feed: Feed = "whole",
    points: int = POINTS,
) -> tuple[Plan, ...]:
    """Plans of which none needs both more RAM and more instructions than another, smallest first; all checked.

    From the smallest streamed arena to the fastest plan, each the best that schedule 'auto' finds inside a budget
    between them (`Plan.instructions`, the kernels' estimates). Raises what `plan.plan` raises without a RAM budget.
    """

    def within(ram_bytes: int | None) -> Plan:
        return plan(
            graph,
            has_dsp=has_dsp,
            ram_bytes=ram_bytes,
            flash_bytes=flash_bytes,
            schedule="auto",
            feed=feed,
            state_budget=STATES,
        )

    smallest = plan(
        graph, has_dsp=has_dsp, flash_bytes=flash_bytes, schedule="streamed", feed=feed, state_budget=STATES
    )
    fastest = within(None if feed == "whole" else MAX_TABLE_BYTES)
    found = [smallest, fastest]
    low, high = (p.arena_bytes + p.state_bytes for p in (smallest, fastest))
    for index in range(1, points - 1) if low < high else ():
        try:
            found.append(within(round(low * (high / low) ** (index / (points - 1)))))
        except BudgetError:  # the search for one budget is short: what fits the next larger one is shown
            continue
    return _undominated(found)


def _undominated(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    kept: list[Plan] = []
    for made in sorted(plans, key=lambda p: (p.arena_bytes, p.instructions)):
        if not kept or made.instructions < kept[-1].instructions:
            kept.append(made)
    return tuple(kept)
