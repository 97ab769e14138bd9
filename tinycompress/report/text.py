"""A report as the few lines a person reads first, and as tables."""

from __future__ import annotations

from tinycompress.report.model import Report
from tinycompress.units import format_bytes, format_count, format_ms

Row = tuple[str, str, str]


def summary_rows(report: Report) -> list[Row]:
    """(what, value, kind of number) rows, in reading order. Kinds: exact, counted, estimated, measured, checked."""
    ram, flash = report.ram, report.flash
    bound = "optimal" if ram.arena_is_optimal else f"lower bound {format_bytes(ram.arena_lower_bound_bytes)}"
    rows: list[Row] = [
        ("model", f"{report.model.name}: {format_count(report.model.macs)} MACs", ""),
        ("arena", f"{format_bytes(ram.arena_bytes)} ({bound})", "exact"),
        ("RAM of the library", format_bytes(ram.total_bytes), "exact"),
        ("weights", format_bytes(flash.weights_bytes), "exact"),
        ("flash of the library", format_bytes(flash.total_bytes), "exact"),
    ]
    if ram.stack_bytes is not None:
        rows.append(("worst-case stack", format_bytes(ram.stack_bytes), "exact"))
    if report.counted is not None:
        rows.append(("instructions", f"{report.counted.instructions:,}", "counted"))
    if report.estimated is not None:
        e = report.estimated
        rows.append(("latency", f"{format_ms(e.latency_ms)} +-{e.error:.0%}", "estimated"))
    if report.measured is not None:
        m = report.measured
        rows.append(("latency", f"{format_ms(m.median_ms)} median, {format_ms(m.p95_ms)} p95 of {m.n}", "measured"))
        rows.append(("stack high water", format_bytes(m.stack_bytes), "measured"))
    v = report.validation
    verdict = "every byte equal" if v.mismatching_bytes == 0 else f"{v.mismatching_bytes} bytes differ"
    rows.append(("target against reference", f"{verdict}: {v.samples} samples, {v.tensors} tensors", "checked"))
    if report.accuracy is not None:
        a = report.accuracy
        parts = [
            f"{name} {value:.4f}"
            for name, value in (("float", a.float), ("int8 reference", a.int8), (report.target, a.device))
            if value is not None
        ]
        rows.append(
            (f"test {a.metric} (n={a.samples})", ", ".join(parts), "measured" if report.measured else "computed")
        )
    return rows


def layer_header(report: Report) -> tuple[str, ...]:
    """Column titles of `layer_rows`."""
    work = "cycles" if report.measured is not None else "instructions"
    return ("#", "layer", "op", "kernel", "MACs", "weights", "scratch", "live", work)


def layer_rows(report: Report) -> list[tuple[str, ...]]:
    """One row per layer, as text."""
    rows: list[tuple[str, ...]] = []
    for layer in report.layers:
        work = layer.cycles if report.measured is not None else layer.instructions
        rows.append(
            (
                str(layer.index),
                layer.name,
                layer.op,
                layer.kernel,
                f"{layer.macs:,}",
                f"{layer.weights_bytes:,}",
                f"{layer.scratch_bytes:,}",
                f"{layer.live_bytes:,}",
                "-" if work is None else f"{work:,}",
            )
        )
    return rows
