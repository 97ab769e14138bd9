"""A plan for a board: the board's own memory is the limit where no smaller budget is given."""

from __future__ import annotations

from tinycompress.boards import Board
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan import Plan, plan
from tinycompress.plan.planner import Schedule


def plan_for(
    graph: QuantGraph,
    board: Board,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    *,
    schedule: Schedule = "auto",
) -> Plan:
    """The checked plan of `graph` on `board`, within the budgets where they are given.

    The stack's share of RAM stays free. ``streamed`` without a RAM budget takes the smallest arena, with one the
    fastest plan inside it; ``auto`` streams only what does not fit otherwise. BudgetError TC-B101 (RAM) or TC-B102
    (flash) when it does not fit.
    """
    board_ram = board.ram_bytes - board.stack_bytes
    ram = board_ram if ram_bytes is None else ram_bytes
    limit = board.flash_bytes if flash_bytes is None else flash_bytes
    name = f"board {board.id!r}" if ram_bytes is None and flash_bytes is None else "the budget"
    if schedule == "streamed" and ram_bytes is None:
        smallest = plan(graph, has_dsp=board.has_dsp, flash_bytes=limit, board=name, schedule=schedule)
        if smallest.arena_bytes + smallest.state_bytes <= board_ram:
            return smallest
    return plan(graph, has_dsp=board.has_dsp, ram_bytes=ram, flash_bytes=limit, board=name, schedule=schedule)
