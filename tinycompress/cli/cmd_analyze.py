"""`tinycompress analyze [MODEL]`."""

from __future__ import annotations

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app


@app.command()
def analyze(
    model: opt.ModelArgument = None,
    model_option: opt.ModelOption = None,
    board: opt.BoardOption = None,
    recipe: opt.Recipe = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    data: opt.Data = None,
    calibration: opt.Calibration = None,
    schedule: opt.Schedule = None,
    run: opt.RunOption = None,
    trust_model: opt.Trust = False,
    json: opt.Json = False,
) -> None:
    """Print layers, MACs, weights, the live set at the peak, and whether the network fits the board.

    Sizes do not depend on calibration data, so a float network is calibrated on random data when none is given.
    """
    config = opt.settings(
        recipe,
        model__source=model or model_option,
        board=board,
        model__weights=weights,
        model__input_shape=input_shape,
        model__trust=trust_model or None,
        data__source=data,
        data__calibration=calibration or (None if data or recipe else "random"),
        plan__schedule=schedule,
    )
    from tinycompress.pipeline.analysis import analysis

    with opt.open_pipeline(config, run, False) as pipeline:
        result = analysis(pipeline)
    if json:
        from tinycompress.cli.output import print_json
        from tinycompress.codec import encode

        print_json(encode(result))
    else:
        from tinycompress.cli.output import print_table

        print_table(
            ("#", "layer", "op", "kernel", "MACs", "weights", "scratch", "live"),
            [
                (str(r.index), r.name, r.op, r.kernel, f"{r.macs:,}", f"{r.weights_bytes:,}", f"{r.scratch_bytes:,}",
                 f"{r.live_bytes:,}")
                for r in result.layers
            ],
            right=(0, 4, 5, 6, 7),
        )  # fmt: skip
        typer.echo("")
        for line in result.summary():
            typer.echo(line)
    raise typer.Exit(0 if result.fits else 4)
