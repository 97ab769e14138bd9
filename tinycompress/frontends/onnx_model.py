"""ONNX front end: a `.onnx` file becomes a Graph (float) or a QuantGraph (QDQ or QOperator).

The file is data: nothing in it is executed, no other file is read unless that is asked for, and everything it claims is
checked first (`limits`, `onnx_file`).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends import limits
from tinycompress.frontends.batch_axis import placed, without_batch
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.cut import rename_tensors
from tinycompress.frontends.names import safe_name, source_name
from tinycompress.frontends.onnx_call import Call, Handler, Operand, Result, batch_error
from tinycompress.frontends.onnx_constants import FOLDERS, fold
from tinycompress.frontends.onnx_file import DOMAINS, OnnxFile, OnnxInput, OnnxNode, parse
from tinycompress.frontends.onnx_integer import integer_graph
from tinycompress.frontends.onnx_ops import ADVICE, HANDLERS
from tinycompress.frontends.onnx_patterns import joined
from tinycompress.frontends.onnx_quantized import QUANTIZED_HANDLERS, QuantizedNodes
from tinycompress.frontends.onnx_recurrent import handler_for, is_index_input, reads_sequences, sequence_batch
from tinycompress.frontends.values import Value
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import DType
from tinycompress.ir.verify import verify

PARSER_ERRORS = (DecodeError, struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)
"""What protobuf and numpy raise on bytes or shapes that make no sense."""

DEFAULT_FIX = "write this node differently in the source model; `tinycompress ops` lists what is supported"


def load_onnx(path: str | Path, *, external_data: bool = False) -> Graph | QuantGraph:
    """The network in an ONNX file: a QuantGraph when it is quantized (QDQ or QOperator), else a Graph.

    `external_data` lets weights lie in regular files of the model's own directory. Raises ModelError TC-M30x (not
    importable), UnsupportedOpError TC-M304 (every unsupported operator at once) and the TC-M60x limits.
    """
    path = Path(path)
    directory = path.parent if external_data else None
    return import_onnx(limits.read_model_bytes(path), path.stem, str(path), directory)


def import_onnx(data: bytes, name: str, where: str = "<bytes>", directory: Path | None = None) -> Graph | QuantGraph:
    """As `load_onnx`, from bytes; `name` becomes the graph's name, `where` is used in messages."""
    limits.check_file_bytes(len(data), where)
    try:
        # Values that overflow become infinite and are then refused with the tensor's name.
        with np.errstate(all="ignore"):
            graph = _Importer(joined(parse(data, where, directory)), safe_name(name, "model"), where).graph()
    except PARSER_ERRORS as error:
        raise ModelError(
            "TC-M301",
            f"the file is damaged or contradicts itself: {type(error).__name__}: {error}",
            where=where,
            fix="export the file again",
        ) from error
    limits.check_activations(graph)
    return graph if isinstance(graph, QuantGraph) else verify(graph)


