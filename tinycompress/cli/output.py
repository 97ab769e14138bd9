"""Results on stdout (a table, or exactly one JSON document) and progress on stderr, in place on a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from tinycompress.cli.app import check_interrupt, printable, wants_colour
from tinycompress.cli.tables import table_lines

if TYPE_CHECKING:
    from tinycompress.report.model import Layer


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2))


def say(line: str) -> None:
    """One line on stdout; what could drive a terminal (a model's names may) is escaped."""
    typer.echo(printable(line))


def terminal_columns() -> int | None:
    """Characters in a line of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> None:
    """An aligned table, fitted to the terminal if there is one (`table_lines`); its header is bold there."""
    table = [[printable(cell) for cell in row] for row in ([*header], *rows)]
    for index, line in enumerate(table_lines(table, right, spare, terminal_columns(), whole=whole)):
        typer.echo(f"\x1b[1m{line}\x1b[0m" if index == 0 and wants_colour() else line)


def print_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    """The table of what each stage of a compression bought."""
    from tinycompress.report.compression import STAGE_HEADER, STAGE_RIGHT, STAGE_SPARE, stage_rows

    print_table(STAGE_HEADER, stage_rows(stages), right=STAGE_RIGHT, spare=STAGE_SPARE)


def print_layers(layers: Sequence[Layer]) -> None:
    """The table of a plan's layers, with a bar of the bytes live in each, and where a smaller network begins."""
    from tinycompress.report.text import LAYER_HEADER, LAYER_RIGHT, LAYER_SPARE, bar, first_to_shrink, layer_cells

    peak = max((layer.live_bytes for layer in layers), default=0)
    bars = (bar(layer.live_bytes, peak) for layer in layers)
    rows = [(*cells, marks) for cells, marks in zip(layer_cells(layers), bars, strict=True)]
    print_table((*LAYER_HEADER, ""), rows, right=LAYER_RIGHT, spare=LAYER_SPARE)
    say("")
    for line in first_to_shrink(layers):
        say(line)
    say("")


def print_known(known: Mapping[str, Any]) -> None:
    """The tables of what a command found out before it failed."""
    if "stages" in known:
        print_stages(known["stages"])
    if "layers" in known:
        from tinycompress.codec import decode
        from tinycompress.report.model import Layer

        print_layers([decode(Layer, layer) for layer in known["layers"]])


class ProgressLine:
    """Progress of a long command: `progress(stage, text, fraction)`. In place on a terminal, else a line a stage.

    On a pipe a stage prints when it starts, and again at most every ten seconds.
    """

    QUIET_S = 10.0

    def __init__(self) -> None:
        self.in_place = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.last = ("", 0.0)

    def __call__(self, stage: str, text: str, fraction: float | None = None) -> None:
        check_interrupt()
        percent = "" if fraction is None else f" {fraction:4.0%}"
        line = f"{stage:<10}{percent} {printable(text)}"
        if self.in_place:
            sys.stderr.write(f"\r\x1b[2K{line[: _columns() - 1]}")
            sys.stderr.flush()
            return
        now = time.monotonic()
        if stage != self.last[0] or now - self.last[1] >= self.QUIET_S:
            print(line, file=sys.stderr, flush=True)
            self.last = (stage, now)

    def close(self) -> None:
        """Leave the terminal on a clean line."""
        if self.in_place:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
