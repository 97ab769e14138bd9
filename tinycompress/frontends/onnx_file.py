"""Reads an ONNX protobuf into plain records, every count, shape and byte range checked before use.

Nothing here knows what an operator means; `onnx_ops` does. The library's checker and shape inference are not run:
they are written for trusted models, and refuse files that import well.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto

from tinycompress.errors import ModelError, UnsafeModelError, UnsupportedOpError
from tinycompress.frontends import limits
from tinycompress.frontends.names import source_name
from tinycompress.ir.tensor import Array

OLDEST_OPSET, NEWEST_OPSET = 7, 25
DOMAINS = ("", "ai.onnx", "com.microsoft")

_TYPES: dict[int, tuple[Any, str]] = {
    TensorProto.FLOAT: (np.float32, "float_data"),
    TensorProto.DOUBLE: (np.float64, "double_data"),
    TensorProto.FLOAT16: (np.float16, "int32_data"),
    TensorProto.INT8: (np.int8, "int32_data"),
    TensorProto.UINT8: (np.uint8, "int32_data"),
    TensorProto.INT16: (np.int16, "int32_data"),
    TensorProto.UINT16: (np.uint16, "int32_data"),
    TensorProto.INT32: (np.int32, "int32_data"),
    TensorProto.INT64: (np.int64, "int64_data"),
    TensorProto.BOOL: (np.bool_, "int32_data"),
}
"""Element types that can be read, and the field that holds values that are not raw."""

TYPE_NAMES = {v: k for k, v in TensorProto.DataType.items()}


@dataclass(frozen=True, eq=False)
class OnnxInput:
    """A graph input: shape with batch (None for a symbolic dimension) and element type."""

    name: str
    shape: tuple[int | None, ...]
    type_name: str


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One operator: attributes as Python numbers, strings, lists and arrays; an absent optional input is ''."""

    index: int
    kind: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def label(self) -> str:
        return f"{self.name or self.index} ({self.kind})"

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """The main graph of a file, its opset, and constants by name."""

    opset: int
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Array]


def parse(data: bytes, where: str, directory: Path | None = None) -> OnnxFile:
    """The records of an ONNX file; `directory` allows external data from regular files inside it.

    Raises ModelError TC-M301 (not ONNX), TC-M306 (inconsistent), TC-M608 (external data) and the TC-M60x limits.
    Bytes that make the parser itself fail raise its exceptions, which `onnx_model.import_onnx` maps to TC-M301.
    """
    model = onnx.ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    if not graph.node or not graph.output:
        raise ModelError("TC-M301", "this is not an ONNX model: it has no nodes or no outputs", where=where)
    limits.check_count("operators", len(graph.node), limits.MAX_OPERATORS, where)
    limits.check_count("initializers", len(graph.initializer), limits.MAX_TENSORS, where)
    limits.check_count("inputs", len(graph.input), limits.MAX_TENSORS, where)
    nodes = tuple(_node(node, index) for index, node in enumerate(graph.node))
    limits.refuse_control_flow([n.label() for n in nodes if n.kind in ("If", "Loop", "Scan")], where)
    if model.functions or graph.sparse_initializer:
        raise UnsupportedOpError("TC-M304", "local functions and sparse weights are not supported", where=where)
    reader = _Reader(directory)
    constants = {t.name: reader.array(t, f"initializer {source_name(t.name)!r}") for t in graph.initializer}
    inputs = tuple(_input(value) for value in graph.input if value.name not in constants)
    _check_names(nodes, {*constants, *(i.name for i in inputs)}, [v.name for v in graph.output], where)
    return OnnxFile(_opset(model, where), inputs, tuple(v.name for v in graph.output), nodes, constants)


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that it says hold its weights; empty when it cannot be read."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(limits.read_model_bytes(path))
    except (DecodeError, ModelError):
        return ()
    entries = [e for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL for e in t.external_data]
    named = sorted({e.value for e in entries if e.key == "location" and "\x00" not in e.value})
    return tuple(path.parent / name for name in named)


def _opset(model: Any, where: str) -> int:
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise ModelError(
            "TC-M302",
            f"opset {version} is outside {OLDEST_OPSET}..{NEWEST_OPSET}",
            where=where,
            fix="export with opset_version=17",
        )
    return version


def _node(node: Any, index: int) -> OnnxNode:
    where = f"{source_name(node.name) or index} ({source_name(node.op_type)})"
    limits.check_count("inputs", len(node.input), 1024, where)
    limits.check_count("outputs", len(node.output), 1024, where)
    limits.check_count("attributes", len(node.attribute), 1024, where)
    attributes = {a.name: _attribute(a, where) for a in node.attribute}
    return OnnxNode(
        index,
        source_name(node.op_type),
        source_name(node.domain),
        source_name(node.name),
        tuple(node.input),
        tuple(node.output),
        attributes,
    )


def _attribute(attribute: Any, where: str) -> Any:
    readers: dict[int, Any] = {
        AttributeProto.FLOAT: lambda a: float(a.f),
        AttributeProto.INT: lambda a: int(a.i),
        AttributeProto.STRING: lambda a: _text(a.s),
        AttributeProto.FLOATS: lambda a: [float(v) for v in a.floats],
        AttributeProto.INTS: lambda a: [int(v) for v in a.ints],
        AttributeProto.STRINGS: lambda a: [_text(s) for s in a.strings],
        AttributeProto.TENSOR: lambda a: _Reader(None).array(a.t, where),
    }
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        limits.refuse_control_flow([where], where)
    reader = readers.get(attribute.type)
    if reader is None:
        raise ModelError("TC-M306", f"attribute {source_name(attribute.name)!r} has an unknown type", where=where)
    return reader(attribute)


