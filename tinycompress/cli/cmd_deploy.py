"""`tinycompress deploy [MODEL]`: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from tinycompress.config import Config
    from tinycompress.report.model import Report


@app.command()
def deploy(
    model: opt.ModelArgument = None,
    model_option: opt.ModelOption = None,
    board: opt.BoardOption = None,
    emulate: opt.Emulate = False,
    engine: opt.Engine = "unicorn",
    port: opt.Port = None,
    recipe: opt.Recipe = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    data: opt.Data = None,
    calibration: opt.Calibration = None,
    inputs: opt.Inputs = None,
    samples: opt.Samples = None,
    outputs: opt.Outputs = None,
    rounding: opt.RoundingOption = None,
    schedule: opt.Schedule = None,
    toolchain: opt.Toolchain = None,
    seed: opt.Seed = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    trust_model: opt.Trust = False,
    json: opt.Json = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings in force and stop.")] = False,
) -> None:
    """Shrink, quantize, generate, build, flash and measure a network, checking every byte against the host."""
    config = opt.settings(
        recipe,
        demo=True,
        model__source=model or model_option,
        board=board,
        model__weights=weights,
        model__input_shape=input_shape,
        model__trust=trust_model or None,
        data__source=data,
        data__calibration=calibration,
        deploy__samples=samples,
        quantize__rounding=rounding,
        plan__schedule=schedule,
        build__toolchain=toolchain,
        seed=seed,
    )
    if print_config:
        _print_config(config)
        return
    from tinycompress.pipeline.target import Target

    target = Target(emulate=emulate, engine=engine, port=port)
    with opt.open_pipeline(config, run, fresh) as pipeline:
        report = pipeline.deploy(target, inputs=inputs, outputs=outputs)
        folder = pipeline.run.path
    _print_report(report, folder, json)


def _print_config(config: Config) -> None:
    from tinycompress.cli.output import print_json
    from tinycompress.config import config_json

    print_json(config_json(config))


def _print_report(report: Report, folder: Path, json: bool) -> None:
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
