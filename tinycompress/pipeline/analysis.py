"""What a network needs on a board before anything is built: layers, live set at the peak, whether it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinycompress.boards import Board
from tinycompress.config import BudgetSection
from tinycompress.errors import BudgetError
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.peak import LiveTensor, live_at_peak
from tinycompress.pipeline.planning import (
    board_flash_limit,
    estimated_code,
    plan_beside_code,
    require_macs,
    weights_limit,
)
from tinycompress.pipeline.reporting import feed_notes, layer_reports, model_report
from tinycompress.plan import OverBudget, Plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.front import memory_front
from tinycompress.plan.planner import Schedule
from tinycompress.report.model import Layer, Model
from tinycompress.units import format_bytes, format_count


@dataclass(frozen=True)
class FrontPoint:
    """What a RAM budget buys: arena and state (exact), instructions by the kernels' estimates, the schedule."""

    ram_bytes: int
    estimated_instructions: int
    schedule: str


@dataclass(frozen=True)
class Analysis:
    """Exact RAM and weights of the deployed form, and its code, estimated within 15 %. Limits are the budget's, else
    all that the board has; `verdict` is None when it fits, else what does not, and `fix` what to do then.

    `front` is filled where it was asked for: plans of which none needs both more RAM and more instructions.
    """

    model: Model
    board: str
    ram_bytes: int
    ram_limit_bytes: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    weights_bytes: int
    estimated_code_bytes: int
    flash_limit_bytes: int
    peak_layer: str
    peak: tuple[LiveTensor, ...]
    layers: tuple[Layer, ...]
    verdict: str | None
    notes: tuple[str, ...]
    front: tuple[FrontPoint, ...] = ()
    fix: str | None = None

    @property
    def fits(self) -> bool:
        return self.verdict is None

    def summary(self) -> list[str]:
        """The lines below the table."""
        live = ", ".join(f"{t.name} {t.bytes:,} B" for t in self.peak)
        lines = [
            f"{self.model.name}: {format_count(self.model.macs)} MACs, {self.model.parameters:,} parameters",
            f"RAM     {self.ram_bytes:,} B of {format_bytes(self.ram_limit_bytes)} on {self.board} "
            f"(arena {self.arena_bytes:,} B, lower bound {self.arena_lower_bound_bytes:,} B; exact)",
            f"flash   {self.weights_bytes:,} B weights (exact) + about {format_bytes(self.estimated_code_bytes)} code "
            f"(estimated) of {format_bytes(self.flash_limit_bytes)}",
            f"peak    at layer {self.peak_layer}: {live}",
        ]
        lines += [f"note    {note}" for note in self.notes]
        for point in self.front:
            work = format_count(point.estimated_instructions)
            lines.append(
                f"budget  {point.ram_bytes:,} B buys {work} instructions (estimated), schedule {point.schedule}"
            )
        lines.append("fits" if self.fits else f"does not fit: {self.verdict}")
        return [*lines, f"fix     {self.fix}"] if self.fix else lines


def analyze(
    graph: QuantGraph,
    board: Board,
    budget: BudgetSection,
    *,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
    front: bool = False,
    advise: Callable[[BudgetError], str | None] = lambda error: error.fix,
) -> Analysis:
    """Plan within the budgets (default: all the board has); where that fails, show the nearest and what it exceeds.

    With `front` also what other RAM budgets would buy, from the smallest plan to the fastest.
    """
    missed = None
    try:
        chosen = plan_beside_code(graph, board, budget, schedule=schedule, feed=feed)
        require_macs(chosen, budget)
        _require_flash(chosen, budget)
    except OverBudget as error:
        missed, chosen = error, error.plan
    return Analysis(
        model=model_report(chosen),
        board=board.id,
        ram_bytes=chosen.arena_bytes + chosen.state_bytes,
        ram_limit_bytes=board.ram_bytes if budget.ram_bytes is None else budget.ram_bytes,
        arena_bytes=chosen.arena_bytes,
        arena_lower_bound_bytes=chosen.arena_lower_bound_bytes,
        weights_bytes=chosen.weights_bytes,
        estimated_code_bytes=estimated_code(chosen),
        flash_limit_bytes=board.flash_bytes if budget.flash_bytes is None else budget.flash_bytes,
        peak_layer=chosen.layers[chosen.peak_layer].op.name,
        peak=live_at_peak(chosen),
        layers=layer_reports(chosen, None, counted=True),
        verdict=None if missed is None else missed.what,
        notes=(*graph.notes, *feed_notes(chosen)),
        front=_front(graph, board, budget, schedule, feed) if front else (),
        fix=None if missed is None else advise(missed),
    )


def _require_flash(chosen: Plan, budget: BudgetSection) -> None:
    """Raise OverBudget TC-B112 when weights and estimated code exceed the flash budget; what is linked decides."""
    code = estimated_code(chosen)
    if budget.flash_bytes is not None and chosen.weights_bytes + code > budget.flash_bytes:
        raise OverBudget(
            "TC-B112",
            f"weights need {chosen.weights_bytes} B and the code about {code} B (estimated), the budget is "
            f"{budget.flash_bytes} B: over by about {chosen.weights_bytes + code - budget.flash_bytes} B",
            chosen,
        )


def _front(
    graph: QuantGraph, board: Board, budget: BudgetSection, schedule: Schedule, feed: Feed
) -> tuple[FrontPoint, ...]:
    flash = weights_limit(budget, 0)
    plans = memory_front(
        graph,
        has_dsp=board.has_dsp,
        flash_bytes=board_flash_limit(board) if flash is None else flash,
        spares_flash=flash is None,
        schedule=schedule,
        feed=feed,
    )
    return tuple(FrontPoint(p.arena_bytes + p.state_bytes, p.instructions, p.schedule) for p in plans)
