"""A report as a document: titled sections of tables and sentences, which Markdown and HTML only lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinycompress.report.arena import ArenaMap, live_at_peak
from tinycompress.report.compression import STAGE_HEADER, STAGE_RIGHT, stage_rows, summary_lines
from tinycompress.report.model import Port, Report
from tinycompress.report.text import LAYER_RIGHT, first_to_shrink, layer_header, layer_rows, summary_rows


@dataclass(frozen=True)
class Section:
    """A heading, a table (`right` are its columns of numbers; no header, no table) and the sentences below it."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    is_arena: bool = False


def sections(report: Report, arena: ArenaMap | None) -> list[Section]:
    """Everything that a report and the map of its arena say, in reading order."""
    work = layer_header(report)
    lines = ("* the live bytes that set the arena", *first_to_shrink(report.layers))
    found = [
        Section("Result", ("result", f"on {report.target}", "number"), tuple(summary_rows(report))),
        Section("Layers", work, tuple(layer_rows(report)), (*LAYER_RIGHT, 8, 9), lines),
    ]
    if arena is not None:
        found.append(_arena(report, arena))
    ports = [_port(p, "input") for p in report.model.inputs] + [_port(p, "output") for p in report.model.outputs]
    header = ("", "name", "shape", "type", "scale", "zero point", "axes in your model")
    found += [Section("Inputs and outputs", header, tuple(ports), (4, 5)), _validation(report)]
    found += [Section("Notes", lines=report.notes)] if report.notes else []
    return [*found, _provenance(report)]


def of_compression(summary: Mapping[str, Any]) -> Section:
    """What each stage of a compression bought, and its result."""
    lines = tuple(summary_lines(summary))
    return Section("Compression", STAGE_HEADER, tuple(stage_rows(summary["stages"])), STAGE_RIGHT, lines)


def of_runs(header: Sequence[str], rows: Sequence[tuple[str, ...]], right: Sequence[int], line: str) -> list[Section]:
    """The table of several runs."""
    return [Section("Runs", tuple(header), tuple(rows), tuple(right), (line,))]


def title(report: Report) -> str:
    """What the document is about."""
    return f"{report.model.name} on {report.board}"


def _arena(report: Report, arena: ArenaMap) -> Section:
    live = tuple((name, f"{size:,}") for name, size in live_at_peak(arena))
    gap = report.ram.arena_bytes - report.ram.arena_lower_bound_bytes
    bound = "The plan is optimal" if gap == 0 else f"The plan is {gap:,} B above the lower bound"
    layer = arena.layers[arena.peak]
    names = {entry.index: entry.name for entry in report.layers}
    place = "while input rows arrive" if layer < 0 else f"at layer {layer} {names.get(layer, '')}"
    lines = (f"Live {place}, where the arena is fullest. {bound} ({report.ram.bound_scope}).",)
    return Section("Arena", ("live at the peak", "bytes"), live, (1,), lines, is_arena=True)


def _port(port: Port, kind: str) -> tuple[str, ...]:
    scale = "-" if port.scale is None else f"{port.scale:.6g}"
    zero = "-" if port.zero_point is None else str(port.zero_point)
    return kind, port.name, "x".join(map(str, port.shape)), port.dtype, scale, zero, port.source_layout or "the same"


def _validation(report: Report) -> Section:
    v = report.validation
    rows = [
        ("samples", f"{v.samples:,}"),
        ("tensors of the traced sample", f"{v.tensors:,}"),
        ("bytes that differ", f"{v.mismatching_bytes:,}"),
    ]
    if v.first_divergence is not None:
        d = v.first_divergence
        place = f"sample {d.sample}, layer {d.layer}, tensor {d.tensor}, byte {d.byte}"
        rows.append(("first difference", f"{place}: expected {d.expected}, got {d.actual}"))
    return Section("Target against the integer reference", ("compared", report.target), tuple(rows))


def _provenance(report: Report) -> Section:
    p = report.provenance
    rows = [
        ("tinycompress", p.version),
        ("model sha256", report.model.sha256),
        ("compiler", p.compiler),
        ("flags", " ".join(p.flags)),
        ("emulator", p.emulator),
        ("seed", p.seed),
        ("data sha256", p.dataset_sha256),
        ("estimate", report.estimated.basis if report.estimated else None),
    ]
    told = tuple((name, str(value)) for name, value in rows if value is not None)
    return Section("Provenance", ("what", "value"), told)
