"""What a network needs on a board before anything is built: layers, live set at the peak, whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.boards import Board
from tinycompress.errors import BudgetError
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.planning import plan_for
from tinycompress.pipeline.reporting import feed_notes, layer_reports, model_report
from tinycompress.plan import Plan, plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.planner import Schedule
from tinycompress.report.model import Layer, Model
from tinycompress.units import format_bytes, format_count


@dataclass(frozen=True)
class LiveTensor:
    """One buffer of the live set at the peak."""

    name: str
    bytes: int
    source: str


@dataclass(frozen=True)
class Analysis:
    """Exact RAM and weights of the deployed form; `verdict` is None when it fits, else what does not."""

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
) -> Analysis:
    """Plan within the budgets (default: all the board has); where that fails, plan without and say what is exceeded."""
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
        peak=_live_at_peak(chosen),
        layers=layer_reports(chosen, None, counted=True),
        verdict=verdict,
        notes=(*graph.notes, *feed_notes(chosen)),
    )


def _live_at_peak(chosen: Plan) -> tuple[LiveTensor, ...]:
    """Tensors the peak layer reads or makes, or that wait for a later layer, and its scratch."""
    graph, at = chosen.graph, chosen.peak_layer
    layer = chosen.layers[at]
    made = {name: i for i, entry in enumerate(chosen.layers) for name in entry.op.outputs}
    last = {name: i for i, entry in enumerate(chosen.layers) for name in entry.op.inputs}
    roots = {view.output: view.inputs[0] for view in chosen.views}

    def root(name: str) -> str:
        while name in roots:
            name = roots[name]
        return name

    end = len(chosen.layers)
    wanted_until: dict[str, int] = {root(n): end for n in graph.outputs}
    for name, index in last.items():
        wanted_until[root(name)] = max(index, wanted_until.get(root(name), -1))
    live = [
        LiveTensor(name, graph.tensors[name].bytes, graph.tensors[name].source)
        for name in {*graph.input_names, *made}
        if made.get(name, -1) <= at <= wanted_until.get(name, made.get(name, -1)) and root(name) == name
    ]
    if layer.scratch_bytes:
        live.append(LiveTensor(f"scratch of {layer.op.name}", layer.scratch_bytes, ""))
    return tuple(sorted(live, key=lambda t: (-t.bytes, t.name)))
