"""Small float graphs for tests, built on the IR directly; weights are random and batch-norm statistics lively."""

from __future__ import annotations

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.ir.verify import verify


class Net:
    """Appends operators; every method returns the name of the tensor it makes."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors = {"x": Tensor("x", shape, DType.FLOAT32)}
        self.ops: list[o.Op] = []

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def constant(self, name: str, *shape: int, low: float | None = None) -> str:
        data = self.rng.standard_normal(shape) if low is None else low + self.rng.random(shape)
        self.tensors[name] = Tensor(name, shape, DType.FLOAT32, data=data.astype(np.float32))
        return name

    def append(self, op: o.Op) -> str:
        (shape,) = infer(op, self.tensors)
        self.tensors[op.output] = Tensor(op.output, shape, DType.FLOAT32)
        self.ops.append(op)
        return op.output

    def names(self, kind: str, *inputs: str) -> dict[str, object]:
        name = f"{kind}{len(self.ops)}"
        return {"name": name, "inputs": inputs, "outputs": (f"{name}_out",)}

    def conv(self, x: str, c: int, k: int = 3, stride: int = 1, groups: int = 1, bias: bool = False) -> str:
        names = self.names("conv", x)
        w = self.constant(f"{names['name']}_w", c, k, k, self.shape(x)[-1] // groups)
        b = self.constant(f"{names['name']}_b", c) if bias else None
        p = k // 2
        return self.append(
            o.Conv2D(**names, weights=w, bias=b, stride=(stride, stride), padding=(p, p, p, p), groups=groups)  # type: ignore[arg-type]
        )

    def depthwise(self, x: str, k: int = 3, multiplier: int = 1) -> str:
        names = self.names("dw", x)
        w = self.constant(f"{names['name']}_w", k, k, self.shape(x)[-1] * multiplier)
        p = k // 2
        return self.append(o.DepthwiseConv2D(**names, weights=w, multiplier=multiplier, padding=(p, p, p, p)))  # type: ignore[arg-type]

    def bn(self, x: str) -> str:
        names = self.names("bn", x)
        c = self.shape(x)[-1]
        parts = {p: self.constant(f"{names['name']}_{p}", c) for p in ("gamma", "beta", "mean")}
        return self.append(
            o.BatchNorm(**names, **parts, variance=self.constant(f"{names['name']}_var", c, low=0.5))  # type: ignore[arg-type]
        )

    def relu(self, x: str) -> str:
        return self.append(o.Clamp(**self.names("relu", x), activation=o.RELU))  # type: ignore[arg-type]

    def block(self, x: str, c: int, k: int = 3, stride: int = 1) -> str:
        return self.relu(self.bn(self.conv(x, c, k, stride)))

    def add(self, a: str, b: str) -> str:
        return self.append(o.Add(**self.names("add", a, b)))  # type: ignore[arg-type]

    def mul(self, a: str, b: str) -> str:
        return self.append(o.Mul(**self.names("mul", a, b)))  # type: ignore[arg-type]

    def concat(self, *parts: str) -> str:
        return self.append(o.Concat(**self.names("cat", *parts), axis=len(self.shape(parts[0])) - 1))  # type: ignore[arg-type]

    def slice(self, x: str, begin: int, end: int) -> str:
        shape = self.shape(x)
        start, stop = (*[0] * (len(shape) - 1), begin), (*shape[:-1], end)
        return self.append(o.Slice(**self.names("slice", x), begin=start, end=stop, strides=(1,) * len(shape)))  # type: ignore[arg-type]

    def pad_channels(self, x: str, before: int, after: int) -> str:
        amounts = (*[(0, 0)] * (len(self.shape(x)) - 1), (before, after))
        return self.append(o.Pad(**self.names("pad", x), amounts=amounts))  # type: ignore[arg-type]

    def pool(self, x: str) -> str:
        return self.append(o.MaxPool2D(**self.names("pool", x), kernel=(2, 2), stride=(2, 2)))  # type: ignore[arg-type]

    def mean(self, x: str) -> str:
        return self.append(o.Mean(**self.names("mean", x), axes=(0, 1)))  # type: ignore[arg-type]

    def flatten(self, x: str) -> str:
        return self.append(o.Reshape(**self.names("flat", x), shape=(int(np.prod(self.shape(x))),)))  # type: ignore[arg-type]

    def reshape(self, x: str, *shape: int) -> str:
        return self.append(o.Reshape(**self.names("reshape", x), shape=shape))  # type: ignore[arg-type]

    def fc(self, x: str, c: int) -> str:
        names = self.names("fc", x)
        w = self.constant(f"{names['name']}_w", c, self.shape(x)[-1])
        return self.append(o.FullyConnected(**names, weights=w, bias=self.constant(f"{names['name']}_b", c)))  # type: ignore[arg-type]

    def sigmoid(self, x: str) -> str:
        return self.append(o.Table(**self.names("sigmoid", x), function=o.Function.SIGMOID))  # type: ignore[arg-type]

    def excite(self, x: str, c: int) -> str:
        gate = self.sigmoid(self.fc(self.relu(self.fc(self.mean(x), c)), self.shape(x)[-1]))
        return self.mul(x, self.reshape(gate, 1, 1, self.shape(x)[-1]))

    def graph(self, *outputs: str) -> Graph:
        return verify(Graph("net", (GraphInput("x"),), outputs, self.tensors, tuple(self.ops)))


def resnet(seed: int = 0, size: int = 8, widths: tuple[int, ...] = (4, 6, 8), classes: int = 5) -> Graph:
    """Stem, one identity block, one projected block per further width, mean, classifier."""
    net = Net((size, size, 3), seed)
    x = net.block("x", widths[0])
    x = net.relu(net.add(x, net.bn(net.conv(net.block(x, widths[0]), widths[0]))))
    for width in widths[1:]:
        inner = net.bn(net.conv(net.block(x, width, stride=2), width))
        x = net.relu(net.add(net.conv(x, width, 1, 2), inner))
    return net.graph(net.fc(net.mean(x), classes))


def chain(widths: tuple[int, ...] = (5, 7, 6), size: int = 8, seed: int = 0, classes: int = 4) -> Graph:
    """Plain convolutions with batch norm, flattened into the classifier."""
    net = Net((size, size, 2), seed)
    x = "x"
    for i, width in enumerate(widths):
        x = net.block(x, width, stride=2 if i == 1 else 1)
    return net.graph(net.fc(net.flatten(x), classes))


def random_graph(seed: int) -> Graph:
    """A random mixture of every coupling: residual, concat, slice, depthwise, grouped, squeeze-excite, flatten."""
    rng = np.random.default_rng(seed)
    net = Net((6, 6, 3), seed)
    x = net.block("x", int(rng.integers(2, 7)))
    for _ in range(int(rng.integers(2, 6))):
        kind = rng.choice(["plain", "residual", "concat", "dw", "grouped", "excite", "split", "pad", "pool"])
        width = net.shape(x)[-1]
        if kind == "plain":
            x = net.block(x, int(rng.integers(2, 9)))
        elif kind == "residual":
            x = net.relu(net.add(x, net.bn(net.conv(net.block(x, int(rng.integers(2, 6))), width))))
        elif kind == "concat":
            x = net.concat(x, net.block(x, int(rng.integers(1, 5))), net.block(x, 2, 1))
        elif kind == "dw":
            x = net.relu(net.bn(net.depthwise(x, multiplier=int(rng.integers(1, 3)))))
        elif kind == "grouped":
            x = net.relu(net.conv(net.block(x, 6), 12, groups=3, bias=True))
        elif kind == "excite":
            x = net.excite(x, 3)
        elif kind == "split" and width >= 4:
            x = net.concat(net.slice(x, 0, width // 2), net.block(net.slice(x, width // 2, width), 3))
        elif kind == "pad":
            x = net.relu(net.add(net.pad_channels(x, 1, 2), net.conv(x, width + 3, 1)))
        elif kind == "pool" and net.shape(x)[0] >= 4:
            x = net.pool(x)
    head = net.flatten(x) if rng.random() < 0.5 else net.mean(x)
    return net.graph(net.fc(net.relu(net.fc(head, 5)), 4))
