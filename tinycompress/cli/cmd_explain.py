"""`tinycompress explain [CODE]`."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from tinycompress.cli.app import app


@app.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="A diagnostic's id, e.g. TC-M102; none lists all.")] = None,
) -> None:
    """Print the long text behind a diagnostic."""
    from tinycompress.errors import ConfigError
    from tinycompress.explain import texts

    known = texts()
    if code is None:
        for name, text in known.items():
            typer.echo(f"{name}  {text.split('. ')[0].rstrip('.')}.")
        return
    wanted = code.upper()
    if wanted not in known:
        import difflib

        close = difflib.get_close_matches(wanted, known, n=1)
        fix = f"did you mean {close[0]}?" if close else "run `tinycompress explain` for the list"
        raise ConfigError("TC-C130", f"no diagnostic {code!r}", fix=fix)
    typer.echo(f"{wanted}\n")
    typer.echo(textwrap.fill(known[wanted], 100))
