"""`tinycompress report RUN...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinycompress.cli.app import app, printable
from tinycompress.cli.output import print_json, print_table, say


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories (runs/*), or a report.json.", metavar="RUN...")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document: a report, or a list of runs.")] = False,
) -> None:
    """Print the report of an earlier run, or one table of several."""
    from tinycompress.errors import ConfigError

    first = runs[0] / "report.json" if runs[0].is_dir() else runs[0]
    if len(runs) == 1 and (first.is_file() or not runs[0].is_dir()):
        _print_one(first, json)
        return
    from tinycompress.codec import encode
    from tinycompress.report.runs import HEADER, RIGHT, kinds, read_runs, run_rows

    lines, without = read_runs(runs)
    if not lines:
        fix = "run `compress` or `deploy` first"
        raise ConfigError("TC-C110", "no result of a run", where=", ".join(map(str, runs)), fix=fix)
    for path in without:
        print(f"no result in {printable(str(path))}", file=sys.stderr)
    if json:
        print_json(encode(lines))
        return
    print_table(HEADER, run_rows(lines), right=RIGHT)
    say("")
    say(kinds(lines))


def _print_one(path: Path, json: bool) -> None:
    from tinycompress.cli.cmd_deploy import print_report
    from tinycompress.errors import ConfigError
    from tinycompress.report.model import from_json

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "TC-C110", f"no report: {error.strerror}", where=str(path), fix="run `deploy` first"
        ) from None
    print_report(from_json(text, str(path)), path.parent, json)
