"""TFLite front end: a `.tflite` file becomes a QuantGraph (int8 models) or a Graph (float models).

The file is data: nothing in it is executed, and everything it claims is checked first (`limits`, `tflite_file`).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends import limits
from tinycompress.frontends.cut import cut_float_edges, has_integer_core, require_float
from tinycompress.frontends.names import safe_name
from tinycompress.frontends.tflite_dilated import convert_dilated, dilated_convolutions
from tinycompress.frontends.tflite_file import TfliteFile, parse
from tinycompress.frontends.tflite_fold import fold
from tinycompress.frontends.tflite_graph import GraphBuilder
from tinycompress.frontends.tflite_islands import with_tables
from tinycompress.frontends.tflite_ops import CONVERTERS
from tinycompress.frontends.tflite_recurrent import check_batch_axes, time_major_tensors
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph
from tinycompress.ir.verify import to_quant_graph, verify

PARSER_ERRORS = (struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)
"""What the flatbuffer package and numpy raise on bytes that are not a flatbuffer."""

_LAYOUTS = {1: "C", 2: "TC", 3: "HWC"}


def load_tflite(path: str | Path) -> Graph | QuantGraph:
    """The network in a TFLite file: a QuantGraph when it computes on integers, else a Graph.

    Float edges around an integer core are cut (see `cut`) and noted. Raises ModelError TC-M20x (not importable),
    UnsupportedOpError TC-M202/TC-M204 (every unsupported operator at once) and the TC-M60x limits.
    """
    path = Path(path)
    return import_tflite(limits.read_model_bytes(path), path.stem, str(path))


def import_tflite(data: bytes, name: str, where: str = "<bytes>") -> Graph | QuantGraph:
    """As `load_tflite`, from bytes; `name` becomes the graph's name, `where` is used in messages."""
    limits.check_file_bytes(len(data), where)
    try:
        # Values that overflow become infinite and are then refused with the tensor's name.
        with np.errstate(all="ignore"):
            graph = _convert(parse(data, where), safe_name(name, "model"), where)
    except PARSER_ERRORS as error:
        raise ModelError(
            "TC-M201",
            f"the flatbuffer is damaged: {type(error).__name__}: {error}",
            where=where,
            fix="export or download the file again",
        ) from error
    limits.check_activations(graph)
    graph = with_tables(verify(graph))
    if has_integer_core(graph):
        return to_quant_graph(cut_float_edges(graph))
    require_float(graph)
    return graph


def _convert(file: TfliteFile, name: str, where: str) -> Graph:
    builder = GraphBuilder(file, time_major_tensors(file))
    problems: list[UnsupportedOpError] = []
    for index in file.inputs:
        builder.activation(index)
    dilated, taken = dilated_convolutions(file)
    for op in file.operators:
        if op.index in taken:
            continue
        converter = CONVERTERS.get(op.kind)
        try:
            if fold(builder, op):
                continue
            if op.index in dilated:
                convert_dilated(builder, dilated[op.index])
                continue
            if converter is None:
                raise UnsupportedOpError("TC-M202", f"{op.kind} is not supported", where=op.label())
            check_batch_axes(builder, op)
            converter(builder, op)
        except UnsupportedOpError as problem:
            problems.append(problem)
            for position in range(len(op.outputs)):
                builder.output(op, position)
        except ModelError:
            _raise_all(problems, where)
            raise
    _raise_all(problems, where)
    inputs = tuple(
        GraphInput(
            builder.activation(index),
            _LAYOUTS.get(len(builder.shape(index)), ""),
            file.tensors[index].type_name.lower(),
        )
        for index in file.inputs
    )
    return Graph(
        name=name,
        inputs=inputs,
        outputs=tuple(builder.activation(index) for index in file.outputs),
        tensors=builder.tensors,
        ops=tuple(builder.ops),
        states=tuple(builder.states),
        notes=tuple(builder.notes),
    )


def _raise_all(problems: list[UnsupportedOpError], where: str) -> None:
    """One error that lists every operator that could not be imported."""
    if not problems:
        return
    if len(problems) == 1:
        raise problems[0]
    listed = "; ".join(f"{p.where}: {p.what}" for p in problems)
    fixes = dict.fromkeys(p.fix for p in problems if p.fix)
    raise UnsupportedOpError(
        "TC-M202",
        f"{len(problems)} operators cannot be imported: {listed}",
        where=where,
        fix="; ".join(fixes) or "`tinycompress ops` lists what is supported",
    )
