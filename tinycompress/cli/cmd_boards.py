"""`tinycompress boards`."""

from __future__ import annotations

from typing import Annotated

import typer

from tinycompress.cli.app import app


@app.command(name="boards")
def boards_command(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the boards. Core, clock, RAM, flash, how each is flashed, which emulator runs it."""
    from tinycompress.boards import board, boards
    from tinycompress.cli.output import print_json, print_table
    from tinycompress.codec import encode
    from tinycompress.units import format_bytes

    known = [board(name) for name in boards(hidden=json)]
    if json:
        print_json([encode(b) for b in known])
        return
    rows = [
        (
            b.id,
            b.name,
            b.core,
            f"{b.clock_hz / 1e6:.0f} MHz",
            format_bytes(b.ram_bytes),
            format_bytes(b.flash_bytes),
            "OpenOCD, st-flash" if b.flash else "-",
            b.emulator.engine,
        )
        for b in known
    ]
    header = ("board", "name", "core", "clock", "RAM", "flash", "flashed by", "emulator")
    print_table(header, rows, right=(3, 4, 5), spare=(1, 7), whole=(0,))
