"""Graphs on disk: a directory with `graph.json` and `tensors.npz`, byte-stable, written by rename, no pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.codec import CodecError, decode, encode
from tinycompress.errors import ModelError
from tinycompress.folders import replaced_folder
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, Rounding, State
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph, verify
from tinycompress.npz import read_npz

FORMAT_VERSION = 1
MAX_JSON_BYTES = 64 * 1024**2
MAX_TENSOR_BYTES = 1024**3

_OPS = {op.__name__: op for op in o.ALL_OPS}


def graph_json(graph: Graph) -> str:
    """The graph without its data, as stable JSON text."""
    document = {
        "format": FORMAT_VERSION,
        "kind": "quant_graph" if isinstance(graph, QuantGraph) else "graph",
        "rounding": graph.rounding.value if isinstance(graph, QuantGraph) else None,
        "name": graph.name,
        "inputs": encode(graph.inputs),
        "outputs": encode(graph.outputs),
        "states": encode(graph.states),
        "notes": encode(graph.notes),
        **({"output_layouts": encode(graph.output_layouts)} if graph.output_layouts else {}),
        "tensors": [_tensor_json(graph.tensors[name]) for name in sorted(graph.tensors)],
        "ops": [{"kind": op.kind, **encode(op)} for op in graph.ops],
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.value,
        "qparams": encode(tensor.qparams),
        "source": tensor.source,
        "constant": tensor.is_constant,
    }


def _npz_bytes(arrays: dict[str, Array]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for index, name in enumerate(sorted(arrays)):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"t{index}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def graph_bytes(graph: Graph) -> tuple[bytes, bytes]:
    """(graph.json, tensors.npz) as bytes; equal graphs give equal bytes."""
    constants = {n: t.constant for n, t in graph.tensors.items() if t.is_constant}
    return graph_json(graph).encode(), _npz_bytes(constants)


def graph_sha256(graph: Graph) -> str:
    """Hex digest over both files: the identity of a model."""
    digest = hashlib.sha256()
    for part in graph_bytes(graph):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def save(graph: Graph, directory: Path) -> Path:
    """Write the graph into `directory` (replaced as a whole, by rename) and return it."""
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    text, tensors = graph_bytes(graph)
    with replaced_folder(directory, ".") as scratch:
        (scratch / "graph.json").write_bytes(text)
        (scratch / "tensors.npz").write_bytes(tensors)
    return directory


def load(directory: Path) -> Graph | QuantGraph:
    """Read a graph that `save` wrote, verified. ModelError TC-M007 when it is damaged or of another version."""
    directory = Path(directory)
    where = str(directory)
    try:
        document = _read_json(directory / "graph.json")
        arrays = _read_arrays(directory / "tensors.npz", [t["name"] for t in document["tensors"] if t["constant"]])
        graph = _build(document, arrays)
    except FileNotFoundError as error:
        raise ModelError("TC-M007", f"no stored graph: {error.filename} is missing", where=where) from None
    except (CodecError, KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(
            "TC-M007", f"stored graph is damaged: {error}", where=where, fix="delete it and run the stage again"
        ) from error
    if document["kind"] == "quant_graph":
        return to_quant_graph(graph, Rounding(document["rounding"]))
    return verify(graph)


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_JSON_BYTES} B")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT_VERSION:
        version = document.get("format") if isinstance(document, dict) else None
        raise ValueError(f"format {version!r}, this version reads {FORMAT_VERSION}")
    return document


def _read_arrays(path: Path, names: list[str]) -> dict[str, Array]:
    found = read_npz(path, max_bytes=MAX_TENSOR_BYTES)
    return {name: found[f"t{index}"] for index, name in enumerate(sorted(names))}


def _build(document: dict[str, Any], arrays: dict[str, Array]) -> Graph:
    tensors = {}
    for item in document["tensors"]:
        name = decode(str, item["name"])
        tensors[name] = Tensor(
            name=name,
            shape=decode(tuple[int, ...], item["shape"]),
            dtype=decode(DType, item["dtype"]),
            qparams=decode(QParams | None, item["qparams"]),
            data=arrays.get(name),
            source=decode(str, item["source"]),
        )
    ops = []
    for item in document["ops"]:
        values = dict(item)
        kind = values.pop("kind")
        if kind not in _OPS:
            raise ValueError(f"unknown operator {kind!r}")
        ops.append(decode(_OPS[kind], values, f"$.ops.{values.get('name')}"))
    return Graph(
        name=decode(str, document["name"]),
        inputs=decode(tuple[GraphInput, ...], document["inputs"]),
        outputs=decode(tuple[str, ...], document["outputs"]),
        tensors=tensors,
        ops=tuple(ops),
        states=decode(tuple[State, ...], document["states"]),
        notes=decode(tuple[str, ...], document["notes"]),
        output_layouts=decode(tuple[str, ...], document.get("output_layouts", [])),
    )
