"""`tinycompress compress [MODEL]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config

Method = Annotated[
    str | None, typer.Option("--method", help="compress.prune.method, e.g. differentiable, uniform, random.")
]


@app.command()
@opt.with_settings(demo=True)
def compress(
    config: Config,
    ram: Annotated[str | None, typer.Option("--ram", help="RAM budget of the library: 16KB.")] = None,
    flash: Annotated[str | None, typer.Option("--flash", help="Flash budget of the library: 64KB.")] = None,
    latency: Annotated[float | None, typer.Option("--latency-ms", help="Latency budget in milliseconds.")] = None,
    instructions: Annotated[int | None, typer.Option("--instructions", help="Instruction budget.")] = None,
    min_accuracy: Annotated[float | None, typer.Option("--min-accuracy", help="Floor of the task's metric.")] = None,
    method: Method = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="compress.train.epochs.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write FILE.onnx, FILE.tflite or a stored graph.")
    ] = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
    print_config: opt.PrintConfig = False,
) -> None:
    """Prune and distil a float network until it is inside every budget; what comes out is physically smaller."""
    from tinycompress.pipeline.compressing import with_compression

    config = with_compression(
        config,
        {"ram_bytes": ram, "flash_bytes": flash, "latency_ms": latency, "instructions": instructions,
         "min_accuracy": min_accuracy},
        method=method,
        epochs=epochs,
    )  # fmt: skip
    if print_config:
        from tinycompress.cli.output import print_json
        from tinycompress.pipeline.compressing import full_config

        print_json(full_config(config))
        return
    with opt.open_pipeline(config, run, fresh) as pipeline:
        summary = pipeline.compression
        graph = pipeline.compressed
        folder = pipeline.run.path / "compress"
    if output is not None:
        from tinycompress.pipeline.exporting import export

        export(graph, output)
    if json:
        opt.emit(True, summary, [])
        return
    from tinycompress.cli.output import print_table
    from tinycompress.pipeline.compressing import stage_rows

    print_table(("stage", "validation", "parameters", "RAM", "weights", "MACs", "seconds"), stage_rows(summary),
                right=(1, 2, 3, 4, 5, 6))  # fmt: skip
    typer.echo("")
    for line in summary["lines"]:
        typer.echo(line)
    typer.echo(f"network in {folder}")
