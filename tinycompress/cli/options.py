"""Flags shared by several commands, declared once, and the settings they turn into."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from tinycompress.cli.output import ProgressLine, print_json, say

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.pipeline import Pipeline

RunOption = Annotated[Path | None, typer.Option("--run", help="Run directory (default runs/<model>-<key>).")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over: ignore what an earlier run left.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Port = Annotated[str | None, typer.Option("--port", help="Serial port of the board (default: found by USB id).")]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", help="Inputs to run, FILE.npz with one array per model input.")
]
Outputs = Annotated[
    Path | None, typer.Option("--outputs", help="Write the target's outputs to FILE.npz, axes as in your model.")
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the settings in force and stop.")]


def _setting_flags(
    model: Annotated[
        str | None,
        typer.Argument(help=".onnx, .tflite, a stored graph, or a Python factory pkg.mod:name | file.py:name."),
    ] = None,
    model_option: Annotated[str | None, typer.Option("--model", help="The same as MODEL.")] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe (default ./tinycompress.toml when there is one).")
    ] = None,
    board: Annotated[
        str | None, typer.Option("--board", help="Target (default stm32f746); `tinycompress boards` lists them.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="State dict for a Python factory (weights only).")
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input-shape", help="Of a Python factory; without batch, in your layout: 1,28,28.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Its name, which the C is called after (default: the file's).")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="mnist, FILE.npz, a folder of images, or pkg.mod:callable.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Real inputs for int8: FILE.npz, a folder, or `random`.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Inputs compared byte by byte (default 20).")] = None,
    rounding: Annotated[
        str | None, typer.Option("--rounding", help="double (TFLM, CMSIS-NN; the default) or single (LiteRT).")
    ] = None,
    ram: Annotated[
        str | None, typer.Option("--ram", help="RAM budget of the library: 16KB (default: what the board has).")
    ] = None,
    flash: Annotated[
        str | None, typer.Option("--flash", help="Flash budget of the library: 64KB (default: what the board has).")
    ] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="layers, streamed or auto (default).")] = None,
    feed: Annotated[
        str | None, typer.Option("--feed", help="Input at once (default) or row by row: whole or rows.")
    ] = None,
    toolchain: Annotated[str | None, typer.Option("--toolchain", help="zig (default) or gcc.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random (default 0).")] = None,
    trust_model: Annotated[bool, typer.Option("--trust-model", help="Load a file that can run code (.pt2).")] = False,
) -> None:
    """The flags that are settings; each becomes one setting in `_OVERRIDES`."""


def _limit_flags(
    latency_ms: Annotated[float | None, typer.Option("--latency-ms", help="Latency budget in milliseconds.")] = None,
    instructions: Annotated[int | None, typer.Option("--instructions", help="Instruction budget.")] = None,
    min_accuracy: Annotated[float | None, typer.Option("--min-accuracy", help="Floor of the task's metric.")] = None,
) -> None:
    """Budgets that are judged by running the network, and so only where that is done."""


def _target_flags(
    emulate: Annotated[bool, typer.Option("--emulate", help="Run the same firmware in the emulator.")] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="Emulator: unicorn runs the very ELF that is flashed, qemu a build for its own Cortex-M7 board.",
            click_type=click.Choice(["unicorn", "qemu"]),
        ),
    ] = "unicorn",
    port: Port = None,
) -> None:
    """The flags that make a `Target`."""


_OVERRIDES = {
    "board": "board",
    "weights": "model.weights",
    "name": "model.name",
    "input_shape": "model.input_shape",
    "trust_model": "model.trust",
    "data": "data.source",
    "calibration": "data.calibration",
    "samples": "deploy.samples",
    "rounding": "quantize.rounding",
    "ram": "budget.ram_bytes",
    "flash": "budget.flash_bytes",
    "schedule": "plan.schedule",
    "feed": "plan.feed",
    "toolchain": "build.toolchain",
    "seed": "seed",
    "latency_ms": "budget.latency_ms",
    "instructions": "budget.instructions",
    "min_accuracy": "budget.min_accuracy",
}


def with_settings(
    *,
    demo: bool = False,
    flags: Callable[..., None] | None = None,
    settings: Mapping[str, str] | None = None,
    limits: bool = False,
    compress: bool = False,
    target: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command all setting flags; it gets the resulting `config` as its first argument.

    `flags` declares more of them, which `settings` names as `_OVERRIDES` does. With `demo` the built-in recipe stands
    in for a missing model; with `limits` there are flags for latency, instructions and accuracy; with `compress` the
    [compress] table is there even where the recipe leaves it out; with `target` the command has the flags that choose
    what runs the firmware, and gets them as `target`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = _parameters(_setting_flags) + (_parameters(_limit_flags) if limits else [])
        shared += _parameters(flags) if flags else []
        chosen = _parameters(_target_flags) if target else []
        own = [p for p in _parameters(command) if p.name not in ("config", "target")]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            values = {p.name: given.pop(p.name) for p in shared}
            if target:
                from tinycompress.pipeline.target import Target

                given["target"] = Target(**{p.name: given.pop(p.name) for p in chosen})
            command(config=_config(values, {**_OVERRIDES, **(settings or {})}, demo=demo, compress=compress), **given)

        every = [*shared, *chosen, *own]
        wrapper.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in every}
        return wrapper

    return decorate


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """Keyword parameters with their annotations evaluated (types of `config` and `target` are not needed)."""
    namespace = {**vars(sys.modules[function.__module__]), "Config": object, "Target": object}
    found = []
    for parameter in inspect.signature(function).parameters.values():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = typing.get_type_hints(
                type("_", (), {"__annotations__": {"x": annotation}}), namespace, include_extras=True
            )["x"]
        found.append(parameter.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY))
    return found


def _config(flags: Mapping[str, Any], names: Mapping[str, str], *, demo: bool, compress: bool) -> Config:
    """The configuration in force.

    Without a recipe and a model: ./tinycompress.toml when there is one, else (with `demo`) the built-in demo recipe,
    which is said on stderr.
    """
    from tinycompress.config import DEMO_RECIPE, load_config

    source = flags["model"] or flags["model_option"]
    recipe, default = flags["recipe"], Path("tinycompress.toml")
    if recipe is None and source is None:
        if default.exists():
            recipe = default
        elif demo:
            recipe = DEMO_RECIPE
            print("no MODEL and no ./tinycompress.toml: running the built-in MNIST demo recipe", file=sys.stderr)
    given = {flag: flags[flag] for flag in names if flags.get(flag) is not None and flags[flag] is not False}
    overrides = {names[flag]: value for flag, value in given.items()}
    called = {names[flag]: _flag(flag) for flag in given}
    config = load_config(recipe, {**overrides, "model.source": source}, flags=called)
    said = {_flag(flag): value if value is True else str(value) for flag, value in given.items()}
    said |= {"--recipe": str(recipe)} if flags["recipe"] is not None else {}
    config = config.saying(said if source is None else {"": source, **said})
    return config.model_copy(update={"compress": {}}) if compress and config.compress is None else config


def _flag(name: str) -> str:
    """How the command line calls the parameter `name`."""
    return "--" + name.replace("_", "-")


def show_config(config: Config) -> None:
    """Every setting with its value as one JSON document; ConfigError when a part of it is wrong."""
    from tinycompress.pipeline.settings import full_config

    print_json(full_config(config))


@contextlib.contextmanager
def open_pipeline(config: Config, run: Path | None, fresh: bool) -> Iterator[Pipeline]:
    """A pipeline over the run directory, with progress on stderr."""
    from tinycompress.pipeline import Pipeline

    progress = ProgressLine()
    try:
        with Pipeline.open(config, run, fresh=fresh, progress=progress) as pipeline:
            yield pipeline
    finally:
        progress.close()


def emit(json: bool, value: Any, lines: list[str]) -> None:
    """A result: one JSON document, or lines for people."""
    if json:
        from tinycompress.codec import encode

        print_json(encode(value))
        return
    for line in lines:
        say(line)
