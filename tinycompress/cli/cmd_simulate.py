"""`tinycompress simulate [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def simulate(
    config: Config,
    inputs: opt.Inputs = None,
    outputs: opt.Outputs = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Run the same C here under sanitizers. Every byte of every tensor is compared with the reference."""
    with opt.open_pipeline(config, run, fresh) as pipeline:
        result = pipeline.simulate(inputs=inputs, outputs=outputs)
    v = result.validation
    opt.emit(
        json,
        result,
        [
            f"{v.samples} samples, {v.tensors} tensors each: {v.mismatching_bytes} bytes differ from the reference",
            f"compiled by {result.compiler}, watched by: {result.checks}",
        ],
    )
    raise typer.Exit(7 if v.mismatching_bytes else 0)
