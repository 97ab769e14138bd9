"""`tinycompress measure [MODEL]` and `tinycompress profile [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.cmd_deploy import print_summary
from tinycompress.cli.output import print_table, say

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.pipeline.target import Target


@app.command()
@opt.with_settings(demo=True, target=True)
def measure(
    config: Config,
    target: Target,
    inputs: opt.Inputs = None,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Measure RAM, flash and latency on the board. With --emulate, count instructions; prints the summary."""
    with opt.open_pipeline(config, run, fresh) as pipeline:
        report = pipeline.deploy(target, inputs=inputs)
    print_summary(report, json)


@app.command()
@opt.with_settings(demo=True, target=True)
def profile(
    config: Config,
    target: Target,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Show which layers the work goes to. Counted instructions in the emulator, cycles on a board."""
    with opt.open_pipeline(config, run, fresh) as pipeline:
        layers = pipeline.profile(target)
    if json:
        opt.emit(True, layers, [])
        return
    work = [layer.instructions if target.emulate else layer.cycles for layer in layers]
    total = sum(count or 0 for count in work)
    rows = [
        (str(r.index), r.name, r.kernel, f"{r.macs:,}", f"{w or 0:,}", f"{(w or 0) / max(total, 1):.1%}",
         f"{(w or 0) / r.macs:.2f}" if r.macs else "-")
        for r, w in zip(layers, work, strict=True)
    ]  # fmt: skip
    unit = "instructions" if target.emulate else "cycles"
    print_table(("#", "layer", "kernel", "MACs", unit, "share", "per MAC"), rows, right=(0, 3, 4, 5, 6))
    say(f"total {total:,} {unit}")
