"""What a user takes away: the integer network in other formats, and the generated C."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinycompress.emit import Program
from tinycompress.errors import ConfigError
from tinycompress.ir import store
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.rundir import replacing, require_writable, unwritable

SUFFIXES = (".onnx", ".tflite", "")


def require_exportable(path: Path | None) -> None:
    """Raise before the work, as `export` would after it: TC-C131 for a suffix nobody writes, TC-C121 for the place."""
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise _unknown_suffix(path, "anything")
    if path.suffix:
        require_writable(path)


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
            raise _unknown_suffix(path, "this graph")
    except OSError as error:
        raise unwritable(path, error) from error


def _unknown_suffix(path: Path, what: str) -> ConfigError:
    fix = "use .onnx, .tflite (int8) or a folder"
    return ConfigError("TC-C131", f"cannot write {what} as {path.suffix}", where=str(path), fix=fix)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(data)


def copy_program(program: Program, folder: Path) -> Path:
    """Copy the generated files into `folder` (made when absent); files there that are not ours stay."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in program.files:
            shutil.copyfile(program.directory / name, folder / name)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder
