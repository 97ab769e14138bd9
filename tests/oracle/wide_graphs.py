"""Random graphs of symmetric int16 activations with int8 weights, one operator each or a small network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.oracle.random_graphs import GraphMaker
from tinycompress.errors import ModelError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.shapes import infer, same_padding
from tinycompress.ir.tensor import DType, QParams, Tensor

UNIT = QParams.per_tensor(2.0**-15, 0, 16)
"""What softmax, sigmoid and tanh give."""


class WideMaker(GraphMaker):
    """Grows int16 graphs; see GraphMaker."""

    def scaled(self, scale: float) -> QParams:
        return QParams.per_tensor(scale, 0, 16)

    def qparams(self, scale: float | None = None) -> QParams:
        return self.scaled(float(np.exp(self.rng.uniform(-11, -7))) if scale is None else scale)

    def input(self, shape: tuple[int, ...], qparams: QParams | None = None) -> str:
        name = f"x{len(self.inputs)}"
        self.tensors[name] = Tensor(name, shape, DType.INT16, qparams or self.qparams())
        self.inputs.append(name)
        self.pool.append(name)
        return name

    def emit(self, cls: type[o.Op], inputs: tuple[str, ...], qparams: QParams, **fields: Any) -> str:
        name = f"{cls.__name__.lower()}_{len(self.ops)}"
        op = cls(name=name, inputs=inputs, outputs=(f"{name}_y",), **fields)
        (shape,) = infer(op, self.tensors)
        self.tensors[op.output] = Tensor(op.output, shape, DType.INT16, qparams)
        self.ops.append(op)
        self.pool.append(op.output)
        return op.output

    def wide_bias(self, channels: int, is_narrow: bool) -> str | None:
        if self.rng.random() < 0.2:
            return None
        kind = np.int32 if is_narrow else np.int64
        return self.constant("b", self.rng.integers(-(10**7), 10**7, channels).astype(kind))

    def fitting(self, x: str, weights: str, products: int) -> QParams:
        """An output scale under which sums of random products fill the int16 range."""
        scale = float(np.mean(self.tensors[weights].quantization.scale))
        return self.scaled(self.same(x).tensor_scale * scale * np.sqrt(products) * 73.0)


def _conv(m: WideMaker, x: str) -> None:
    h, w, c = m.tensors[x].shape
    kernel, stride, out = m.pair(3), m.pair(2), int(m.rng.integers(1, 6))
    weights = m.weights((out, *kernel, c), 0, bool(m.rng.random() < 0.8))
    m.emit(
        o.Conv2D, (x,), m.fitting(x, weights, kernel[0] * kernel[1] * c), weights=weights,
        bias=m.wide_bias(out, bool(m.rng.random() < 0.3)), stride=stride, padding=m.padding((h, w), kernel, stride),
        activation=m.activation(),
    )  # fmt: skip


def _depthwise(m: WideMaker, x: str) -> None:
    h, w, c = m.tensors[x].shape
    kernel, stride, multiplier = m.pair(3), m.pair(2), int(m.rng.integers(1, 3))
    weights = m.weights((*kernel, c * multiplier), 2)
    m.emit(
        o.DepthwiseConv2D, (x,), m.fitting(x, weights, kernel[0] * kernel[1]), weights=weights,
        bias=m.wide_bias(c * multiplier, False), multiplier=multiplier, stride=stride,
        padding=m.padding((h, w), kernel, stride), activation=m.activation(),
    )  # fmt: skip


def _fully_connected(m: WideMaker, x: str) -> None:
    features, out = m.tensors[x].shape[-1], int(m.rng.integers(1, 12))
    weights = m.weights((out, features), 0, bool(m.rng.random() < 0.3))
    m.emit(
        o.FullyConnected, (x,), m.fitting(x, weights, features), weights=weights,
        bias=m.wide_bias(out, bool(m.rng.random() < 0.3)), activation=m.activation(),
    )  # fmt: skip


def _arithmetic(cls: type[o.Op]) -> Callable[[WideMaker, str], None]:
    def step(m: WideMaker, x: str) -> None:
        shape = m.tensors[x].shape
        other = m.input(m.pick(shape, (*(1,) * (len(shape) - 1), shape[-1])))
        if m.rng.random() < 0.4:
            size = m.tensors[other].shape
            other = m.constant("c", m.rng.integers(-32768, 32768, size).astype(np.int16), m.qparams())
        a, b = m.same(x).tensor_scale, m.same(other).tensor_scale
        scale = a * b * 25000 if cls is o.Mul else 1.5 * max(a, b)
        inputs = (x, other) if m.rng.random() < 0.7 else (other, x)
        m.emit(cls, inputs, m.scaled(scale), activation=m.activation())

    return step


def _pool(cls: type[o.Op]) -> Callable[[WideMaker, str], None]:
    def step(m: WideMaker, x: str) -> None:
        h, w, _ = m.tensors[x].shape
        kernel, stride = m.pair(3), m.pair(3)
        (top, bottom), (left, right) = (same_padding((h, w)[i], kernel[i], stride[i]) for i in (0, 1))
        padding = m.pick((0, 0, 0, 0), (top, left, bottom, right))
        m.emit(cls, (x,), m.same(x), kernel=kernel, stride=stride, padding=padding, activation=m.activation())

    return step


def _mean(m: WideMaker, x: str) -> None:
    m.emit(o.Mean, (x,), m.pick(m.same(x), m.scaled(m.same(x).tensor_scale * 0.6)), axes=(0, 1))


def _softmax(m: WideMaker, x: str) -> None:
    m.emit(o.Softmax, (x,), UNIT, beta=float(m.pick(1.0, 0.5)))


def _function(m: WideMaker, x: str) -> None:
    m.emit(o.Table, (x,), UNIT, function=m.pick(o.Function.SIGMOID, o.Function.TANH))


def _pad(m: WideMaker, x: str) -> None:
    m.emit(o.Pad, (x,), m.same(x), amounts=((1, 0), (0, 2), (0, 0)))


def _concat(m: WideMaker, x: str) -> None:
    m.emit(o.Concat, (x, m.input(m.tensors[x].shape, m.same(x))), m.same(x), axis=int(m.rng.integers(3)))


def _quantize(m: WideMaker, x: str) -> None:
    m.emit(o.Quantize, (x,), m.scaled(m.same(x).tensor_scale * float(m.rng.uniform(0.5, 2.0))))


WIDE_STEPS: dict[str, tuple[Callable[[WideMaker, str], None], tuple[int, ...]]] = {
    "Conv2D": (_conv, (3,)),
    "DepthwiseConv2D": (_depthwise, (3,)),
    "FullyConnected": (_fully_connected, (1, 3)),
    "Add": (_arithmetic(o.Add), (1, 3)),
    "Sub": (_arithmetic(o.Sub), (1, 3)),
    "Mul": (_arithmetic(o.Mul), (1, 3)),
    "AveragePool2D": (_pool(o.AveragePool2D), (3,)),
    "MaxPool2D": (_pool(o.MaxPool2D), (3,)),
    "Mean": (_mean, (3,)),
    "Softmax": (_softmax, (1, 3)),
    "Table": (_function, (1, 3)),
    "Pad": (_pad, (3,)),
    "Concat": (_concat, (3,)),
    "Quantize": (_quantize, (1, 3)),
}
"""How each operator is grown, and the ranks of its first input."""


def wide_graph(seed: int, kinds: tuple[str, ...] | None = None, length: int = 5) -> QuantGraph:
    """A graph of about `length` int16 operators drawn from `kinds` (all when None); every leaf is an output."""
    m = WideMaker(seed)
    names = kinds or tuple(WIDE_STEPS)
    exact = m.pick(None, m.scaled(2.0**-12), m.scaled(2.0**-11))
    m.input((int(m.rng.integers(3, 8)), int(m.rng.integers(1, 7)), int(m.rng.integers(1, 6))), exact)
    m.input((int(m.rng.integers(2, 24)),), exact)
    attempts = 0
    while len(m.ops) < length and attempts < 20 * length:
        attempts += 1
        step, ranks = WIDE_STEPS[m.pick(*names)]
        x = m.of_rank(*ranks)
        before = (dict(m.tensors), len(m.pool), len(m.inputs))
        try:
            if x is not None:
                step(m, x)
        except ModelError:
            m.tensors = before[0]
            del m.pool[before[1] :], m.inputs[before[2] :]
    return m.graph(f"wide_{seed}")
