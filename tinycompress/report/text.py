"""A report as the few lines a person reads first, and as tables."""

from __future__ import annotations

from collections.abc import Sequence

from tinycompress.report.model import Layer, Limit, Report
from tinycompress.units import format_bytes, format_count, format_ms, resource_name

Row = tuple[str, str, str]

_CLOSE = 0.9
"""Layers that hold at least this share of the peak are counted beside it: shrinking one of them alone gains little."""


def summary_rows(report: Report) -> list[Row]:
    """(what, value, kind of number) rows, in reading order. Kinds: exact, counted, estimated, measured, checked."""
    model = report.model
    rows: list[Row] = [
        ("model", f"{model.name}: {format_count(model.macs)} MACs, {format_count(model.parameters)} parameters", ""),
        ("board", f"{report.board}, {report.rounding} rounding, built by {report.provenance.compiler}", ""),
        *_memory_rows(report),
        *_time_rows(report),
    ]
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
    rows += [limit_row(limit) for limit in report.limits]
    if report.failure is not None:
        rows.append(("FAILED", f"{report.failure.code}: {report.failure.what}", ""))
    return rows


def _memory_rows(report: Report) -> list[Row]:
    ram, flash = report.ram, report.flash
    bound = "optimal" if ram.arena_is_optimal else f"lower bound {ram.arena_lower_bound_bytes:,} B"
    others = [(ram.io_bytes, "inputs and outputs"), (ram.state_bytes, "state"), (ram.static_bytes, "static")]
    beside = "".join(f" + {size:,} B {name}" for size, name in others if size)
    has = report.capacity
    padding = flash.weights_bytes - sum(layer.weights_bytes for layer in report.layers)
    constants = f" + {flash.constants_bytes:,} B other constants" if flash.constants_bytes else ""
    rows = [
        ("arena", f"{ram.arena_bytes:,} B ({bound})", "exact"),
        ("RAM of the library", f"{ram.total_bytes:,} B{f' of {format_bytes(has.ram_bytes)}' if has else ''}", "exact"),
        ("weights", f"{flash.weights_bytes:,} B{f', {padding:,} B of them padding' if padding > 0 else ''}", "exact"),
        (
            "flash of the library",
            f"{flash.total_bytes:,} B{f' of {format_bytes(has.flash_bytes)}' if has else ''}: "
            f"{flash.weights_bytes:,} B weights{constants} + {flash.code_bytes:,} B code",
            "exact",
        ),
    ]
    if beside:
        rows[1] = (rows[1][0], f"{rows[1][1]}: {ram.arena_bytes:,} B arena{beside}", rows[1][2])
    if ram.stack_bytes is not None:
        rows.append(("worst-case stack", f"{ram.stack_bytes:,} B", "exact"))
    return rows


def _time_rows(report: Report) -> list[Row]:
    rows: list[Row] = []
    if report.counted is not None:
        rows.append(("instructions", f"{report.counted.instructions:,}", "counted"))
    if report.estimated is not None:
        e = report.estimated
        rows.append(("latency", f"{format_ms(e.latency_ms)} +-{e.error:.0%}", "estimated"))
    if report.measured is not None:
        m = report.measured
        rows.append(("latency", f"{format_ms(m.median_ms)} median, {format_ms(m.p95_ms)} p95 of {m.n}", "measured"))
        rows.append(("stack high water", f"{m.stack_bytes:,} B", "measured"))
    return rows


def limit_row(limit: Limit) -> Row:
    """One budget: what was used of it, the share, and whether it is kept."""
    name, allowed = f"budget: {resource_name(limit.name)}", _exactly(limit.name, limit.limit)
    if limit.used is None:
        return (name, f"{allowed}; not known here", "")
    used = _exactly(limit.name, limit.used)
    verdict = "kept" if limit.is_kept else "MISSED"
    if limit.name == "min_accuracy":
        return (name, f"{used}, at least {allowed}: {verdict}", limit.kind)
    share = f" ({limit.used / limit.limit:.0%})" if limit.limit else ""
    upper = "up to " if limit.name == "latency_ms" and limit.kind == "estimated" else ""
    return (name, f"{upper}{used} of {allowed}{share}: {verdict}", limit.kind)


