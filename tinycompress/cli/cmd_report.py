"""`tinycompress report RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinycompress.cli.app import app


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or a report.json.")],
    json: Annotated[bool, typer.Option("--json", help="Print the JSON document.")] = False,
) -> None:
    """Print the report of an earlier run."""
    from tinycompress.cli.cmd_deploy import print_report
    from tinycompress.errors import ConfigError
    from tinycompress.report.model import from_json

    path = run / "report.json" if run.is_dir() else run
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "TC-C110", f"no report: {error.strerror}", where=str(path), fix="run `deploy` first"
        ) from None
    print_report(from_json(text, str(path)), path.parent, json)
