"""`tinycompress explain [CODE]`."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from tinycompress.cli.app import app
from tinycompress.cli.output import print_json, terminal_columns


@app.command()
def explain(
    code: Annotated[
        str | None, typer.Argument(help="A diagnostic's id, e.g. TC-M102, or its beginning; none lists all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Print the long text behind a diagnostic."""
    from tinycompress.errors import ConfigError
    from tinycompress.explain import texts

    known = texts()
    if code is None:
        _print(known, json)
        return
    wanted = code.upper()
    wanted = wanted if wanted.startswith("TC-") else f"TC-{wanted}"
    if wanted not in known and (family := {name: text for name, text in known.items() if name.startswith(wanted)}):
        _print(family, json)
        return
    if wanted not in known:
        import difflib

        close = difflib.get_close_matches(wanted, known, n=1)
        fix = f"did you mean {close[0]}?" if close else "run `tinycompress explain` for the list"
        raise ConfigError("TC-C130", f"no diagnostic {code!r}", fix=fix)
    if json:
        print_json({wanted: known[wanted]})
        return
    typer.echo(f"{wanted}\n")
    typer.echo(textwrap.fill(known[wanted], min(100, terminal_columns() or 100)))


def _print(texts: dict[str, str], json: bool) -> None:
    """Many diagnostics, a line each."""
    if json:
        print_json(texts)
        return
    for name, text in texts.items():
        typer.echo(f"{name}  {text.split('. ')[0].rstrip('.')}.")
