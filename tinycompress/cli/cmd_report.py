"""`tinycompress report RUN...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from tinycompress.cli.app import app, printable
from tinycompress.cli.output import print_json, print_stages, print_table, say

if TYPE_CHECKING:
    from tinycompress.report.arena import ArenaMap
    from tinycompress.report.document import Section
    from tinycompress.report.model import Report


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories (runs/*), or a report.json.", metavar="RUN...")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document: a report, or a list of runs.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="html is one file with the arena drawn (default text).",
            click_type=click.Choice(["text", "md", "html"]),
            show_default=False,
        ),
    ] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write md or html to FILE.")] = None,
) -> None:
    """Print the report of an earlier run, or one table of several."""
    if form == "text" and output is not None:
        form = "html" if output.suffix == ".html" else "md"
    if json and form != "text":
        raise click.UsageError("--json is a format of its own")
    first = runs[0] / "report.json" if runs[0].is_dir() else runs[0]
    if len(runs) == 1 and (first.is_file() or not runs[0].is_dir()):
        _print_one(first, json, form, output)
    elif len(runs) > 1 or json or not _print_compression(runs[0], form, output):
        _print_several(runs, json, form, output)


def _print_compression(folder: Path, form: str, output: Path | None) -> bool:
    """The compression of a run that deployed nothing (yet); whether there is one."""
    from tinycompress.report.runs import read_compression

    summary = read_compression(folder)
    if summary is None:
        return False
    from tinycompress.report.compression import summary_lines
    from tinycompress.report.document import of_compression

    if form != "text":
        _write(summary["model"], [of_compression(summary)], form, output)
        return True
    print_stages(summary["stages"])
    say("")
    for line in summary_lines(summary):
        say(line)
    return True


def _print_several(runs: list[Path], json: bool, form: str, output: Path | None) -> None:
    from tinycompress.codec import encode
    from tinycompress.errors import ConfigError
    from tinycompress.report.runs import HEADER, RIGHT, SPARE, kinds, read_runs, run_rows

    lines, without = read_runs(runs)
    if not lines:
        fix = "run `compress` or `deploy` first"
        raise ConfigError("TC-C110", "no result of a run", where=", ".join(map(str, runs)), fix=fix)
    if without:
        print(f"no result (yet) in {', '.join(printable(str(path)) for path in without)}", file=sys.stderr)
    if json:
        print_json(encode(lines))
        return
    if form != "text":
        from tinycompress.report.document import of_runs

        _write("Runs", of_runs(HEADER, run_rows(lines), RIGHT, kinds(lines)), form, output)
        return
    print_table(HEADER, run_rows(lines), right=RIGHT, spare=SPARE)
    say("")
    say(kinds(lines))


def _print_one(path: Path, json: bool, form: str, output: Path | None) -> None:
    from tinycompress.cli.cmd_deploy import print_report
    from tinycompress.errors import ConfigError
    from tinycompress.report.model import from_json

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "TC-C110", f"no report: {error.strerror}", where=str(path), fix="run `deploy` first"
        ) from None
    found = from_json(text, str(path))
    if form == "text":
        print_report(found, path.parent, json)
        return
    from tinycompress.report import arena
    from tinycompress.report.document import of_compression, sections, title
    from tinycompress.report.runs import read_compression

    beside = path.parent / "arena.json"
    drawn = arena.from_json(beside.read_text(encoding="utf-8"), str(beside)) if beside.is_file() else None
    parts, summary = sections(found, drawn), read_compression(path.parent)
    if summary is not None:
        parts.insert(1, of_compression(summary))
    _write(title(found), parts, form, output, found, drawn)


def _write(
    title: str,
    parts: list[Section],
    form: str,
    output: Path | None,
    found: Report | None = None,
    drawn: ArenaMap | None = None,
) -> None:
    from tinycompress.report.html import html
    from tinycompress.report.markdown import markdown
    from tinycompress.rundir import replacing, unwritable

    text = markdown(title, parts) if form == "md" else html(title, parts, found, drawn)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with replacing(output) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(output, error) from error
    say(str(output))
