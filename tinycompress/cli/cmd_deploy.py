"""`tinycompress deploy [MODEL]`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.report.model import Report


@app.command()
@opt.with_settings(demo=True)
def deploy(
    config: Config,
    emulate: opt.Emulate = False,
    engine: opt.Engine = "unicorn",
    port: opt.Port = None,
    inputs: opt.Inputs = None,
    outputs: opt.Outputs = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
    print_config: opt.PrintConfig = False,
) -> None:
    """Shrink, quantize, generate, build, flash and measure a network, checking every byte against the host."""
    if print_config:
        from tinycompress.cli.output import print_json
        from tinycompress.config import config_json

        print_json(config_json(config))
        return
    from tinycompress.pipeline.target import Target

    target = Target(emulate=emulate, engine=engine, port=port)
    with opt.open_pipeline(config, run, fresh) as pipeline:
        report = pipeline.deploy(target, inputs=inputs, outputs=outputs)
        folder = pipeline.run.path
    print_report(report, folder, json)


def print_report(report: Report, folder: Path, json: bool) -> None:
    """The report as its JSON document, or as tables."""
    from tinycompress.report.model import to_json

    if json:
        typer.echo(to_json(report), nl=False)
        return
    from tinycompress.cli.output import print_table
    from tinycompress.report.text import layer_header, layer_rows, summary_rows

    print_table(layer_header(report), layer_rows(report), right=(0, 4, 5, 6, 7, 8))
    typer.echo("")
    print_table(("result", f"on {report.target}", "number"), summary_rows(report))
    for note in report.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"\nreport {folder / 'report.json'}, generated C in {folder / 'program'}")
