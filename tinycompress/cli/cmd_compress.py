"""`tinycompress compress [MODEL]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.output import print_table, say

if TYPE_CHECKING:
    from tinycompress.config import Config

_LIMITS = {
    "ram": "budget.ram_bytes",
    "flash": "budget.flash_bytes",
    "latency_ms": "budget.latency_ms",
    "instructions": "budget.instructions",
    "min_accuracy": "budget.min_accuracy",
    "method": "compress.prune.method",
    "epochs": "compress.train.epochs",
}


def _limit_flags(
    ram: Annotated[str | None, typer.Option("--ram", help="RAM budget of the library: 16KB.")] = None,
    flash: Annotated[str | None, typer.Option("--flash", help="Flash budget of the library: 64KB.")] = None,
    latency_ms: Annotated[float | None, typer.Option("--latency-ms", help="Latency budget in milliseconds.")] = None,
    instructions: Annotated[int | None, typer.Option("--instructions", help="Instruction budget.")] = None,
    min_accuracy: Annotated[float | None, typer.Option("--min-accuracy", help="Floor of the task's metric.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="compress.prune.method, e.g. differentiable, uniform, random.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="compress.train.epochs.")] = None,
) -> None:
    """The flags of this command that are settings."""


@app.command()
@opt.with_settings(demo=True, flags=_limit_flags, settings=_LIMITS, compress=True)
def compress(
    config: Config,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write FILE.onnx, FILE.tflite or a stored graph.")
    ] = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
    print_config: opt.PrintConfig = False,
) -> None:
    """Prune and distil until every budget holds. What comes out of the float network is physically smaller."""
    if print_config:
        opt.show_config(config)
        return
    from tinycompress.pipeline.exporting import export, require_exportable

    require_exportable(output)
    with opt.open_pipeline(config, run, fresh) as pipeline:
        summary = pipeline.compression
        graph = pipeline.compressed
        folder = pipeline.run.path / "compress"
    if output is not None:
        export(graph, output)
    if not json:
        from tinycompress.pipeline.compressing import stage_rows

        header = ("stage", "validation", "parameters", "RAM", "weights", "MACs", "seconds")
        print_table(header, stage_rows(summary), right=(1, 2, 3, 4, 5, 6))
        say("")
    opt.emit(json, summary, [*summary["lines"], f"network in {folder}"])
