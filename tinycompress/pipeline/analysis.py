"""What a network needs on a board before anything is built: layers, live set at the peak, whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.boards import Board
from tinycompress.errors import BudgetError
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.peak import LiveTensor, live_at_peak
from tinycompress.pipeline.planning import plan_for
from tinycompress.pipeline.reporting import feed_notes, layer_reports, model_report
from tinycompress.plan import plan
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
    """Exact RAM and weights of the deployed form; `verdict` is None when it fits, else what does not.

    `front` is filled where it was asked for: plans of which none needs both more RAM and more instructions.
    """

    model: Model
    board: str
    ram_bytes: int
    board_ram_bytes: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    weights_bytes: int
    board_flash_bytes: int
    peak_layer: str
    peak: tuple[LiveTensor, ...]
    layers: tuple[Layer, ...]
    verdict: str | None
    notes: tuple[str, ...]
    front: tuple[FrontPoint, ...] = ()

    @property
    def fits(self) -> bool:
        return self.verdict is None

    def summary(self) -> list[str]:
        """The lines below the table."""
        live = ", ".join(f"{t.name} {t.bytes:,} B" for t in self.peak)
        lines = [
            f"{self.model.name}: {format_count(self.model.macs)} MACs, {self.model.parameters:,} parameters",
            f"RAM     {self.ram_bytes:,} B of {format_bytes(self.board_ram_bytes)} on {self.board} "
            f"(arena {self.arena_bytes:,} B, lower bound {self.arena_lower_bound_bytes:,} B; exact)",
            f"weights {self.weights_bytes:,} B of {format_bytes(self.board_flash_bytes)} (exact)",
            f"peak    at layer {self.peak_layer}: {live}",
        ]
        lines += [f"note    {note}" for note in self.notes]
        for point in self.front:
            work = format_count(point.estimated_instructions)
            lines.append(
                f"budget  {point.ram_bytes:,} B buys {work} instructions (estimated), schedule {point.schedule}"
            )
        lines.append("fits" if self.fits else f"does not fit: {self.verdict}")
        return lines


def analyze(
    graph: QuantGraph,
    board: Board,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
    front: bool = False,
) -> Analysis:
    """Plan within the budgets (default: all the board has); where that fails, plan without and say what is exceeded.

    With `front` also what other RAM budgets would buy, from the smallest streamed plan to the fastest.
    """
    verdict = None
    try:
        chosen = plan_for(graph, board, ram_bytes, flash_bytes, schedule=schedule, feed=feed)
    except BudgetError as error:
        verdict = error.what
        chosen = plan(graph, has_dsp=board.has_dsp)
    return Analysis(
        model=model_report(chosen),
        board=board.id,
        ram_bytes=chosen.arena_bytes + chosen.state_bytes,
        board_ram_bytes=board.ram_bytes,
        arena_bytes=chosen.arena_bytes,
        arena_lower_bound_bytes=chosen.arena_lower_bound_bytes,
        weights_bytes=chosen.weights_bytes,
        board_flash_bytes=board.flash_bytes,
        peak_layer=chosen.layers[chosen.peak_layer].op.name,
        peak=live_at_peak(chosen),
        layers=layer_reports(chosen, None, counted=True),
        verdict=verdict,
        notes=(*graph.notes, *feed_notes(chosen)),
        front=_front(graph, board, flash_bytes, feed) if front else (),
    )


def _front(graph: QuantGraph, board: Board, flash_bytes: int | None, feed: Feed) -> tuple[FrontPoint, ...]:
    plans = memory_front(graph, has_dsp=board.has_dsp, flash_bytes=flash_bytes, feed=feed)
    return tuple(FrontPoint(p.arena_bytes + p.state_bytes, p.instructions, p.schedule) for p in plans)
