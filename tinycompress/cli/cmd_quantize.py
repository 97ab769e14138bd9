"""`tinycompress quantize [MODEL]`."""

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
def quantize(
    config: Config,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write FILE.tflite, FILE.onnx (QDQ) or a stored graph.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print the integer graph, one line per operator.")] = False,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Calibrate and quantize to int8. The integer graph is what all later stages use."""
    from tinycompress.pipeline.exporting import export, require_exportable

    require_exportable(output)
    with opt.open_pipeline(config, run, fresh) as pipeline:
        graph = pipeline.quantized
        stored = pipeline.run.path / "quantize" / "graph"
    if output is not None:
        export(graph, output)
    if text:
        from tinycompress.ir.text import graph_text

        typer.echo(graph_text(graph), nl=False)
        return
    facts = {
        "name": graph.name,
        "operators": len(graph.ops),
        "parameters": graph.parameters,
        "graph": str(stored),
        "notes": list(graph.notes),
        "output": None if output is None else str(output),
    }
    count = f"{len(graph.ops)} integer operators, {graph.parameters:,} parameters"
    place = stored if output is None else output
    opt.emit(json, facts, [f"{graph.name}: {count}, in {place}", *(f"note: {note}" for note in graph.notes)])
