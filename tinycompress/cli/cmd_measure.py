"""`tinycompress measure [MODEL]` and `tinycompress profile [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app
from tinycompress.cli.cmd_deploy import end, print_summary
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
        outcome = pipeline.outcome(target, inputs=inputs)
    print_summary(outcome.report, json)
    end(outcome)


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
    from tinycompress.report.text import bar, work_of

    work = [work_of(layer) or 0 for layer in layers]
    total, most = sum(work), max(work)
    rows = [
        (str(r.index), r.name, r.kernel, f"{r.macs:,}", f"{w:,}", f"{w / max(total, 1):.1%}",
         f"{w / r.macs:.2f}" if r.macs else "-", bar(w, most))
        for r, w in zip(layers, work, strict=True)
    ]  # fmt: skip
    unit = "instructions" if target.emulate else "cycles"
    header = ("#", "layer", "kernel", "MACs", unit, "share", "per MAC", "")
    print_table(header, rows, right=(0, 3, 4, 5, 6), spare=(2, 6))
    say(f"total {total:,} {unit}, with the hooks that tell layers apart")
