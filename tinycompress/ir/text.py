"""A graph as text: one line per operator, stable, made for reading and for diffing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tinycompress.codec import encode
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.ops import Activation, Op
from tinycompress.ir.tensor import DType, Tensor

_SHORT = {DType.FLOAT32: "f32", DType.INT8: "i8", DType.INT16: "i16", DType.INT32: "i32", DType.INT64: "i64"}


def graph_text(graph: Graph) -> str:
    """The whole graph: inputs, operators in order with attributes that differ from their defaults, outputs."""
    kind = f"quant_graph rounding={graph.rounding.value}" if isinstance(graph, QuantGraph) else "graph"
    lines = [f"{kind} {graph.name}"]
    lines += [f"  input  {tensor_text(graph.tensors[name])}" for name in graph.input_names]
    lines += [f"  {op_text(op, graph)}" for op in graph.ops]
    lines += [f"  state  {s.read} <- {s.write}" for s in graph.states]
    for name in graph.outputs:
        layout = graph.output_layout(name)
        lines.append(f"  output {name}" + (f" (the model's own is {layout})" if layout else ""))
    lines += [f"  note   {note}" for note in graph.notes]
    return "\n".join(lines) + "\n"


def tensor_text(tensor: Tensor) -> str:
    """``x1: i8[32,32,3] s=0.0039 z=-128``."""
    text = f"{tensor.name}: {_SHORT[tensor.dtype]}[{','.join(map(str, tensor.shape))}]"
    q = tensor.qparams
    if q is None:
        return text
    if q.is_per_tensor:
        return f"{text} s={q.tensor_scale:.6g} z={q.tensor_zero_point}"
    return f"{text} s={min(q.scale):.4g}..{max(q.scale):.4g}/axis{q.axis}"


def op_text(op: Op, graph: Graph) -> str:
    """``y: i8[…] = Conv2D(x, w, b) stride=(2, 2)  # conv1``."""
    operands = ", ".join((*op.inputs, *op.constants()))
    made = ", ".join(tensor_text(graph.tensors[n]) for n in op.outputs)
    attributes = "".join(f" {name}={value}" for name, value in _attributes(op))
    return f"{made} = {op.kind}({operands}){attributes}  # {op.name}"


def _attributes(op: Op) -> list[tuple[str, Any]]:
    shown = []
    for f in fields(op):
        value = getattr(op, f.name)
        if f.name in ("name", "inputs", "outputs", "source") or f.metadata.get("constant") or value == f.default:
            continue
        shown.append((f.name, value if isinstance(value, Activation) else _compact(encode(value))))
    return shown


def _compact(value: Any) -> str:
    return str(value).replace(" ", "")
