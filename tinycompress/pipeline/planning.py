"""A plan for a board: the board's own memory is the limit where no smaller budget is given."""

from __future__ import annotations

from tinycompress.boards import Board
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan import Plan, plan


def plan_for(graph: QuantGraph, board: Board, ram_bytes: int | None = None, flash_bytes: int | None = None) -> Plan:
    """The checked plan of `graph` on `board`, within the budgets where they are given.

    The stack's share of RAM stays free. BudgetError TC-B101 (RAM) or TC-B102 (flash) when it does not fit.
    """
    return plan(
        graph,
        has_dsp=board.has_dsp,
        ram_bytes=board.ram_bytes - board.stack_bytes if ram_bytes is None else ram_bytes,
        flash_bytes=board.flash_bytes if flash_bytes is None else flash_bytes,
        board=f"board {board.id!r}" if ram_bytes is None and flash_bytes is None else "the budget",
    )
