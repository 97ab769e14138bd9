"""`tinycompress calibrate [MODEL]`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def calibrate(
    config: Config,
    port: opt.Port = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Measure a board's cycles per instruction. What --emulate estimates latency with; prints the table for its file.

    The same firmware runs on the board and in the emulator. Use a network like those that will be estimated.
    """
    from tinycompress.pipeline.calibrating import as_toml
    from tinycompress.pipeline.target import Target

    with opt.open_pipeline(config, run, fresh) as pipeline:
        calibration = pipeline.calibrate(Target(port=port))
        board = pipeline.board.id
    opt.emit(json, calibration, as_toml(calibration).splitlines())
    print(f"this table belongs into the file of board {board}, in place of the one there", file=sys.stderr)
