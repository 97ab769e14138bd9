"""`tinycompress deploy [MODEL]`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app, print_diagnostic
from tinycompress.cli.output import print_table, say

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.pipeline.deploying import Outcome
    from tinycompress.pipeline.target import Target
    from tinycompress.report.model import Report


@app.command()
@opt.with_settings(demo=True, limits=True, target=True)
def deploy(
    config: Config,
    target: Target,
    inputs: opt.Inputs = None,
    outputs: opt.Outputs = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
    print_config: opt.PrintConfig = False,
) -> None:
    """Bring a network to measured firmware.

    Shrink, quantize, generate, build, flash and measure, checking every byte against the host.
    """
    if print_config:
        opt.show_config(config)
        return
    with opt.open_pipeline(config, run, fresh) as pipeline:
        outcome = pipeline.outcome(target, inputs=inputs, outputs=outputs)
        folder = pipeline.run.path
    print_report(outcome.report, folder, json)
    end(outcome)


def end(outcome: Outcome) -> None:
    """Say which promise the deployment broke, if any, and end with that exit code; its report has been printed."""
    if outcome.failure is not None:
        print_diagnostic(outcome.failure)
        raise typer.Exit(outcome.failure.exit_code)


def print_report(report: Report, folder: Path, json: bool) -> None:
    """The report as its JSON document, or as tables."""
    if not json:
        from tinycompress.report.text import LAYER_RIGHT, LAYER_SPARE, first_to_shrink, layer_header, layer_rows

        print_table(layer_header(report), layer_rows(report), right=(*LAYER_RIGHT, 8, 9), spare=LAYER_SPARE)
        say("* the live bytes that set the arena")
        say("")
        for line in first_to_shrink(report.layers):
            say(line)
        say("")
    print_summary(report, json)
    if json:
        return
    for note in report.notes:
        say(f"note: {note}")
    say("")
    say(f"report {folder / 'report.json'}, generated C in {folder / 'program'}")


def print_summary(report: Report, json: bool) -> None:
    """The report as its JSON document, or its first lines as a table."""
    from tinycompress.report.model import to_json
    from tinycompress.report.text import summary_rows

    if json:
        typer.echo(to_json(report), nl=False)
        return
    print_table(("result", f"on {report.target}", "number"), summary_rows(report))
