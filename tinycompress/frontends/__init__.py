"""Front ends: where untrusted files and users' modules become graphs. Nothing past this room reads a user's file."""

from __future__ import annotations

from pathlib import Path

from tinycompress.errors import ModelError
from tinycompress.ir.graph import Graph


def load_file(path: str | Path, *, external_data: bool = False) -> Graph:
    """The network in a `.tflite` or `.onnx` file: a QuantGraph when it is quantized, else a Graph.

    The suffix decides; without a known one the first bytes do. `external_data` lets an ONNX file keep its weights in
    regular files of its own directory. Raises ModelError TC-M607 for anything else, and the front ends' errors.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".tflite" or (suffix not in (".onnx",) and _starts_as_tflite(path)):
        from tinycompress.frontends.tflite_model import load_tflite

        return load_tflite(path)
    if suffix == ".onnx":
        from tinycompress.frontends.onnx_model import load_onnx

        return load_onnx(path, external_data=external_data)
    raise ModelError(
        "TC-M607",
        f"{path.name} is neither a .tflite nor an .onnx file",
        where=str(path),
        fix="export the network as ONNX or TFLite, or name a Python factory (file.py:function)",
    )


def _starts_as_tflite(path: Path) -> bool:
    from tinycompress.frontends.limits import read_model_bytes

    return read_model_bytes(path)[4:8] == b"TFL3"