class _Importer:
    """Runs the handlers in file order; collects unsupported nodes so that all are reported at once."""

    def __init__(self, file: OnnxFile, name: str, where: str) -> None:
        self.file, self._notes = without_choice(file)
        self.where = where
        self.builder = ChannelsFirstBuilder(name)
        self.quantized = QuantizedNodes()
        self.values: dict[str, Operand] = dict(file.constants)
        self.problems: list[UnsupportedOpError] = []
        self._computed_bytes = 0

    def graph(self) -> Graph | QuantGraph:
        """The converted network."""
        for value in self.file.inputs:
            self.values[value.name] = self._input(value)
        for node in live_nodes(self.file):
            self._convert(node)
        self._raise_problems()
        outputs = [self.values[name] for name in self.file.outputs]
        values = [v for v in outputs if isinstance(v, Value)]
        if len(values) != len(outputs):
            names = [
                source_name(n) for n, v in zip(self.file.outputs, outputs, strict=True) if not isinstance(v, Value)
            ]
            what = f"an output does not depend on the input: {', '.join(names)}"
            raise ModelError("TC-M306", what, where=self.where, fix="remove it from the model's outputs")
        kept = [without_batch(v) for v in values]
        if not all(kept):
            shapes = [list(v.shape) for v, k in zip(values, kept, strict=True) if k is None]
            raise batch_error(f"outputs of shapes {shapes} have no batch axis of 1")
        graph = self.builder.graph([v for v in kept if v is not None])
        if self.quantized.is_used:
            q = self.quantized
            graph = integer_graph(graph, q)
        graph = replace(graph, notes=(*graph.notes, *self._notes))
        return _with_output_names(graph, self.file.outputs)

    def _input(self, value: OnnxInput) -> Value:
        where = f"input {source_name(value.name)!r}"
        readers = self._readers(value.name)
        is_index = value.type_name in ("INT32", "INT64") and is_index_input(readers, value.name)
        if value.type_name not in (*_REAL, "UINT8", "INT8") and not is_index:
            fix = "use float, int8 or uint8 inputs (integers of other types only as indices of a lookup)"
            raise ModelError("TC-M305", f"its element type {value.type_name} is not supported", where=where, fix=fix)
        batch = sequence_batch(value.shape, readers)
        if batch:
            value = replace(value, shape=(value.shape[1], value.shape[0], value.shape[2]))
        if not value.shape or value.shape[0] not in (None, 0, 1):
            raise ModelError(
                "TC-M303",
                f"its shape {list(value.shape)} has no batch of 1 in front",
                where=where,
                fix="export for batch size 1, or with a symbolic batch dimension",
            )
        if len(value.shape) < 2 or any(d is None for d in value.shape[1:]):
            raise ModelError(
                "TC-M303",
                f"its shape {[d if d is not None else '?' for d in value.shape]} is not fixed",
                where=where,
                fix="export with static shapes (only the batch may be symbolic)",
            )
        self.builder.at(value.name)
        shape = tuple(int(d) for d in value.shape[1:] if d is not None)
        is_plain = self._is_plain(value.name, len(shape))
        dtype = DType.INT32 if is_index else DType.FLOAT32
        found = self.builder.input(value.name, shape, is_plain=is_plain, dtype=dtype)
        if batch:
            found = placed(self.builder.reshape(found, (shape[0], 1, shape[1])), 1)
        if value.type_name not in _REAL and not is_index:
            self.quantized.integer_input(value.name, found, value.type_name)
        return found

    def _is_plain(self, name: str, rank: int) -> bool:
        """Whether an input is channels-last already: its only use moves the channels forward, or one works on rows."""
        users = self._readers(name)
        if rank < 2 or not users:
            return False
        if all(n.kind == "Transpose" and (n.get("perm") or [])[:2] == [0, rank] for n in users):
            return True
        kinds = {n.kind for n in users}
        works_on_rows = any(n.kind in _BY_ROWS or reads_sequences(n) for n in users)
        return rank == 2 and works_on_rows and not kinds.intersection(_BY_CHANNELS)

    def _readers(self, name: str) -> list[OnnxNode]:
        """The nodes that compute with a tensor, looking through those that only quantize or rename it."""
        found: list[OnnxNode] = []
        names = {name}
        for node in self.file.nodes:
            if not names.intersection(node.inputs):
                continue
            if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast"):
                names.update(node.outputs)
            elif node.kind != "Shape":
                found.append(node)
        return found

    def _convert(self, node: OnnxNode) -> None:
        operands = tuple(self.values[n] if n else None for n in node.inputs)
        try:
            if any(n and self.values[n] is _FAILED for n in node.inputs):
                _require_known(node)
                self._fail(node)
                return
            result = self._result(node, operands)
        except UnsupportedOpError as problem:
            where = problem.where or node.label()
            fix = problem.fix or DEFAULT_FIX
            self.problems.append(UnsupportedOpError("TC-M304", problem.what, where=where, fix=fix))
            self._fail(node)
            return
        except ModelError as error:
            if error.where:
                raise
            fix = error.fix or "export the source model again, or remove this node from it"
            raise type(error)(error.code, error.what, where=node.label(), fix=fix) from error
        results = result if isinstance(result, list) else [result]
        for name, value in zip(node.outputs, results, strict=False):
            self.values[name] = value

    def _result(self, node: OnnxNode, operands: tuple[Operand | None, ...]) -> Result:
        present = [v for v in operands if v is not None]
        if not any(isinstance(v, Value) for v in present) and node.kind != "DequantizeLinear":
            constant = fold(node, [v for v in present if not isinstance(v, Value)])
            if constant is not None:
                self._computed_bytes += constant.nbytes
                limits.check_constant_bytes(self._computed_bytes, node.label())
                self.quantized.note_folded(node)
                return constant
        _require_known(node)
        self.builder.at(node.name or f"{node.kind}_{node.index}", node.name)
        call = Call(node, self.file.opset, operands, self.quantized.constants)
        if node.kind in QUANTIZED_HANDLERS:
            return QUANTIZED_HANDLERS[node.kind](self.quantized, self.builder, call)
        first = len(self.builder.ops)
        call = self.quantized.on_real_values(call)
        result = handler_for(call, _handler(call.node))(self.builder, call)
        self.quantized.note_constants(self.builder, call, first)
        self.quantized.note_exact(node)
        return result

    def _fail(self, node: OnnxNode) -> None:
        for name in node.outputs:
            self.values[name] = _FAILED

    def _raise_problems(self) -> None:
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise self.problems[0]
        listed = "; ".join(f"{p.where}: {p.what}" for p in self.problems)
        fixes = dict.fromkeys(p.fix for p in self.problems if p.fix)
        what = f"{len(self.problems)} operators cannot be imported: {listed}"
        raise UnsupportedOpError("TC-M304", what, where=self.where, fix="; ".join(fixes))


