"""`tinycompress flash [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def flash(
    config: Config,
    port: opt.Port = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Build and flash the measuring firmware. Then check that it answers as the one that was built."""
    from tinycompress.pipeline.target import Target

    target = Target(port=port)
    with opt.open_pipeline(config, run, fresh) as pipeline:
        pipeline.require(target)
        firmware = pipeline.firmware(target)
        with target.session(firmware) as session:
            hello = session.hello
    facts = {"board": hello.board, "build_id": hello.build_id, "clock_hz": hello.clock_hz}
    opt.emit(json, facts, [f"{hello.board} runs build {hello.build_id} at {hello.clock_hz / 1e6:.0f} MHz"])
