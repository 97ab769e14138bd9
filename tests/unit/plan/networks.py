"""Small quantized networks for the tests of plan, emit and cost: random weights, ordinary scales."""

from __future__ import annotations

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, Rounding, State
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph


class Net:
    """Builds a QuantGraph operator by operator; every method returns the new tensor's name."""

    def __init__(self, name: str = "net", seed: int = 0) -> None:
        self.name = name
        self.random = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.inputs: list[GraphInput] = []
        self.states: list[State] = []

    def input(self, *shape: int, name: str = "", scale: float = 0.05, zero_point: int = 3) -> str:
        name = name or f"x{len(self.inputs)}"
        self.tensors[name] = Tensor(name, shape, DType.INT8, QParams.per_tensor(scale, zero_point), source=f"/{name}")
        self.inputs.append(GraphInput(name))
        return name

    def state(self, *shape: int, name: str) -> str:
        self.tensors[name] = Tensor(name, shape, DType.INT8, QParams.per_tensor(0.05, 3))
        return name

    def keep(self, read: str, write: str) -> None:
        self.states.append(State(read, write))

    def weights(self, shape: tuple[int, ...], axis: int, outputs: int) -> tuple[str, str]:
        w, b = f"w{len(self.tensors)}", f"b{len(self.tensors)}"
        scale = tuple(self.random.uniform(0.002, 0.01, outputs).tolist())
        data = self.random.integers(-127, 128, shape).astype(np.int8)
        self.tensors[w] = Tensor(w, shape, DType.INT8, QParams(scale, (0,) * outputs, axis), data)
        bias = self.random.integers(-2000, 2000, outputs).astype(np.int32)
        bias_params = QParams(tuple(0.05 * s for s in scale), (0,) * outputs, 0)
        self.tensors[b] = Tensor(b, (outputs,), DType.INT32, bias_params, bias)
        return w, b

    def add_op(self, op: o.Op, scale: float = 0.05, zero_point: int = 3) -> str:
        shapes = infer(op, self.tensors)
        for name, shape in zip(op.outputs, shapes, strict=True):
            if name not in self.tensors:
                self.tensors[name] = Tensor(name, shape, DType.INT8, QParams.per_tensor(scale, zero_point))
        self.ops.append(op)
        return op.outputs[0]

    def _named(self, kind: str, name: str) -> dict[str, object]:
        name = name or f"{kind}{len(self.ops)}"
        return {"name": name, "outputs": (f"{name}_out",), "source": (f"/net/{name}",)}

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        name: str = "",
        activation: o.Activation = o.NO_ACTIVATION,
    ) -> str:
        channels = self.tensors[x].shape[-1]
        w, b = self.weights((outputs, kernel, kernel, channels), 0, outputs)
        facts = {"stride": (stride, stride), "padding": (padding,) * 4, "activation": activation}
        op = o.Conv2D(inputs=(x,), weights=w, bias=b, **facts, **self._named("conv", name))  # type: ignore[arg-type]
        return self.add_op(op, zero_point=-128 if activation.low == 0.0 else 3)

    def depthwise(self, x: str, stride: int = 1, name: str = "") -> str:
        channels = self.tensors[x].shape[-1]
        w, b = self.weights((3, 3, channels), 2, channels)
        facts = {"stride": (stride, stride), "padding": (1,) * 4}
        return self.add_op(o.DepthwiseConv2D(inputs=(x,), weights=w, bias=b, **facts, **self._named("dw", name)))  # type: ignore[arg-type]

    def dense(self, x: str, outputs: int, name: str = "") -> str:
        w, b = self.weights((outputs, self.tensors[x].shape[-1]), 0, outputs)
        return self.add_op(o.FullyConnected(inputs=(x,), weights=w, bias=b, **self._named("fc", name)))  # type: ignore[arg-type]

    def add(self, a: str, b: str, name: str = "") -> str:
        return self.add_op(o.Add(inputs=(a, b), **self._named("add", name)))  # type: ignore[arg-type]

    def concat(self, *xs: str, axis: int = 2, name: str = "") -> str:
        return self.add_op(o.Concat(inputs=xs, axis=axis, **self._named("concat", name)))  # type: ignore[arg-type]

    def table(self, x: str, name: str = "") -> str:
        table = f"t{len(self.tensors)}"
        data = self.random.integers(-128, 128, 256).astype(np.int8)
        self.tensors[table] = Tensor(table, (256,), DType.INT8, None, data)
        op = o.Table(inputs=(x,), function=o.Function.TANH, table=table, **self._named("table", name))  # type: ignore[arg-type]
        return self.add_op(op)

    def average(self, x: str, kernel: int, stride: int, name: str = "") -> str:
        facts = {"kernel": (kernel, kernel), "stride": (stride, stride)}
        source = self.tensors[x].quantization
        op = o.AveragePool2D(inputs=(x,), **facts, **self._named("pool", name))  # type: ignore[arg-type]
        return self.add_op(op, source.tensor_scale, source.tensor_zero_point)

    def flatten(self, x: str, name: str = "") -> str:
        shape = (self.tensors[x].elements,)
        source = self.tensors[x].quantization
        op = o.Reshape(inputs=(x,), shape=shape, **self._named("flat", name))  # type: ignore[arg-type]
        return self.add_op(op, source.tensor_scale, source.tensor_zero_point)

    def build(self, *outputs: str, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
        graph = Graph(self.name, tuple(self.inputs), outputs, self.tensors, tuple(self.ops), tuple(self.states))
        return to_quant_graph(graph, rounding)


def residual(seed: int = 0) -> QuantGraph:
    """A residual network with stride, branches, pooling and a dense head."""
    net = Net("residual", seed)
    x = net.input(12, 12, 3)
    a = net.conv(x, 8, name="stem", activation=o.RELU)
    b = net.conv(net.conv(a, 8, activation=o.RELU), 8)
    c = net.add(a, b)
    d = net.conv(c, 12, stride=2, activation=o.RELU)
    e = net.conv(c, 12, kernel=1, stride=2, padding=0)
    f = net.depthwise(net.add(d, e))
    g = net.average(f, 6, 6)
    return net.build(net.dense(net.flatten(g), 5))


def mixed(seed: int = 1, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
    """Two inputs, two outputs, concat, table, odd sizes."""
    net = Net("mixed", seed)
    x, y = net.input(7, 9, 2, name="image"), net.input(7, 9, 3, name="other image")
    joined = net.concat(net.conv(x, 5), net.table(net.conv(y, 4, kernel=1, padding=0)))
    pooled = net.average(joined, 3, 2)
    return net.build(net.dense(net.flatten(pooled), 4), pooled, rounding=rounding)


def recurrent(seed: int = 2) -> QuantGraph:
    """A state vector kept between inferences: h' = table(dense(concat(x, h)))."""
    net = Net("recurrent", seed)
    x = net.input(6, name="x")
    h = net.state(10, name="h")
    new = net.table(net.dense(net.concat(x, h, axis=0), 10))
    net.keep(h, new)
    return net.build(net.dense(new, 3))
