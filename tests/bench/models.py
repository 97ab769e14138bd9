"""Every third-party model of the shared folder: imported, compared with a foreign oracle, deployed in the emulator.

    python -m tests.bench.models [--work DIR] [--samples N] [--json] [--write] [NAME ...]

TINYCOMPRESS_DATA names the folder with `models/`. One row per model: multiply-accumulates, RAM and flash of the library
(exact), instructions (counted), bytes that differ between the integer reference, the C on this machine (sanitized,
every tensor) and the emulated board (outputs of every sample, every tensor of one), and what the oracle says. Float
models are calibrated on shared real data where there is some, else on random data: their accuracy says nothing here.

`--work DIR` keeps finished rows; the same command again goes on behind them, as long as neither the models nor the
sources have changed. Rows go to stdout (`--json`: one document), progress to stderr; `--write` puts the table into
docs/results/models.md. Exit status 1 when a model is refused or anything differs beyond its tolerance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tests.oracle.agreement import ORACLES, Agreement, agreement, real_samples, version
from tinycompress.codec import decode, encode
from tinycompress.config import load_config
from tinycompress.errors import BudgetError, TinycompressError
from tinycompress.frontends import load_file
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline import Pipeline
from tinycompress.pipeline.target import Target
from tinycompress.report.model import Report

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "models.md"
SOURCES = ("tinycompress", "codegen", "firmware", "boards", "tests/oracle", "tests/bench/models.py")
DEPLOYED_SAMPLES = 5
CALIBRATION_SAMPLES = 100
TITLES = ("model", "came as", "MACs", "RAM B", "flash B", "instructions", "host differs", "target differs")
PROGRESS_S = 5.0


@dataclass(frozen=True)
class Row:
    """One model of the table; None where a stage was not reached, which `error` explains.

    `calibration` says on what a float model was calibrated. `host_differing` and `target_differing` are bytes, over
    `tensors` tensors of the deployed network.
    """

    model: str
    kind: str
    agreement: Agreement | None = None
    calibration: str = "-"
    macs: int | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    instructions: int | None = None
    tensors: int | None = None
    host_differing: int | None = None
    target_differing: int | None = None
    fits: bool = True
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Imported; nothing outside the oracle's tolerance; where it fits the board, equal bytes everywhere."""
        if self.agreement is None or not self.agreement.is_good:
            return False
        return not self.fits or (self.host_differing == 0 and self.target_differing == 0)


class Progress:
    """Lines on stderr, at most one every PROGRESS_S seconds within a stage."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._last = 0.0

    def __call__(self, stage: str, text: str, fraction: float | None = None) -> None:
        if time.monotonic() - self._last > PROGRESS_S:
            self._last = time.monotonic()
            print(f"{self._label}: {stage} {text}", file=sys.stderr, flush=True)


def examine(path: Path, label: str, samples: int, data_dir: Path, say: Progress) -> Row:
    """The row of one model."""
    try:
        graph = load_file(path)
    except TinycompressError as error:
        return Row(label, "refused", error=str(error))
    found = agreement(path, graph, samples, data_dir, lambda text: say("compare", text))
    row = Row(label, "int8" if isinstance(graph, QuantGraph) else "float", found)
    with tempfile.TemporaryDirectory() as scratch:
        calibration = "-"
        settings = {"model.source": str(path), "board": "stm32f746", "deploy.samples": DEPLOYED_SAMPLES}
        if row.kind == "float":
            settings["data.calibration"], calibration = _calibration(path, data_dir, Path(scratch))
        try:
            with Pipeline.open(load_config(None, settings), Path(scratch) / "run", progress=say) as pipeline:
                host = pipeline.simulate().validation
                report = pipeline.deploy(Target(emulate=True))
        except BudgetError as error:
            return replace(row, calibration=calibration, fits=False, error=str(error))
        except TinycompressError as error:
            return replace(row, calibration=calibration, error=str(error))
    return _deployed(replace(row, calibration=calibration, host_differing=host.mismatching_bytes), report)


def _deployed(row: Row, report: Report) -> Row:
    assert report.counted is not None
    return replace(
        row,
        macs=report.model.macs,
        ram_bytes=report.ram.total_bytes,
        flash_bytes=report.flash.total_bytes,
        instructions=report.counted.instructions,
        tensors=report.validation.tensors,
        target_differing=report.validation.mismatching_bytes,
    )


def _calibration(path: Path, data_dir: Path, folder: Path) -> tuple[str, str]:
    """(what --calibration gets, what the table says)."""
    real = real_samples(path, data_dir)
    if real is None:
        return "random", "random"
    file = folder / "calibration.npz"
    np.savez(file, x=real[:CALIBRATION_SAMPLES])
    return str(file), f"{min(CALIBRATION_SAMPLES, len(real))} real inputs"


# -- rows that are done ------------------------------------------------------------------------------------------------


def state_of_sources() -> str:
    """A digest over everything that a row depends on but the model: our sources and the oracles' versions."""
    digest = hashlib.sha256(" ".join(version(oracle) for oracle in ORACLES).encode())
    for name in SOURCES:
        top = ROOT / name
        for file in sorted(p for p in (top.rglob("*") if top.is_dir() else [top]) if p.is_file()):
            if "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def kept(file: Path | None, key: str, make: Callable[[], Row]) -> Row:
    """The row in `file` when it was made under the same `key`, else a new one, kept there unless it broke off."""
    if file is not None and file.exists():
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["key"] == key:
            found: Row = decode(Row, document["row"])
            return found
    row = make()
    if file is not None and (row.kind == "refused" or not row.fits or not row.error):
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(".tmp")
        scratch.write_text(json.dumps({"key": key, "row": encode(row)}, indent=1) + "\n", encoding="utf-8")
        scratch.replace(file)
    return row


