"""`tinycompress generate [MODEL]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def generate(
    config: Config,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also copy the files into this directory.")
    ] = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Generate the C library. Contract header, schedule, weights, and the kernels it needs."""
    with opt.open_pipeline(config, run, fresh) as pipeline:
        program = pipeline.program
        folder = program.directory
        if output is not None:
            from tinycompress.pipeline.exporting import copy_program

            folder = copy_program(program, output)
    plan = program.plan
    facts = {
        "directory": str(folder),
        "files": list(program.files),
        "arena_bytes": plan.arena_bytes,
        "weights_bytes": plan.weights_bytes,
        "state_bytes": plan.state_bytes,
    }
    lines = [
        f"{folder}: {', '.join(program.files)}",
        f"arena {plan.arena_bytes:,} B, weights {plan.weights_bytes:,} B",
    ]
    opt.emit(json, facts, lines)