_REAL = ("FLOAT", "FLOAT16", "DOUBLE")
"""Element types of inputs that are real numbers: all are computed in float32."""

_BY_ROWS = ("MatMul", "Gemm", "LayerNormalization")
_BY_CHANNELS = ("Conv", "MaxPool", "AveragePool", "BatchNormalization")
"""Readers of an input `[1, a, b]` that say which of its axes has the channels: the last, or the first."""

_SPARE_OUTPUTS = ("Dropout", "MaxPool")
"""Nodes whose further outputs may be left out without changing the first."""

_BEHIND_CHOICE = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten")


def without_choice(file: OnnxFile) -> tuple[OnnxFile, list[str]]:
    """The file with the values that a final ArgMax chooses from as outputs, and a note of each: the caller chooses."""
    makers = {name: node for node in file.nodes for name in node.outputs}
    outputs: list[str] = []
    notes: list[str] = []
    for name in file.outputs:
        node = makers.get(name)
        while node is not None and node.kind in _BEHIND_CHOICE and node.inputs:
            node = makers.get(node.inputs[0])
        if node is not None and node.kind == "ArgMax" and node.inputs[:1] and node.inputs[0] in makers:
            name = node.inputs[0]
            notes.append(f"{node.label()} is left to the caller: the output is what it chooses from")
        if name not in outputs or not notes:
            outputs.append(name)
    return replace(file, outputs=tuple(outputs)), notes


def live_nodes(file: OnnxFile) -> list[OnnxNode]:
    """The nodes that outputs depend on, without outputs that nobody reads."""
    wanted = set(file.outputs)
    nodes: list[OnnxNode] = []
    for node in reversed(file.nodes):
        if wanted.intersection(node.outputs):
            if node.kind in _SPARE_OUTPUTS and not wanted.intersection(node.outputs[1:]):
                node = replace(node, outputs=node.outputs[:1])
            wanted.update(node.inputs)
            nodes.append(node)
    return nodes[::-1]


_FAILED: Operand = np.zeros(0)
"""Stands for the outputs of a node that could not be converted, so that the rest of the file is still looked at."""


def _require_known(node: OnnxNode) -> None:
    """Raise UnsupportedOpError when no operand whatever could make the node importable."""
    if node.domain not in DOMAINS:
        raise UnsupportedOpError("TC-M304", f"{node.domain}.{node.kind} is not supported", where=node.label())
    if node.kind not in QUANTIZED_HANDLERS and node.kind not in FOLDERS:
        _handler(node)


def _handler(node: OnnxNode) -> Handler:
    handler = HANDLERS.get(node.kind)
    if handler is None or node.domain == "com.microsoft":
        advice = ADVICE.get(node.kind, DEFAULT_FIX)
        raise UnsupportedOpError("TC-M304", f"{node.kind} is not supported", where=node.label(), fix=advice)
    return handler


def _with_output_names(graph: Graph, names: tuple[str, ...]) -> Graph:
    """Outputs take the user's names where those are free and none was cut off or merged."""
    if len(graph.outputs) != len(names):
        return graph
    wanted: dict[str, str] = {}
    for tensor, name in zip(graph.outputs, names, strict=True):
        new = safe_name(name, "output")
        if new not in graph.tensors and new not in wanted.values() and tensor not in graph.input_names:
            wanted[tensor] = new
    return rename_tensors(graph, wanted)
