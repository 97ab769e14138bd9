"""The typer application, and the boundary where errors become a diagnostic and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
import traceback
import types
from typing import Annotated

import click
import typer
import typer.core
import typer.main
import typer.models
import typer.utils

import tinycompress.cli
from tinycompress import __version__
from tinycompress.compress.team import launched
from tinycompress.errors import TinycompressError

INTERRUPTED = 130
INTERNAL_BUG = 1

ORDER = (
    *("deploy", "analyze", "compress", "quantize", "generate", "build", "simulate", "flash", "measure", "profile"),
    *("report", "boards", "ops", "doctor", "explain", "calibrate", "compare-gpu"),
)
"""The commands as `--help` lists them: the main job, its stages in their order, then what informs."""


typer.core.HAS_RICH = False  # help is plain text: there is no markup whose brackets want a backslash


class Commands(typer.core.TyperGroup):
    """The group of all commands: listed in ORDER, with one suggestion for a mistyped one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in ORDER, others behind them."""
        known = {name: place for place, name in enumerate(ORDER)}
        return sorted(self.commands, key=lambda name: (known.get(name, len(known)), name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own answer; typer's would say once more what was meant."""
        return click.Group.resolve_command(self, ctx, args)


class Command(typer.core.TyperCommand):
    """A command whose help lists the arguments once."""

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: click (from 8.4) would list them here, and typer does so with the options."""


app = typer.Typer(
    name="tinycompress",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a neural network to measured firmware: shrink until it fits, generate C, build, flash, measure, check.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"tinycompress {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Set-up shared by all commands (none)."""


def _load_commands() -> None:
    names = sorted(m.name for m in pkgutil.iter_modules(tinycompress.cli.__path__) if m.name.startswith("cmd_"))
    for name in names:
        importlib.import_module(f"tinycompress.cli.{name}")
    for info in app.registered_commands:
        info.cls = Command


def _keep_argument_help(group: click.Group) -> None:
    """Give arguments their help again: typer sets it before click's constructor, which (from 8.4) clears it."""
    for info in app.registered_commands:
        assert info.callback is not None
        declared = typer.utils.get_params_from_function(info.callback)
        command = group.commands[info.name or typer.main.get_command_name(info.callback.__name__)]
        for parameter in command.params:
            meant = declared[parameter.name or ""].default
            if isinstance(parameter, typer.core.TyperArgument) and isinstance(meant, typer.models.ArgumentInfo):
                parameter.help = meant.help


_presses: list[int] = []


def _press(number: int, frame: types.FrameType | None) -> None:
    """Ctrl-C: remembered, because a library that is being imported may swallow the exception."""
    _presses.append(number)
    signal.default_int_handler(number, frame)


def check_interrupt() -> None:
    """Raise the KeyboardInterrupt that somebody swallowed, if there was one; called whenever progress is shown."""
    if _presses:
        raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run one command; the process exit code. Diagnostics go to stderr, never a traceback for a foreseen error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a model's names may hold what the terminal cannot show
    _presses.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _press)
    try:
        code = _invoke(arguments)
    except TinycompressError as error:
        from tinycompress.cli.output import print_json, print_known

        if "--json" in arguments:
            print_json({"failure": error.facts(), **error.known})
        else:
            print_known(error.known)
        print_diagnostic(error)
        return error.exit_code
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception:
        traceback.print_exc()
        print(
            "internal error: this is a bug of tinycompress; the traceback above belongs in the report", file=sys.stderr
        )
        return INTERNAL_BUG
    if code == INTERRUPTED:  # typer's own answer to Ctrl-C
        return _interrupted()
    return code if isinstance(code, int) else 0


def _invoke(arguments: list[str]) -> object:
    """Run a command; under torchrun the first process does, and the others train with it until it is done."""
    _load_commands()
    command = typer.main.get_command(app)
    if "--help" in arguments and isinstance(command, click.Group):
        _keep_argument_help(command)
    rank, count = launched()
    if rank > 0:
        from tinycompress.pipeline.compressing import follow

        follow()
        return 0
    code: object = command.main(args=arguments, prog_name="tinycompress", standalone_mode=False)
    if count > 1 and not code:
        from tinycompress.pipeline.compressing import dismiss

        dismiss()
    return code


def _interrupted() -> int:
    print("interrupted; the same command goes on from the last finished stage", file=sys.stderr)
    return INTERRUPTED


def print_diagnostic(error: TinycompressError) -> None:
    """Code and sentence, place, fix, each on its own line; control characters from models are escaped."""
    print(f"error[{error.code}]: {printable(error.what)}", file=sys.stderr)
    if error.where:
        print(f"  at:  {printable(error.where)}", file=sys.stderr)
    if error.fix:
        print(f"  fix: {printable(error.fix)}", file=sys.stderr)
    print(f"  `tinycompress explain {error.code}` says more", file=sys.stderr)


def printable(text: str) -> str:
    """`text` with everything that could drive a terminal escaped; line breaks and tabs kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def wants_colour() -> bool:
    """True on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
