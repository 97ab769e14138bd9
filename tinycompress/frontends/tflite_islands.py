"""Float functions between a Dequantize and a Quantize, left where TFLite has no int8 kernel: tables of what they do."""

from __future__ import annotations

from dataclasses import replace

from tinycompress.execute.tflite_tables import between_table
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import DType, Tensor


def with_tables(graph: Graph) -> Graph:
    """`graph` with each int8 → Dequantize → function → Quantize → int8 as one Table of what the three compute."""
    tensors, ops = dict(graph.tensors), list(graph.ops)
    producers = {n: op for op in ops for n in op.outputs}
    for position, last in enumerate(ops):
        function = producers.get(last.inputs[0]) if isinstance(last, o.Quantize) else None
        first = producers.get(function.inputs[0]) if isinstance(function, o.Table) else None
        if not isinstance(function, o.Table) or not isinstance(first, o.Dequantize):
            continue
        x, y = tensors[first.inputs[0]], tensors[last.output]
        if x.dtype is not DType.INT8 or y.dtype is not DType.INT8:
            continue
        name = f"{function.name}_{last.name}_table"
        data = between_table(function.function, x.quantization, y.quantization, function.alpha)
        tensors[name] = Tensor(name, data.shape, DType.INT8, None, data)
        ops[position] = replace(function, inputs=first.inputs, outputs=last.outputs, table=name, name=last.name)
    return _without_unread(replace(graph, tensors=tensors), ops) if ops != list(graph.ops) else graph


def _without_unread(graph: Graph, ops: list[o.Op]) -> Graph:
    """The graph with these operators, less the float ones that nobody reads any more."""
    read = {*graph.outputs, *(s.write for s in graph.states)}
    kept: list[o.Op] = []
    for op in reversed(ops):
        is_float = any(graph.tensors[n].dtype is DType.FLOAT32 for n in op.outputs)
        if not is_float or any(n in read for n in op.outputs):
            kept.append(op)
            read.update(op.inputs)
    return graph.with_ops(reversed(kept))