# -- output ------------------------------------------------------------------------------------------------------------


def cells(row: Row) -> list[str]:
    """The row's cells, the oracle's words last."""
    numbers = (row.macs, row.ram_bytes, row.flash_bytes, row.instructions, row.host_differing, row.target_differing)
    came = row.kind if row.calibration == "-" else f"{row.kind}, {row.calibration}"
    return [row.model, came, *("-" if n is None else f"{n:,}" for n in numbers), oracle_text(row.agreement)]


def oracle_text(found: Agreement | None) -> str:
    """``tflite-micro exact: 1498 x 13, 0 differ, top-1 498/498``."""
    if found is None:
        return "-"
    text = f"{found.oracle} {found.tolerance}: {found.samples} x {found.tensors}, {found.mismatching} differ"
    return text + (f", top-1 {found.same_top1}/{found.real_samples}" if found.real_samples else "")


def line(texts: list[str]) -> str:
    """One printed row."""
    return f"{texts[0]:42} {texts[1]:24}" + "".join(f"{t:>15}" for t in texts[2:-1]) + f"  {texts[-1]}"


def page(rows: list[Row], samples: int) -> str:
    """docs/results/models.md."""
    used = ", ".join(f"{oracle} {version(oracle)}" for oracle in ORACLES)
    text = [
        "# Third-party models",
        "",
        "Made by `python -m tests.bench.models --write` with TINYCOMPRESS_DATA set; each file is imported as it is and",
        "deployed on the emulated STM32F746. RAM and flash of the library are exact, instructions counted. *host",
        "differs*: bytes over every tensor between the integer reference and the C on this machine under sanitizers;",
        f"*target differs*: the same for the emulated board ({DEPLOYED_SAMPLES} inputs, every tensor of the first).",
        "",
        f"The oracle's column: {samples} noise inputs and all shared real ones x tensors compared, and what lies",
        "outside the tolerance (*1 unit*: one step of the output's scale); *top-1*: real inputs on which both name the",
        "same class. Float models are calibrated on what the second column says; the oracle sees the float network.",
        "",
        f"Oracles: {used}.",
        "",
        "| " + " | ".join((*TITLES, "oracle")) + " |",
        "|---" * (len(TITLES) + 1) + "|",
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    return "\n".join(text) + "\n"


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only models whose path contains one of these")
    parser.add_argument("--samples", type=int, default=1000, help="noise inputs compared with the foreign oracle")
    parser.add_argument("--work", type=Path, help="keep finished rows here and go on behind them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", action="store_true", help=f"write the table to {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    named = os.environ.get("TINYCOMPRESS_DATA", "")
    folder = Path(named) / "models"
    if not named or not folder.is_dir():
        parser.error("TINYCOMPRESS_DATA does not name a folder with models/")
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".tflite", ".onnx"))
    paths = [p for p in paths if not options.names or any(name in str(p.relative_to(folder)) for name in options.names)]
    sources = state_of_sources() if options.work else ""
    if not options.json:
        print(line([*TITLES, "oracle"]), flush=True)
    rows = []
    for number, path in enumerate(paths, 1):
        label = str(path.relative_to(folder))
        key = hashlib.sha256(f"{sources} {options.samples}".encode() + path.read_bytes()).hexdigest()
        file = options.work / f"{label.replace('/', '__')}.json" if options.work else None
        say = Progress(f"{number}/{len(paths)} {label}")
        rows.append(kept(file, key, lambda p=path, n=label, s=say: examine(p, n, options.samples, Path(named), s)))  # type: ignore[misc]
        if not options.json:
            print(line(cells(rows[-1])), *([f"    {rows[-1].error}"] if rows[-1].error else []), sep="\n", flush=True)
    if options.json:
        oracles = {oracle: version(oracle) for oracle in ORACLES}
        print(json.dumps({"oracles": oracles, "models": [asdict(row) for row in rows]}, indent=1))
    if options.write:
        PAGE.write_text(page(rows, options.samples), encoding="utf-8")
    return int(not rows or not all(row.is_good for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
