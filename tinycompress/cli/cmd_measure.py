"""`tinycompress measure [MODEL]` and `tinycompress profile [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.cmd_deploy import print_summary
from tinycompress.cli.output import print_table, say

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def measure(
    config: Config,
    emulate: opt.Emulate = False,
    engine: opt.Engine = "unicorn",
    port: opt.Port = None,
    inputs: opt.Inputs = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Measure RAM, flash and latency on the board. With --emulate, count instructions; prints the summary."""
    from tinycompress.pipeline.target import Target

    with opt.open_pipeline(config, run, fresh) as pipeline:
        report = pipeline.deploy(Target(emulate=emulate, engine=engine, port=port), inputs=inputs)
    print_summary(report, json)


@app.command()
@opt.with_settings(demo=True)
def profile(
    config: Config,
    emulate: opt.Emulate = False,
    engine: opt.Engine = "unicorn",
    port: opt.Port = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Show which layers the work goes to. Counted instructions in the emulator, cycles on a board."""
    from tinycompress.pipeline.target import Target

    with opt.open_pipeline(config, run, fresh) as pipeline:
        layers = pipeline.profile(Target(emulate=emulate, engine=engine, port=port))
    if json:
        opt.emit(True, layers, [])
        return
    work = [layer.instructions if emulate else layer.cycles for layer in layers]
    total = sum(count or 0 for count in work)
    rows = [
        (str(r.index), r.name, r.kernel, f"{r.macs:,}", f"{w or 0:,}", f"{(w or 0) / max(total, 1):.1%}",
         f"{(w or 0) / r.macs:.2f}" if r.macs else "-")
        for r, w in zip(layers, work, strict=True)
    ]  # fmt: skip
    unit = "instructions" if emulate else "cycles"
    print_table(("#", "layer", "kernel", "MACs", unit, "share", "per MAC"), rows, right=(0, 3, 4, 5, 6))
    say(f"total {total:,} {unit}")
