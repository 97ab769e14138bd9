"""Operators, tensors and preprocessing in words, for comments."""

from __future__ import annotations

from tinycompress.cost.macs import graph_shapes, op_macs
from tinycompress.ir import ops as o
from tinycompress.ir.graph import GraphInput, QuantGraph
from tinycompress.ir.tensor import Tensor
from tinycompress.plan.model import LayerPlan


def shape_text(tensor: Tensor) -> str:
    """``[32,32,3]``."""
    return "[" + ",".join(map(str, tensor.shape)) + "]"


def operator_text(op: o.Op, graph: QuantGraph) -> str:
    """``Conv2D 3x3 s2 p1 + ReLU``: kind, window, stride, padding, fused activation where there are any."""
    words = [op.kind]
    if isinstance(op, o.Conv2D):
        _, kh, kw, _ = graph.tensors[op.weights].shape
        words += _window(kh, kw, op.stride, op.padding, op.dilation)
        words += [f"g{op.groups}"] if op.groups > 1 else []
    elif isinstance(op, o.DepthwiseConv2D):
        kh, kw, _ = graph.tensors[op.weights].shape
        words += _window(kh, kw, op.stride, op.padding, op.dilation)
    elif isinstance(op, o.AveragePool2D | o.MaxPool2D):
        words += _window(*op.kernel, op.stride, op.padding, (1, 1))
    elif isinstance(op, o.Table):
        words.append(op.function.value)
    activation = getattr(op, "activation", o.NO_ACTIVATION)
    if not activation.is_none:
        words += ["+", str(activation)]
    return " ".join(words)


def _window(kh: int, kw: int, stride: o.Pair, padding: o.Padding, dilation: o.Pair) -> list[str]:
    words = [f"{kh}x{kw}", f"s{stride[0]}" if stride[0] == stride[1] else f"s{stride[0]}x{stride[1]}"]
    if any(padding):
        words.append(f"p{padding[0]}" if len(set(padding)) == 1 else "p" + ",".join(map(str, padding)))
    if dilation != (1, 1):
        words.append(f"d{dilation[0]}" if dilation[0] == dilation[1] else f"d{dilation[0]}x{dilation[1]}")
    return words


def layer_comment(layer: LayerPlan, graph: QuantGraph) -> tuple[str, ...]:
    """The head of a layer's function: what it computes, its kernel, and the user's nodes it came from."""
    op = layer.op
    shapes = [shape_text(graph.tensors[n]) for n in op.inputs if not graph.tensors[n].is_constant]
    made = ", ".join(shape_text(graph.tensors[n]) for n in op.outputs)
    count = op_macs(op, graph_shapes(graph))
    work = f"   {count} MAC" if count else ""
    lines = [f"{layer.index}  {op.name}   {operator_text(op, graph)}   {', '.join(shapes)} -> {made}{work}"]
    if op.source:
        lines.append(" from " + " + ".join(f'"{s}"' for s in op.source))
    return tuple(lines)


def tensor_text(tensor: Tensor) -> str:
    """``int8 [32][32][3], scale 0.0392157, zero_point -128``."""
    text = tensor.dtype.value + " " + "".join(f"[{d}]" for d in tensor.shape)
    if tensor.qparams is not None:
        q = tensor.qparams
        text += f", scale {q.tensor_scale:.6g}, zero_point {q.tensor_zero_point}"
    return text


def input_notes(item: GraphInput) -> tuple[str, ...]:
    """How the user's data becomes this input: layout, type, range, normalisation."""
    p = item.preprocess
    data = " ".join(filter(None, (item.source_dtype, item.source_layout)))
    span = f" in {p.value_range[0]:g}..{p.value_range[1]:g}" if p.value_range else ""
    notes = [f"user data: {data}{span}"] if data or span else []
    if not p.is_identity:
        notes.append(f"real = (user * {p.scale:.9g} - {_numbers(p.mean)}) / {_numbers(p.std)}")
    notes.append("q = clamp(round(real / SCALE) + ZERO_POINT)")
    return tuple(notes)


def output_notes(tensor: Tensor, layout: str) -> tuple[str, ...]:
    """Which axis order an output has, where the user's own model has another (`layout`)."""
    if not layout:
        return ()
    axes = {(3, 3): "HWC", (3, 2): "T1C", (2, 2): "TC"}[len(tensor.shape), len(layout)]
    return (f"axes {axes}, channels last; the source model's own output is {layout}",)


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:.9g}" if len(set(values)) == 1 else "[" + ", ".join(f"{v:.9g}" for v in values) + "]"
