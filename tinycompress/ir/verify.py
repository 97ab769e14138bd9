"""Structural checks of a graph, and the gate from Graph to QuantGraph."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, Tensor

FLOAT_ONLY: tuple[type[o.Op], ...] = (o.BatchNorm, o.Dropout, o.Dequantize)


def verify(graph: Graph) -> Graph:
    """The graph itself, once every name resolves, every op follows its producers, and every shape is the inferred one.

    Raises ModelError TC-M001 (structure), TC-M002/3 (shapes) or TC-M004 (non-finite constants), naming the node.
    """
    ready = {*graph.input_names, *(s.read for s in graph.states)}
    ready.update(n for n, t in graph.tensors.items() if t.is_constant)
    names: set[str] = set()
    for op in graph.ops:
        if op.name in names:
            raise ModelError("TC-M001", f"two operators are named {op.name!r}", where=op.name)
        names.add(op.name)
        for name in (*op.inputs, *op.outputs, *op.constants()):
            if name not in graph.tensors:
                raise ModelError("TC-M001", f"tensor {name!r} does not exist", where=op.name)
        for name in (*op.inputs, *op.constants()):
            if name not in ready:
                raise ModelError("TC-M001", f"tensor {name!r} is read before it is made", where=op.name)
        for name, shape in zip(op.outputs, infer(op, graph.tensors), strict=True):
            if graph.tensors[name].shape != shape:
                declared = list(graph.tensors[name].shape)
                raise ModelError(
                    "TC-M002", f"output {name!r} is declared {declared}, computed {list(shape)}", where=op.name
                )
            if name in ready:
                raise ModelError("TC-M001", f"tensor {name!r} is made twice", where=op.name)
            ready.add(name)
    for name in (*graph.outputs, *(s.write for s in graph.states)):
        if name not in ready:
            raise ModelError("TC-M001", f"output {name!r} is never made", where=graph.name)
    for tensor in graph.tensors.values():
        _verify_constant(tensor, graph)
    return graph


def _verify_constant(tensor: Tensor, graph: Graph) -> None:
    if tensor.data is None or tensor.dtype is not DType.FLOAT32 or np.isfinite(tensor.data).all():
        return
    users = ", ".join(op.name for op in graph.consumers(tensor.name)) or graph.name
    bad = int(np.count_nonzero(~np.isfinite(tensor.data)))
    raise ModelError(
        "TC-M004",
        f"{bad} of {tensor.elements} values of {tensor.source or tensor.name!r} are NaN or infinite",
        where=users,
        fix="retrain or restore the weights from an earlier checkpoint",
    )


def to_quant_graph(graph: Graph, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
    """`graph` as a QuantGraph, when it is integer-only: every activation int8/int16/int32 with per-tensor parameters.

    Raises UnsupportedOpError TC-M005 naming every operator that is still float, ModelError TC-M006 for a tensor without
    quantization parameters.
    """
    verify(graph)
    floats = [op for op in graph.ops if isinstance(op, FLOAT_ONLY) or _touches_float(op, graph)]
    if floats:
        listed = ", ".join(f"{op.name} ({op.kind})" for op in floats)
        raise UnsupportedOpError(
            "TC-M005",
            f"{len(floats)} operators are still float: {listed}",
            fix="quantize the graph with calibration data",
        )
    for op in graph.ops:
        for name in (*op.inputs, *op.outputs):
            tensor = graph.tensors[name]
            if tensor.dtype is not DType.INT32 and (tensor.qparams is None or not tensor.qparams.is_per_tensor):
                raise ModelError("TC-M006", f"activation {name!r} has no per-tensor quantization", where=op.name)
    values = {f.name: getattr(graph, f.name) for f in fields(Graph) if f.init}
    if isinstance(graph, QuantGraph):
        return replace(graph, rounding=rounding)
    return QuantGraph(**values, rounding=rounding)


def _touches_float(op: o.Op, graph: Graph) -> bool:
    return any(graph.tensors[n].dtype is DType.FLOAT32 for n in (*op.inputs, *op.outputs, *op.constants()))