def _exactly(name: str, value: float) -> str:
    """A budget's value, by its key in the recipe, to the last byte or instruction."""
    if name == "min_accuracy":
        return f"{value:.4f}"
    return format_ms(value) if name == "latency_ms" else f"{value:,.0f}{' B' if name.endswith('_bytes') else ''}"


LAYER_HEADER = ("#", "layer", "output", "kernel", "MACs", "weights", "scratch", "live")
LAYER_RIGHT = (0, 4, 5, 6, 7)
"""Columns of `layer_cells` that are numbers."""
LAYER_SPARE = (3, 6, 2)
"""Columns that a narrow terminal can do without, the first one first."""


def layer_cells(layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """One row per layer under LAYER_HEADER; the live bytes of the layer that sets the arena carry a star."""
    peak = max((layer.live_bytes for layer in layers), default=0)
    return [
        (
            str(layer.index),
            layer.name,
            "x".join(map(str, layer.output_shape)),
            layer.kernel,
            f"{layer.macs:,}",
            f"{layer.weights_bytes:,}",
            f"{layer.scratch_bytes:,}",
            f"{layer.live_bytes:,}{'*' if layer.live_bytes == peak else ' '}",
        )
        for layer in layers
    ]


def layer_header(report: Report) -> tuple[str, ...]:
    """Column titles of `layer_rows`."""
    return (*LAYER_HEADER, "cycles" if report.measured is not None else "instructions", "share")


def layer_rows(report: Report) -> list[tuple[str, ...]]:
    """One row per layer, as text: `layer_cells`, its work, and its share of all work."""
    work = [work_of(layer) for layer in report.layers]
    total = sum(count or 0 for count in work)
    shares = ("-" if count is None else f"{count / max(total, 1):.1%}" for count in work)
    counts = ("-" if count is None else f"{count:,}" for count in work)
    return [(*cells, *more) for cells, *more in zip(layer_cells(report.layers), counts, shares, strict=True)]


def work_of(layer: Layer) -> int | None:
    """What was counted or measured of a layer: instructions, or cycles on a board."""
    return layer.instructions if layer.instructions is not None else layer.cycles


def visible(text: str) -> str:
    """`text` with a mark for each character that no document may hold: names come from models of others."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def bar(value: int, largest: int, width: int = 16) -> str:
    """`value` as a line of at most `width` marks; at least one where it is not 0."""
    return "#" * (-(-value * width // largest) if largest else 0)


def first_to_shrink(layers: Sequence[Layer]) -> list[str]:
    """Which layer costs most in RAM, flash and work: where a smaller network begins."""
    if not layers:
        return []
    lines = []
    peak = max(layers, key=lambda layer: layer.live_bytes)
    close = sum(layer.live_bytes >= _CLOSE * peak.live_bytes for layer in layers) - 1
    beside = f"; {close} more hold{'s' if close == 1 else ''} at least {_CLOSE:.0%} of that" if close else ""
    lines.append(f"most RAM    layer {peak.index} {peak.name}: {peak.live_bytes:,} B live{beside}")
    for what, unit, measure in (
        ("flash", "B of weights", lambda layer: layer.weights_bytes),
        ("work", "cycles" if layers[0].cycles else "instructions", lambda layer: work_of(layer) or 0),
        ("MACs", "MACs", lambda layer: layer.macs),
    ):
        total = sum(measure(layer) for layer in layers)
        most = max(layers, key=measure)
        if total and not (what == "MACs" and work_of(most)):
            share = f"{measure(most):,} {unit} ({measure(most) / total:.0%})"
            lines.append(f"most {what:<6} layer {most.index} {most.name}: {share}")
    return lines
