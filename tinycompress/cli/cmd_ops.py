"""`tinycompress ops`."""

from __future__ import annotations

from typing import Annotated

import typer

from tinycompress.cli.app import app


@app.command()
def ops(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the operators. Which run on integers, which can be trained, and by which kernels they run."""
    from tinycompress.cli.output import print_json, print_table
    from tinycompress.codec import encode
    from tinycompress.operators import support

    rows = support()
    if json:
        print_json([encode(row) for row in rows])
        return
    mark = {True: "yes", False: "-"}
    print_table(
        ("operator", "integer", "trainable", "kernels, preferred first"),
        [(r.op, mark[r.integer_reference], mark[r.float_reference], ", ".join(r.kernels)) for r in rows],
    )
