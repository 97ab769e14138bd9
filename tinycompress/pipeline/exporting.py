"""What a user takes away: the integer network in other formats, and the generated C."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinycompress.emit import Program
from tinycompress.errors import ConfigError
from tinycompress.ir import store
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.rundir import unwritable


def export(graph: Graph | QuantGraph, path: Path) -> None:
    """Write `graph` as .onnx, .tflite (integer graphs only) or, without a suffix, as a stored graph.

    ConfigError TC-C131 for another suffix.
    """
    try:
        if path.suffix == ".onnx":
            from tinycompress.export import to_onnx

            _write(path, to_onnx(graph))
        elif path.suffix == ".tflite" and isinstance(graph, QuantGraph):
            from tinycompress.export import to_tflite

            _write(path, to_tflite(graph))
        elif path.suffix == "":
            store.save(graph, path)
        else:
            raise ConfigError(
                "TC-C131",
                f"cannot write {path.suffix} of this graph",
                where=str(path),
                fix="use .onnx, .tflite (int8) or a folder",
            )
    except OSError as error:
        raise unwritable(path, error) from error


def _write(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_bytes(data)
    scratch.replace(path)


def copy_program(program: Program, folder: Path) -> Path:
    """Copy the generated files into `folder` (made when absent); files there that are not ours stay."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in program.files:
            shutil.copyfile(program.directory / name, folder / name)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder
