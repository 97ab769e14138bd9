"""Flags shared by several commands, declared once, and the settings they turn into."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinycompress.cli.output import ProgressLine

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.pipeline import Pipeline

ModelArgument = Annotated[
    str | None,
    typer.Argument(help=".onnx, .tflite, a stored graph, or a Python factory pkg.mod:name | file.py:name."),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The same as MODEL.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="State dict for a Python factory (weights only).")]
InputShape = Annotated[str | None, typer.Option("--input-shape", help="Without batch, in your layout: 1,28,28.")]
Data = Annotated[str | None, typer.Option("--data", help="mnist, FILE.npz, a folder of images, or pkg.mod:callable.")]
Calibration = Annotated[
    str | None, typer.Option("--calibration", help="Real inputs for int8: FILE.npz, a folder, or `random`.")
]
BoardOption = Annotated[str | None, typer.Option("--board", help="Target board; `tinycompress boards` lists them.")]
Recipe = Annotated[
    Path | None, typer.Option("--recipe", help="Recipe (default ./tinycompress.toml when there is one).")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
RoundingOption = Annotated[str | None, typer.Option("--rounding", help="double (TFLM, CMSIS-NN) or single (LiteRT).")]
Schedule = Annotated[str | None, typer.Option("--schedule", help="layers, streamed or auto.")]
Toolchain = Annotated[str | None, typer.Option("--toolchain", help="zig or gcc.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Run directory (default runs/<model>-<key>).")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over: ignore what an earlier run left.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Emulate = Annotated[bool, typer.Option("--emulate", help="Run the same firmware in the emulator.")]
Engine = Annotated[str, typer.Option("--engine", help="Emulator: unicorn (the flashed ELF) or qemu (second opinion).")]
Port = Annotated[str | None, typer.Option("--port", help="Serial port of the board (default: found by USB id).")]
Samples = Annotated[int | None, typer.Option("--samples", help="Inputs compared byte by byte (default 20).")]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", help="Inputs to run, FILE.npz with one array per model input.")
]
Outputs = Annotated[Path | None, typer.Option("--outputs", help="Write the target's outputs to FILE.npz.")]
Trust = Annotated[bool, typer.Option("--trust-model", help="Load a file that can run code (.pt2).")]


def settings(recipe: Path | None, *, demo: bool = False, **flags: Any) -> Config:
    """The configuration in force; flag names use `__` for the dot of a setting (`quantize__rounding`).

    Without a recipe and a model: ./tinycompress.toml when there is one, else (with `demo`) the built-in demo recipe,
    which is said on stderr.
    """
    from tinycompress.config import DEMO_RECIPE, load_config

    default = Path("tinycompress.toml")
    if recipe is None and flags.get("model__source") is None:
        if default.exists():
            recipe = default
        elif demo:
            recipe = DEMO_RECIPE
            print("no MODEL and no ./tinycompress.toml: running the built-in MNIST demo recipe", file=sys.stderr)
    return load_config(recipe, {key.replace("__", "."): value for key, value in flags.items()})


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
