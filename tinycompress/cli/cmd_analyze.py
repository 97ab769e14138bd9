"""`tinycompress analyze [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.output import print_layers

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings()
def analyze(
    config: Config,
    run: opt.RunOption = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Also what other RAM budgets buy: RAM against estimated instructions.")
    ] = False,
    json: opt.Json = False,
) -> None:
    """Say whether a network fits the board. Layers, MACs, weights, and the live set at the peak.

    The network is taken as it is, also where the recipe compresses it. Sizes do not depend on calibration data: a float
    network without any is calibrated on random data.
    """
    from tinycompress.pipeline.settings import calibrated, recipe_of

    recipe_of(config)
    as_it_is = calibrated(config).model_copy(update={"compress": None})
    with opt.open_pipeline(as_it_is, run, False) as pipeline:
        result = pipeline.analyze(front=pareto)
    if not json:
        print_layers(result.layers)
    opt.emit(json, result, result.summary())
    raise typer.Exit(0 if result.fits else 4)