def _text(data: bytes) -> str:
    """An attribute's string, fit for messages: all that operators define are short words."""
    return source_name(data.decode("utf-8", "replace"))


def _input(value: Any) -> OnnxInput:
    where = f"input {source_name(value.name)!r}"
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelError("TC-M303", "its shape is not given", where=where, fix="export with static shapes")
    dims = value.type.tensor_type.shape.dim
    limits.check_count("dimensions", len(dims), limits.MAX_RANK, where)
    shape = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)
    limits.check_shape([1 if d is None or (i == 0 and d == 0) else d for i, d in enumerate(shape)], where)
    kind = value.type.tensor_type.elem_type
    return OnnxInput(value.name, shape, TYPE_NAMES.get(kind, f"type {kind}"))


def _check_names(nodes: tuple[OnnxNode, ...], known: set[str], outputs: list[str], where: str) -> None:
    """Every tensor is made once, before it is read."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ModelError("TC-M306", f"reads {source_name(name)!r} before it is made", where=node.label())
        for name in node.outputs:
            if name in known:
                raise ModelError("TC-M306", f"makes {source_name(name)!r} a second time", where=node.label())
            if name:
                known.add(name)
    for name in outputs:
        if name not in known:
            raise ModelError("TC-M306", f"output {source_name(name)!r} is never made", where=where)


class _Reader:
    """Decodes tensors; keeps count of all bytes so that no file asks for more than the cap."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._total = 0

    def array(self, tensor: Any, where: str) -> Array:
        """The values of a TensorProto, as many as its shape says."""
        if tensor.data_type not in _TYPES:
            name = TYPE_NAMES.get(tensor.data_type, str(tensor.data_type))
            raise ModelError("TC-M305", f"constants of type {name} are not supported", where=where)
        dtype, field = _TYPES[tensor.data_type]
        shape = _constant_shape(tensor, where)
        elements = int(np.prod(shape, dtype=np.int64))
        size = elements * np.dtype(dtype).itemsize
        self._total += size
        limits.check_constant_bytes(self._total, where)
        if tensor.data_location == TensorProto.EXTERNAL:
            raw = self._external(tensor, size, where)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
        else:
            return self._typed(getattr(tensor, field), dtype, elements, where).reshape(shape)
        limits.check_bytes(len(raw), size, where)
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)

    def _typed(self, values: Any, dtype: Any, elements: int, where: str) -> Array:
        limits.check_bytes(len(values), elements, f"{where} (values)")
        if dtype is np.float16:
            return np.asarray(values, dtype=np.uint16).view(np.float16)
        return np.asarray(values).astype(dtype)

    def _external(self, tensor: Any, size: int, where: str) -> bytes:
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        if self._directory is None:
            raise UnsafeModelError(
                "TC-M608",
                f"keeps its values in another file, {source_name(location)!r}",
                where=where,
                fix="save the model with its weights embedded, or set external_data = true under [model] in the recipe",
            )
        offset = int(entries.get("offset", "0"))
        limits.check_bytes(int(entries.get("length", str(size))), size, where)
        return _read_inside(self._directory, location, offset, size, where)


def _constant_shape(tensor: Any, where: str) -> tuple[int, ...]:
    """The checked shape; empty constants are let through, they are how Resize leaves out its region."""
    limits.check_count("dimensions", len(tensor.dims), limits.MAX_RANK, where)
    if list(tensor.dims) == [0]:
        return (0,)
    return limits.check_shape(tensor.dims, where)


def _read_inside(directory: Path, location: str, offset: int, size: int, where: str) -> bytes:
    """Bytes of a regular file below `directory`, reached without links and without leaving it.

    Each part of the path is opened inside the one before, so nothing can be exchanged between a check and its use.
    """
    parts = Path(location).parts
    shown = source_name(location)
    if not parts or Path(location).is_absolute() or ".." in parts or "\x00" in location:
        raise UnsafeModelError("TC-M608", f"external data at {shown!r} leads elsewhere", where=where)
    inside = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            above, descriptor = descriptor, os.open(part, inside, dir_fd=descriptor)
            os.close(above)
        return _read_regular(descriptor, offset, size, shown, where)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise UnsafeModelError("TC-M608", f"external data {shown!r} is a link", where=where) from error
        raise ModelError("TC-M602", f"cannot read {shown!r}: {error.strerror}", where=where) from error
    finally:
        os.close(descriptor)


def _read_regular(descriptor: int, offset: int, size: int, shown: str, where: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeModelError("TC-M608", f"{shown!r} is not a regular file", where=where)
    if status.st_nlink > 1:
        fix = "copy the file, so that it has one name"
        raise UnsafeModelError("TC-M608", f"external data {shown!r} is a hard link", where=where, fix=fix)
    if offset < 0 or offset + size > status.st_size:
        raise ModelError("TC-M605", f"wants bytes {offset}..{offset + size} of {status.st_size}", where=where)
    return os.pread(descriptor, size, offset)
