"""A plan for a board: the board's own memory is the limit where no smaller budget is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.boards import Board
from tinycompress.config import BudgetSection
from tinycompress.cost.code import code_bytes as sum_of_code
from tinycompress.cost.macs import graph_shapes, macs, op_macs
from tinycompress.errors import BudgetError, ModelError
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan import OverBudget, Plan, plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.planner import Schedule

if TYPE_CHECKING:
    from tinycompress.build import Firmware

FLASH_FOR_CODE_BYTES = 96 * 1024
"""What a plan leaves of the board's flash to code when no budget says more: library, application, start-up."""


def plan_for(
    graph: QuantGraph,
    board: Board,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    *,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
) -> Plan:
    """The checked plan of `graph` on `board`, within the budgets where they are given.

    The stack's share of RAM and FLASH_FOR_CODE_BYTES of flash stay free. Without a flash budget, large packings that
    gain little are not taken (`choose.spare_flash`); with one, the fastest inside it. ``streamed`` without a RAM budget
    takes the smallest arena of fast kernels, with one the fastest plan inside it; ``auto`` streams only what does not
    fit otherwise; `feed` rows is streamed either way (`plan.plan`). OverBudget TC-B101 (RAM) or TC-B102 (flash) when
    it does not fit.
    """
    board_ram = board.ram_bytes - board.stack_bytes
    ram = board_ram if ram_bytes is None else ram_bytes
    limit = board_flash_limit(board) if flash_bytes is None else flash_bytes
    name = f"board {board.id!r}" if ram_bytes is None and flash_bytes is None else "the budget"
    if (schedule == "streamed" or feed == "rows") and ram_bytes is None:
        smallest = plan(
            graph,
            has_dsp=board.has_dsp,
            flash_bytes=limit,
            spares_flash=flash_bytes is None,
            board=name,
            schedule=schedule,
            feed=feed,
        )
        if smallest.arena_bytes + smallest.state_bytes <= board_ram:
            return smallest
    return plan(
        graph,
        has_dsp=board.has_dsp,
        ram_bytes=ram,
        flash_bytes=limit,
        spares_flash=flash_bytes is None,
        board=name,
        schedule=schedule,
        feed=feed,
    )


def board_flash_limit(board: Board) -> int:
    """Bytes of packed weights that a plan may take of the board's flash when no budget says more."""
    return board.flash_bytes - FLASH_FOR_CODE_BYTES


def plan_beside_code(graph: QuantGraph, board: Board, budget: BudgetSection, *, schedule: Schedule, feed: Feed) -> Plan:
    """The plan inside the budgets when its code is as large as estimated; only the ELF knows.

    ModelError TC-M507 when there is nothing to plan: outputs are inputs, at most in another shape.
    """
    code_bytes = 0
    made = plan_for(graph, board, budget.ram_bytes, weights_limit(budget, 0), schedule=schedule, feed=feed)
    if not made.layers:
        raise ModelError(
            "TC-M507",
            f"{graph.name!r} computes nothing: its outputs are its inputs",
            where=graph.name,
            fix="check which outputs the model was exported with",
        )
    while budget.flash_bytes is not None and made.weights_bytes + estimated_code(made) > budget.flash_bytes:
        if estimated_code(made) <= code_bytes:
            break
        code_bytes = estimated_code(made)
        try:
            limit = weights_limit(budget, code_bytes)
            made = plan_for(graph, board, budget.ram_bytes, limit, schedule=schedule, feed=feed)
        except BudgetError:  # the estimate may be too high: what is linked decides
            break
    return made


def estimated_code(plan: Plan) -> int:
    """Bytes of machine code of the plan's library, estimated."""
    return sum_of_code(layer.kernel.code_of(layer.op, plan.graph) for layer in plan.layers)


def weights_limit(budget: BudgetSection, code_bytes: int) -> int | None:
    """Bytes that `budget` leaves to packed weights beside `code_bytes` of code; None when it limits neither."""
    beside = None if budget.flash_bytes is None else max(0, budget.flash_bytes - code_bytes)
    limits = [limit for limit in (beside, budget.weights_bytes) if limit is not None]
    return min(limits) if limits else None


def require_macs(plan: Plan, budget: BudgetSection) -> None:
    """Raise OverBudget TC-B113 when the network does more multiply-accumulates than the budget allows."""
    count = macs(plan.graph)
    if budget.macs is not None and count > budget.macs:
        shapes = graph_shapes(plan.graph)
        most = max(plan.graph.ops, key=lambda op: op_macs(op, shapes))
        raise OverBudget(
            "TC-B113",
            f"{count:,} MACs, the budget is {budget.macs:,.0f}: over by {count - budget.macs:,.0f}",
            plan,
            where=f"most in layer {most.name}",
            fix="compress the model to this budget",
        )


def excess_flash(firmware: Firmware, budget: BudgetSection) -> int:
    """Bytes by which the library in the ELF exceeds the flash budget; negative or 0 when it is inside."""
    return 0 if budget.flash_bytes is None else firmware.library_sizes.flash_bytes - budget.flash_bytes


def require_fit(plan: Plan, firmware: Firmware, budget: BudgetSection) -> None:
    """Raise OverBudget TC-B112 when the library as it is linked exceeds the budget for flash or RAM."""
    sizes = firmware.library_sizes
    over = excess_flash(firmware, budget)
    if over > 0:
        largest = max(plan.layers, key=lambda layer: layer.packed.weights_bytes)
        raise OverBudget(
            "TC-B112",
            f"the library takes {sizes.flash_bytes} B of flash ({plan.weights_bytes} B weights, "
            f"{sizes.flash_bytes - plan.weights_bytes} B code and other constants), the budget is "
            f"{budget.flash_bytes} B: over by {over} B",
            plan,
            where=f"the largest weights are those of layer {largest.index} {largest.op.name}",
            fix="compress the model to this budget",
        )
    ram = plan.arena_bytes + plan.state_bytes + sizes.ram_bytes
    if budget.ram_bytes is not None and ram > budget.ram_bytes:
        raise OverBudget(
            "TC-B112",
            f"the library takes {ram} B of RAM ({plan.arena_bytes} B arena, {plan.state_bytes} B state, "
            f"{sizes.ram_bytes} B static), the budget is {budget.ram_bytes} B: over by {ram - budget.ram_bytes} B",
            plan,
            fix="compress the model to this budget",
        )
