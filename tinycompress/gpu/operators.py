"""The table of operators that run as generated CUDA, and why the others do not."""

from __future__ import annotations

from tinycompress.gpu import elements as el
from tinycompress.gpu import products as pr
from tinycompress.gpu.lowering import Lower
from tinycompress.gpu.masks import WEIGHTED
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import DType

LOWER: dict[type[o.Op], Lower] = {
    o.Conv2D: pr.product,
    o.FullyConnected: pr.product,
    o.DepthwiseConv2D: pr.depthwise,
    o.TransposeConv2D: pr.transposed,
    o.Add: el.binary("TC_ADD"),
    o.Sub: el.binary("TC_SUB"),
    o.Mul: el.binary("TC_MUL"),
    o.Maximum: el.binary("TC_MAXIMUM"),
    o.Minimum: el.binary("TC_MINIMUM"),
    o.AveragePool2D: el.pool,
    o.MaxPool2D: el.pool,
    o.Mean: el.mean,
    o.Concat: el.concat,
    o.Pad: el.pad,
    o.Slice: el.cut,
    o.Transpose: el.transpose,
    o.Clamp: el.rescale,
    o.PReLU: el.prelu,
    o.Quantize: el.rescale,
    o.ResizeNearest: el.resize,
    o.ResizeBilinear: el.resize,
    o.Table: el.table,
    o.Softmax: el.softmax,
    o.LogSoftmax: el.log_softmax,
    o.LayerNorm: el.layer_norm,
    o.MatMul: el.matmul,
}
"""How each operator runs on a GPU. Reshape is a view and needs nothing."""

_CONSTANT_OPERANDS = (o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum, o.Concat)


def obstacles(graph: QuantGraph) -> list[str]:
    """Why operators of `graph` cannot run as generated CUDA, one sentence each naming the node; empty when all can."""
    found = [f"the network keeps state {s.read!r}" for s in graph.states]
    for op in graph.ops:
        why = _obstacle(op, graph)
        if why:
            found.append(f"{op.name}: {why}")
    return found


def _obstacle(op: o.Op, graph: QuantGraph) -> str:
    tensors = {name: graph.tensors[name] for name in (*op.inputs, *op.outputs)}
    if not isinstance(op, o.Reshape) and type(op) not in LOWER:
        return f"{op.kind} has no CUDA kernel"
    for name, tensor in tensors.items():
        if tensor.dtype is not DType.INT8:
            return f"tensor {name!r} is {tensor.dtype.value}, CUDA kernels take int8"
        if tensor.is_constant and not isinstance(op, _CONSTANT_OPERANDS):
            return f"its input {name!r} is a constant"
    if isinstance(op, WEIGHTED) and any(graph.tensors[op.weights].quantization.zero_point):
        return "its weights have a zero point"
    if max(len(t.shape) for t in tensors.values()) > el.MAX_RANK - isinstance(op, o.Mean):
        return "a tensor has too many axes"
    return ""
