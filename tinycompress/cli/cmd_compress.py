"""`tinycompress compress [MODEL]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.output import print_stages, say

if TYPE_CHECKING:
    from tinycompress.config import Config

_TRAINING = {"method": "compress.prune.method", "epochs": "compress.train.epochs"}


def _training_flags(
    method: Annotated[
        str | None, typer.Option("--method", help="compress.prune.method, e.g. differentiable, uniform, random.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="compress.train.epochs.")] = None,
) -> None:
    """The flags of this command alone that are settings."""


@app.command()
@opt.with_settings(demo=True, limits=True, flags=_training_flags, settings=_TRAINING, compress=True)
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
        print_stages(summary["stages"])
        say("")
    places = str(folder) if output is None else f"{folder}, and as {output}"
    opt.emit(json, summary, [*summary["lines"], f"network in {places}"])
