"""`tinycompress analyze [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.output import print_table, say

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings()
def analyze(config: Config, run: opt.RunOption = None, json: opt.Json = False) -> None:
    """Say whether a network fits the board. Layers, MACs, weights, and the live set at the peak.

    Sizes do not depend on calibration data: a float network without any is calibrated on random data.
    """
    from tinycompress.pipeline.analysis import calibrated

    with opt.open_pipeline(calibrated(config), run, False) as pipeline:
        result = pipeline.analyze()
    if not json:
        numbers = ("macs", "weights_bytes", "scratch_bytes", "live_bytes")
        rows = [
            (str(r.index), r.name, r.op, r.kernel, *(f"{getattr(r, name):,}" for name in numbers))
            for r in result.layers
        ]
        header = ("#", "layer", "op", "kernel", "MACs", "weights", "scratch", "live")
        print_table(header, rows, right=(0, 4, 5, 6, 7))
        say("")
    opt.emit(json, result, result.summary())
    raise typer.Exit(0 if result.fits else 4)
