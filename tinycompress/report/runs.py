"""Several runs side by side: what each compression or deployment found, a line a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinycompress.errors import ConfigError
from tinycompress.report.model import AGAIN, Report, Score, from_json
from tinycompress.units import format_resource


@dataclass(frozen=True)
class RunLine:
    """One run. `weights_bytes` and `arena_bytes` are exact, `instructions` counted; scores are on the test split.

    `budget` holds the limits of the compression, else of the deployment, by name; `failure` is the code of the first
    promise that the deployment broke. None is what the run did not find out.
    """

    run: str
    model: str
    method: str | None
    seed: int | None
    budget: Mapping[str, Score]
    metric: str | None
    samples: int | None
    float: Score | None
    int8: Score | None
    parameters: int | None
    weights_bytes: int | None
    arena_bytes: int | None
    macs: int | None
    instructions: int | None
    failure: str | None = None


def read_runs(paths: Iterable[Path]) -> tuple[list[RunLine], list[Path]]:
    """The lines of all run directories that hold a result, and the paths that hold none (yet).

    A path is a run directory, a folder that `CompressResult.save` wrote, or a report.json. Results appear whole, so
    runs may be going on. ConfigError TC-C110 when a result cannot be read.
    """
    lines, without = [], []
    for path in paths:
        line = _read_run(path.parent if path.name == "report.json" else path)
        if line is None:
            without.append(path)
        else:
            lines.append(line)
    return lines, without


_WHOLE = ("model", "metric", "samples", "float", "int8", "budget", "widths", "stages", "notes")


def read_compression(folder: Path) -> Mapping[str, Any] | None:
    """What the compression of a run wrote of itself, None without one; ConfigError TC-C110 when it cannot be read."""
    summary = _found(folder)
    if summary is not None and (lacks := [name for name in _WHOLE if name not in summary]):
        what = f"not a summary of a compression: it lacks {', '.join(lacks)}"
        raise ConfigError("TC-C110", what, where=str(folder), fix=AGAIN)
    return summary


def _found(folder: Path) -> Mapping[str, Any] | None:
    for file in (folder / "compress" / "summary.json", folder / "summary.json"):
        if (text := _text(file)) is not None:
            return _summary(text, file)
    return None


def _read_run(folder: Path) -> RunLine | None:
    summary = _found(folder)
    found: dict[str, Any] = {} if summary is None else _of_compression(summary)
    file = folder / "report.json"
    if (text := _text(file)) is not None:
        deployed = _of_deployment(from_json(text, str(file)))
        found |= deployed | ({"budget": found["budget"]} if found.get("budget") else {})
    if not found:
        return None
    return RunLine(**{**dict.fromkeys(RunLine.__dataclass_fields__), "budget": {}, "run": str(folder), **found})


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _summary(text: str, file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        what = f"not a summary of a compression: {error}"
        raise ConfigError("TC-C110", what, where=str(file), fix=AGAIN) from None
    if not isinstance(document, dict) or not isinstance(document.get("resources"), dict):
        raise ConfigError("TC-C110", "not a summary of a compression", where=str(file), fix=AGAIN)
    return document


def _of_compression(summary: Mapping[str, Any]) -> dict[str, Any]:
    recipe, use = summary.get("recipe", {}), summary["resources"]
    found = {name: summary.get(name) for name in ("metric", "samples", "float", "int8", "parameters")}
    found |= {name: None if name not in use else round(use[name]) for name in ("weights_bytes", "arena_bytes", "macs")}
    found |= {"model": summary.get("model", ""), "budget": summary.get("budget", {}), "seed": recipe.get("seed")}
    return {**found, "method": recipe.get("prune", {}).get("method")}


def _of_deployment(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": report.model.name,
        "parameters": report.model.parameters,
        "weights_bytes": report.flash.weights_bytes,
        "arena_bytes": report.ram.arena_bytes,
        "macs": report.model.macs,
        "budget": {limit.name: limit.limit for limit in report.limits},
        "failure": None if report.failure is None else report.failure.code,
        "instructions": None if report.counted is None else report.counted.instructions,
    }
    if report.provenance.seed is not None:
        found["seed"] = report.provenance.seed
    if report.accuracy is not None:
        a = report.accuracy
        found |= {"metric": a.metric, "samples": a.samples, "int8": a.int8}
        found |= {} if a.float is None else {"float": a.float}
    return found


HEADER = ("run", "model", "budget", "method", "seed", "float", "int8", "parameters", "weights B", "arena B", "MACs",
          "instructions", "failed")  # fmt: skip
RIGHT = tuple(range(4, len(HEADER) - 1))
"""Columns of numbers."""
SPARE = (4, 7, 3, 10, 1)
"""Columns that a narrow terminal can do without, the first one first."""


def run_rows(lines: Sequence[RunLine]) -> list[tuple[str, ...]]:
    """One row of text per run, under `HEADER`."""
    return [
        (
            line.run,
            line.model,
            ", ".join(f"{n.removesuffix('_bytes').removesuffix('_ms')} {_limit(n, v)}" for n, v in line.budget.items())
            or "-",
            line.method or "-",
            "-" if line.seed is None else str(line.seed),
            *("-" if score is None else f"{score:.4f}" for score in (line.float, line.int8)),
            *(
                "-" if count is None else f"{count:,}"
                for count in (line.parameters, line.weights_bytes, line.arena_bytes, line.macs, line.instructions)
            ),
            line.failure or "-",
        )
        for line in lines
    ]


def _limit(name: str, value: Score) -> str:
    return f"{value:g}" if name == "min_accuracy" else format_resource(name, value)


def kinds(lines: Sequence[RunLine]) -> str:
    """What kind of number stands in which column."""
    metrics = " or ".join(dict.fromkeys(line.metric for line in lines if line.metric)) or "the task's metric"
    return f"float, int8: {metrics} on the test split; weights, arena: exact; instructions: counted in the emulator"
