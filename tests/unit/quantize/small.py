"""Small float graphs for tests: a builder that infers shapes, so that a graph is a few lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.ir.verify import verify


class Builder:
    """Adds operators one by one; every method returns the name of the tensor it made."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.inputs: list[GraphInput] = []

    def input(self, name: str, shape: tuple[int, ...], **entry: Any) -> str:
        self.tensors[name] = Tensor(name, shape, DType.FLOAT32)
        self.inputs.append(GraphInput(name, **entry))
        return name

    def constant(self, name: str, data: Any) -> str:
        array = np.asarray(data, dtype=np.float32)
        self.tensors[name] = Tensor(name, array.shape, DType.FLOAT32, data=array)
        return name

    def random(self, name: str, *shape: int, scale: float = 0.5) -> str:
        return self.constant(name, self.rng.normal(0, scale, shape))

    def op(self, kind: type[o.Op], *inputs: str, **fields: Any) -> str:
        name = f"{kind.__name__.lower()}{len(self.ops)}"
        op = kind(name=name, inputs=inputs, outputs=(f"{name}_out",), **fields)
        (shape,) = infer(op, self.tensors)
        self.tensors[op.output] = Tensor(op.output, shape, DType.FLOAT32)
        self.ops.append(op)
        return op.output

    def conv(self, x: str, channels: int, kernel: int = 3, **fields: Any) -> str:
        i, c = len(self.ops), self.tensors[x].shape[2]
        weights = self.random(f"w{i}", channels, kernel, kernel, c, scale=(kernel * kernel * c) ** -0.5)
        return self.op(o.Conv2D, x, weights=weights, bias=self.random(f"b{i}", channels, scale=0.2), **fields)

    def depthwise(self, x: str, kernel: int = 3, **fields: Any) -> str:
        i, c = len(self.ops), self.tensors[x].shape[2]
        weights = self.random(f"w{i}", kernel, kernel, c, scale=1.0 / kernel)
        return self.op(o.DepthwiseConv2D, x, weights=weights, bias=self.random(f"b{i}", c, scale=0.2), **fields)

    def fc(self, x: str, channels: int, **fields: Any) -> str:
        i, c = len(self.ops), self.tensors[x].shape[-1]
        weights = self.random(f"w{i}", channels, c, scale=c**-0.5)
        return self.op(o.FullyConnected, x, weights=weights, bias=self.random(f"b{i}", channels, scale=0.2), **fields)

    def graph(self, *outputs: str) -> Graph:
        return verify(Graph("small", tuple(self.inputs), outputs, self.tensors, tuple(self.ops)))


def small_network() -> Graph:
    """conv, depthwise, residual add, max pool, flatten, two fully connected, softmax."""
    b = Builder()
    x = b.input("x", (8, 8, 3))
    a = b.conv(x, 6, padding=(1, 1, 1, 1), activation=o.RELU)
    d = b.depthwise(a, padding=(1, 1, 1, 1), activation=o.RELU6)
    s = b.op(o.Add, a, d, activation=o.RELU)
    p = b.op(o.MaxPool2D, s, kernel=(2, 2), stride=(2, 2))
    f = b.op(o.Reshape, p, shape=(96,))
    h = b.fc(f, 16, activation=o.RELU)
    return b.graph(b.op(o.Softmax, b.fc(h, 5)))


def samples(graph: Graph, count: int = 64, seed: int = 1) -> np.ndarray:
    shape = graph.tensors[graph.input_names[0]].shape
    return np.random.default_rng(seed).normal(0, 1, (count, *shape)).astype(np.float32)
