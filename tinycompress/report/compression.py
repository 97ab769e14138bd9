"""What a compression did, as text: a row per stage, and its result in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinycompress.report.model import Limit
from tinycompress.report.text import limit_row

STAGE_HEADER = ("stage", "validation", "parameters", "RAM", "flash", "weights", "MACs", "seconds")
STAGE_RIGHT = tuple(range(1, len(STAGE_HEADER)))
"""Columns of numbers."""
STAGE_SPARE = (7, 2)
"""Columns that a narrow terminal can do without, the first one first."""
_EXACT = ("ram_bytes", "weights_bytes", "macs")
"""Budgets that the plan of the result settles; the others are estimated until the firmware has been built and run."""


def stage_rows(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row of text per stage of a compression, under `STAGE_HEADER`; flash is estimated."""

    def size(stage: Mapping[str, Any], name: str) -> str:
        value = stage["resources"].get(name)
        return "-" if value is None else f"{value:,.0f}"

    sizes = ("ram_bytes", "flash_bytes", "weights_bytes", "macs")
    return [
        (
            stage["name"],
            f"{stage['score']:.4f}",
            f"{stage['parameters']:,}",
            *(size(stage, name) for name in sizes),
            f"{stage['seconds']:.0f}",
        )
        for stage in stages
    ]


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The result in sentences: accuracy, each budget with its use, notes."""
    use = summary["resources"]
    limits = (
        Limit(n, limit, use[n], "exact" if n in _EXACT else "estimated") for n, limit in summary["budget"].items()
    )
    rows = (limit_row(limit) for limit in limits)
    lines = [
        f"test {summary['metric']} (n={summary['samples']}): float {summary['float']:.4f}, int8 {summary['int8']:.4f}",
        *(f"{name} {value} ({kind})" for name, value, kind in rows),
    ]
    if summary["widths"]:
        lines.append("widths: " + ", ".join(f"{group} {width}" for group, width in summary["widths"].items()))
    return [*lines, *(f"note: {note}" for note in summary["notes"])]
