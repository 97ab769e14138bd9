"""Random integer graphs, whose scales keep most values off the limits; by default of operators that TFLite has too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.errors import ModelError
from tinycompress.execute.tflite_tables import TABLES
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, State
from tinycompress.ir.shapes import infer, same_padding
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph

Array = NDArray[Any]

MAX_ELEMENTS = 1200
LITERT_ONLY = (o.Function.GELU, o.Function.GELU_TANH, o.Function.EXP, o.Function.LOG)
FUNCTIONS = tuple(f for f in TABLES if f not in LITERT_ONLY)


class GraphMaker:
    """Grows a graph operator by operator; `pool` holds the activations that later operators may read."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.states: list[State] = []
        self.inputs: list[str] = []
        self.pool: list[str] = []

    # --- parts

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def qparams(self, scale: float | None = None) -> QParams:
        value = float(np.exp(self.rng.uniform(-5, -2))) if scale is None else scale
        zero_point = self.pick(-128, 127, 0, int(self.rng.integers(-128, 128)), int(self.rng.integers(-60, 60)))
        return QParams.per_tensor(value, zero_point)

    def input(self, shape: tuple[int, ...]) -> str:
        name = f"x{len(self.inputs)}"
        self.tensors[name] = Tensor(name, shape, DType.INT8, self.qparams())
        self.inputs.append(name)
        self.pool.append(name)
        return name

    def constant(self, role: str, data: Array, qparams: QParams | None = None) -> str:
        name = f"{role}{len(self.tensors)}"
        self.tensors[name] = Tensor(name, tuple(data.shape), DType(str(data.dtype)), qparams, data)
        return name

    def weights(self, shape: tuple[int, ...], axis: int, per_channel: bool = True) -> str:
        count = shape[axis] if per_channel else 1
        scales = np.exp(self.rng.uniform(-7, -4, count))
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        qparams = QParams(tuple(scales), (0,) * count, axis if count > 1 else None)
        return self.constant("w", data, qparams)

    def bias(self, channels: int, products: int) -> str | None:
        if self.rng.random() < 0.2:
            return None
        limit = int(4000 * np.sqrt(products)) + 1
        return self.constant("b", self.rng.integers(-limit, limit, channels).astype(np.int32))

    def product_scale(self, x: str, weights: str, products: int) -> float:
        """An output scale under which sums of `products` random products fill the int8 range."""
        scale = float(np.mean(self.tensors[weights].quantization.scale))
        return self.tensors[x].quantization.tensor_scale * scale * np.sqrt(products) * 73.0 * 90.0 / 60.0

    def padding(self, size: tuple[int, int], kernel: o.Pair, stride: o.Pair, dilation: o.Pair = (1, 1)) -> o.Padding:
        kind = self.rng.random()
        if kind < 0.3:
            return (0, 0, 0, 0)
        if kind < 0.8:
            (top, bottom), (left, right) = (same_padding(size[i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
            return (top, left, bottom, right)
        top, left, bottom, right = (int(v) for v in self.rng.integers(0, 3, 4))
        return (top, left, bottom, right)

    def activation(self) -> o.Activation:
        return self.pick(o.NO_ACTIVATION, o.NO_ACTIVATION, o.RELU, o.RELU6, o.Activation(-1.0, 1.0))

    def pair(self, high: int) -> o.Pair:
        return (int(self.rng.integers(1, high + 1)), int(self.rng.integers(1, high + 1)))

    def image(self) -> str | None:
        return self.of_rank(3)

    def of_rank(self, *ranks: int) -> str | None:
        names = [n for n in self.pool if len(self.tensors[n].shape) in ranks]
        return self.pick(*names) if names else None

    def emit(self, cls: type[o.Op], inputs: tuple[str, ...], qparams: QParams, **fields: Any) -> str:
        """Adds an operator; ModelError when its shapes don't work out or its output is too large."""
        name = f"{cls.__name__.lower()}_{len(self.ops)}"
        op = cls(name=name, inputs=inputs, outputs=(f"{name}_y",), **fields)
        (shape,) = infer(op, self.tensors)
        if not 1 <= int(np.prod(shape)) <= MAX_ELEMENTS or len(shape) > 3:
            raise ModelError("TC-M001", "too large")
        self.tensors[op.output] = Tensor(op.output, shape, DType.INT8, qparams)
        self.ops.append(op)
        self.pool.append(op.output)
        return op.output

    def same(self, name: str) -> QParams:
        return self.tensors[name].quantization

    def graph(self, name: str) -> QuantGraph:
        read = {n for op in self.ops for n in op.inputs}
        outputs = [
            n for op in self.ops for n in op.outputs if n not in read and n not in {s.write for s in self.states}
        ]
        used_inputs = [n for n in self.inputs if n in read]
        graph = Graph(
            name,
            tuple(GraphInput(n, "", "int8") for n in used_inputs),
            tuple(outputs),
            self.tensors,
            tuple(self.ops),
            tuple(self.states),
        )
        return to_quant_graph(graph.with_ops(graph.ops))


Step = Callable[[GraphMaker, str], None]


def _conv(m: GraphMaker, x: str) -> None:
    h, w, c = m.tensors[x].shape
    kernel, stride = m.pair(3), m.pair(2)
    dilation = m.pair(2) if m.rng.random() < 0.3 else (1, 1)
    groups = m.pick(*[g for g in (1, 1, 2, 3) if c % g == 0])
    out = groups * int(m.rng.integers(1, 5))
    weights = m.weights((out, *kernel, c // groups), 0, bool(m.rng.random() < 0.8))
    products = kernel[0] * kernel[1] * c // groups
    scale = m.product_scale(x, weights, products)
    m.emit(
        o.Conv2D, (x,), m.qparams(scale), weights=weights, bias=m.bias(out, products), stride=stride,
        dilation=dilation, padding=m.padding((h, w), kernel, stride, dilation), groups=groups,
        activation=m.activation(),
    )  # fmt: skip


def _depthwise(m: GraphMaker, x: str) -> None:
    h, w, c = m.tensors[x].shape
    kernel, stride, multiplier = m.pair(4), m.pair(2), int(m.rng.integers(1, 3))
    weights = m.weights((*kernel, c * multiplier), 2)
    products = kernel[0] * kernel[1]
    m.emit(
        o.DepthwiseConv2D, (x,), m.qparams(m.product_scale(x, weights, products)), weights=weights,
        bias=m.bias(c * multiplier, products), multiplier=multiplier, stride=stride,
        padding=m.padding((h, w), kernel, stride), activation=m.activation(),
    )  # fmt: skip


def _transpose_conv(m: GraphMaker, x: str) -> None:
    h, w, c = m.tensors[x].shape
    kernel, stride, out = m.pair(3), m.pair(2), int(m.rng.integers(1, 4))
    weights = m.weights((out, *kernel, c), 0)
    products = kernel[0] * kernel[1] * c
    pads, extra = [(0, 0), (0, 0)], [0, 0]
    if m.rng.random() < 0.5:
        for i, size in enumerate((h, w)):
            before = same_padding(size * stride[i], kernel[i], stride[i])[0]
            surplus = (size - 1) * stride[i] + kernel[i] - before - size * stride[i]
            pads[i], extra[i] = (before, max(surplus, 0)), max(-surplus, 0)
    m.emit(
        o.TransposeConv2D, (x,), m.qparams(m.product_scale(x, weights, products)), weights=weights,
        bias=m.bias(out, products), stride=stride, padding=(pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
        output_padding=(extra[0], extra[1]),
    )  # fmt: skip


def _fully_connected(m: GraphMaker, x: str) -> None:
    features = m.tensors[x].shape[-1]
    out = int(m.rng.integers(1, 20))
    weights = m.weights((out, features), 0, bool(m.rng.random() < 0.3))
    m.emit(
        o.FullyConnected, (x,), m.qparams(m.product_scale(x, weights, features)), weights=weights,
        bias=m.bias(out, features), activation=m.activation(),
    )  # fmt: skip


def _other(m: GraphMaker, x: str) -> str:
    """Another operand: a tensor of the same shape, a broadcast one, a constant, or x itself."""
    shape = m.tensors[x].shape
    fitting = [n for n in m.pool if m.tensors[n].shape in (shape, (*(1,) * (len(shape) - 1), shape[-1]))]
    if m.rng.random() < 0.3:
        size = m.pick(shape, (*(1,) * (len(shape) - 1), shape[-1]))
        return m.constant("c", m.rng.integers(-128, 128, size).astype(np.int8), m.qparams())
    return m.pick(*fitting)


def _arithmetic(cls: type[o.Op]) -> Step:
    def step(m: GraphMaker, x: str) -> None:
        other = _other(m, x)
        a, b = m.same(x).tensor_scale, m.same(other).tensor_scale
        scale = a * b * 110 if cls is o.Mul else 1.6 * max(a, b)
        inputs = (x, other) if m.rng.random() < 0.7 else (other, x)
        m.emit(cls, inputs, m.qparams(scale), activation=m.activation())

    return step


def _extremum(cls: type[o.Op]) -> Step:
    def step(m: GraphMaker, x: str) -> None:
        shape = m.pick(m.tensors[x].shape, (m.tensors[x].shape[-1],))
        data = m.rng.integers(-128, 128, shape).astype(np.int8)
        m.emit(cls, (x, m.constant("c", data, m.same(x))), m.same(x))

    return step


def _pool(cls: type[o.Op]) -> Step:
    def step(m: GraphMaker, x: str) -> None:
        h, w, _ = m.tensors[x].shape
        kernel, stride = m.pair(4), m.pair(3)
        padding = m.padding((h, w), kernel, stride)
        (top, bottom), (left, right) = (same_padding((h, w)[i], kernel[i], stride[i]) for i in (0, 1))
        if cls is o.AveragePool2D and padding != (top, left, bottom, right):
            padding = (0, 0, 0, 0)
        if any(p >= k for p, k in zip(padding, (*kernel, *kernel), strict=True)):
            raise ModelError("TC-M001", "a window without a valid tap")
        m.emit(cls, (x,), m.same(x), kernel=kernel, stride=stride, padding=padding, activation=m.activation())

    return step


def _mean(m: GraphMaker, x: str) -> None:
    rank = len(m.tensors[x].shape)
    axes = m.pick((0, 1), (0, 1), (rank - 1,)) if rank == 3 else (0,)
    keepdims = bool(m.rng.random() < 0.5)
    if rank - len(axes) * (not keepdims) < 1:
        raise ModelError("TC-M001", "a scalar")
    m.emit(o.Mean, (x,), m.pick(m.same(x), m.qparams(m.same(x).tensor_scale * 0.6)), axes=axes, keepdims=keepdims)


def _pad(m: GraphMaker, x: str) -> None:
    amounts = tuple((int(m.rng.integers(3)), int(m.rng.integers(3))) for _ in m.tensors[x].shape)
    value = float(m.pick(0.0, 0.0, m.same(x).tensor_scale * float(m.rng.integers(-40, 40))))
    m.emit(o.Pad, (x,), m.same(x), amounts=amounts, value=value)


def _concat(m: GraphMaker, x: str) -> None:
    shape = m.tensors[x].shape
    axis = int(m.rng.integers(len(shape)))
    fitting = [
        n
        for n in m.pool
        if len(m.tensors[n].shape) == len(shape)
        and all(i == axis or a == b for i, (a, b) in enumerate(zip(m.tensors[n].shape, shape, strict=True)))
    ]
    names = tuple(m.pick(*fitting) for _ in range(int(m.rng.integers(1, 3))))
    m.emit(o.Concat, (x, *names), m.qparams(max(m.same(n).tensor_scale for n in (x, *names))), axis=axis)


def _reshape(m: GraphMaker, x: str) -> None:
    elements = m.tensors[x].elements
    first = m.pick(*[d for d in range(1, 9) if elements % d == 0])
    shape = m.pick((elements,), (first, 1, elements // first), (1, first, elements // first))
    m.emit(o.Reshape, (x,), m.same(x), shape=shape)


def _matmul(m: GraphMaker, x: str) -> None:
    groups, _, terms = m.tensors[x].shape
    if m.rng.random() < 0.2:
        second, is_transposed = x, True
    else:
        columns, is_transposed = int(m.rng.integers(1, 9)), bool(m.rng.random() < 0.5)
        second = m.input((groups, columns, terms) if is_transposed else (groups, terms, columns))
    scale = m.same(x).tensor_scale * m.same(second).tensor_scale
    # Operands are seldom centred on their zero points: sums lean to one side.
    lean = terms * m.same(x).tensor_zero_point * m.same(second).tensor_zero_point
    qparams = m.qparams(scale * (np.sqrt(terms) * 73.0 * 73.0 + abs(lean)) / 60.0)
    m.emit(o.MatMul, (x, second), qparams, is_transposed=is_transposed)


def _layer_norm(m: GraphMaker, x: str) -> None:
    channels = m.tensors[x].shape[-1]
    scale, limit = float(np.float32(1e-3)), 1 << 22
    weights = m.rng.integers(-2047, 2048, (channels,)).astype(np.int16)
    offsets = m.rng.integers(-limit, limit, (channels,)).astype(np.int32)
    gamma = m.constant("gamma", weights, QParams.per_tensor(scale, 0, 16))
    beta = m.constant("beta", offsets, QParams.per_tensor(scale / 4096, 0, 32))
    m.emit(o.LayerNorm, (x,), m.qparams(0.02), gamma=gamma, beta=beta, epsilon=float(m.pick(1e-5, 1e-12, 0.1)))


def _transpose(m: GraphMaker, x: str) -> None:
    perm = tuple(int(p) for p in m.rng.permutation(len(m.tensors[x].shape)))
    m.emit(o.Transpose, (x,), m.same(x), perm=perm)


def _slice(m: GraphMaker, x: str) -> None:
    shape = m.tensors[x].shape
    begin = tuple(int(m.rng.integers(s)) for s in shape)
    end = tuple(int(m.rng.integers(b + 1, s + 1)) for b, s in zip(begin, shape, strict=True))
    strides = tuple(int(m.rng.integers(1, 3)) for _ in shape)
    m.emit(o.Slice, (x,), m.same(x), begin=begin, end=end, strides=strides)


def _softmax(m: GraphMaker, x: str) -> None:
    m.emit(o.Softmax, (x,), QParams.per_tensor(1 / 256, -128), beta=float(m.pick(1.0, 0.5, 2.0)))


def _log_softmax(m: GraphMaker, x: str) -> None:
    m.emit(o.LogSoftmax, (x,), QParams.per_tensor(16 / 256, 127))


def _clamp(m: GraphMaker, x: str) -> None:
    m.emit(o.Clamp, (x,), m.pick(m.same(x), m.qparams(m.same(x).tensor_scale)), activation=m.pick(o.RELU, o.RELU6))


def _prelu(m: GraphMaker, x: str) -> None:
    channels = m.tensors[x].shape[-1]
    alpha = m.constant("alpha", m.rng.integers(-128, 128, (channels,)).astype(np.int8), m.qparams(0.01))
    m.emit(o.PReLU, (x,), m.qparams(m.same(x).tensor_scale), alpha=alpha)


def _table(m: GraphMaker, x: str) -> None:
    function = m.pick(*FUNCTIONS)
    fixed = {o.Function.SIGMOID: QParams.per_tensor(1 / 256, -128), o.Function.TANH: QParams.per_tensor(1 / 128, 0)}
    qparams = fixed.get(function) or m.qparams(m.same(x).tensor_scale * float(m.rng.uniform(0.5, 1.5)))
    alpha = {o.Function.LEAKY_RELU: float(np.float32(m.pick(0.1, 0.3))), o.Function.ELU: 1.0}.get(function, 0.0)
    table = m.constant("table", TABLES[function](m.same(x), qparams, alpha))
    m.emit(o.Table, (x,), qparams, function=function, alpha=alpha, table=table)


def _quantize(m: GraphMaker, x: str) -> None:
    m.emit(o.Quantize, (x,), m.qparams(m.same(x).tensor_scale * float(m.rng.uniform(0.5, 2.0))))


def _resize(cls: type[o.Op]) -> Step:
    def step(m: GraphMaker, x: str) -> None:
        size = (int(m.rng.integers(2, 9)), int(m.rng.integers(2, 9)))
        corners, half = m.pick((False, False), (True, False), (False, True))
        m.emit(cls, (x,), m.same(x), size=size, align_corners=corners, half_pixel_centers=half)

    return step


def _svdf(m: GraphMaker, x: str) -> None:
    features = m.tensors[x].shape[0]
    rank, units, memory = int(m.rng.integers(1, 3)), int(m.rng.integers(1, 9)), int(m.rng.integers(2, 7))
    filters = rank * units
    feature, time = m.weights((filters, features), 0, False), m.weights((filters, memory), 0, False)
    state = QParams.per_tensor(m.product_scale(x, feature, features), m.pick(0, int(m.rng.integers(-30, 30))))
    before, after = f"state{len(m.tensors)}", f"next{len(m.tensors)}"
    m.tensors[before] = Tensor(before, (filters, memory), DType.INT8, state)
    m.tensors[after] = replace(m.tensors[before], name=after)
    scale = m.product_scale(before, time, memory * rank)
    bias = m.constant("b", m.rng.integers(-3000, 3000, units).astype(np.int32))
    y = f"svdf_{len(m.ops)}_y"
    m.tensors[y] = Tensor(y, (units,), DType.INT8, m.qparams(scale))
    m.states.append(State(before, after))
    m.ops.append(
        o.SVDF(
            name=f"svdf_{len(m.ops)}", inputs=(x, before), outputs=(y, after), feature_weights=feature,
            time_weights=time, bias=bias, rank=rank,
        )
    )  # fmt: skip
    m.pool.append(y)


def _lstm(m: GraphMaker, x: str) -> None:
    if len(m.tensors[x].shape) == 3:
        rows, width, channels = m.tensors[x].shape
        x = m.emit(o.Reshape, (x,), m.same(x), shape=(rows, width * channels))
    steps, features = m.tensors[x].shape
    units = int(m.rng.integers(1, 9))
    kernels = m.weights((4, units, features), 0)
    recurrent = m.weights((4, units, units), 0)
    cell = QParams.per_tensor(2.0 ** -int(m.rng.integers(10, 15)), 0, 16)
    qparams = m.qparams(float(m.rng.uniform(0.004, 0.012)))
    names = {role: f"{role}{len(m.tensors)}" for role in ("hidden", "next_hidden", "cell", "next_cell")}
    for role, name in names.items():
        kind = (DType.INT16, cell) if "cell" in role else (DType.INT8, qparams)
        m.tensors[name] = Tensor(name, (units,), *kind)
    y = f"lstm_{len(m.ops)}_y"
    m.tensors[y] = Tensor(y, (steps, units), DType.INT8, qparams)
    m.states += [State(names["hidden"], names["next_hidden"]), State(names["cell"], names["next_cell"])]
    m.ops.append(
        o.LSTM(
            name=f"lstm_{len(m.ops)}", inputs=(x, names["hidden"], names["cell"]),
            outputs=(y, names["next_hidden"], names["next_cell"]), input_weights=kernels, recurrent_weights=recurrent,
            bias=m.constant("b", m.rng.integers(-9000, 9000, (4, units)).astype(np.int32)),
            cell_clip=float(m.pick(0.0, 0.0, 0.5, 3.0)),
        )
    )  # fmt: skip
    m.pool.append(y)


def _embedding(m: GraphMaker, x: str) -> None:
    del x
    entries, channels = int(m.rng.integers(1, 20)), int(m.rng.integers(1, 9))
    qparams = m.qparams()
    table = m.constant("table", m.rng.integers(-128, 128, (entries, channels)).astype(np.int8), qparams)
    name = f"x{len(m.inputs)}"
    m.tensors[name] = Tensor(name, (int(m.rng.integers(1, 9)),), DType.INT32, QParams.per_tensor(1.0, 0, 32))
    m.inputs.append(name)
    m.emit(o.Embedding, (name,), qparams, table=table)


STEPS: dict[str, tuple[Step, tuple[int, ...]]] = {
    "Conv2D": (_conv, (3,)),
    "DepthwiseConv2D": (_depthwise, (3,)),
    "TransposeConv2D": (_transpose_conv, (3,)),
    "FullyConnected": (_fully_connected, (1, 2, 3)),
    "MatMul": (_matmul, (3,)),
    "Add": (_arithmetic(o.Add), (1, 3)),
    "Sub": (_arithmetic(o.Sub), (1, 3)),
    "Mul": (_arithmetic(o.Mul), (1, 3)),
    "Maximum": (_extremum(o.Maximum), (1, 3)),
    "Minimum": (_extremum(o.Minimum), (1, 3)),
    "AveragePool2D": (_pool(o.AveragePool2D), (3,)),
    "MaxPool2D": (_pool(o.MaxPool2D), (3,)),
    "Mean": (_mean, (3,)),
    "Pad": (_pad, (1, 3)),
    "Concat": (_concat, (1, 3)),
    "Reshape": (_reshape, (1, 2, 3)),
    "Transpose": (_transpose, (3,)),
    "Slice": (_slice, (1, 3)),
    "Softmax": (_softmax, (1, 3)),
    "LogSoftmax": (_log_softmax, (1,)),
    "LayerNorm": (_layer_norm, (1, 2, 3)),
    "Clamp": (_clamp, (1, 3)),
    "PReLU": (_prelu, (3,)),
    "Table": (_table, (1, 3)),
    "Quantize": (_quantize, (1, 3)),
    "ResizeNearest": (_resize(o.ResizeNearest), (3,)),
    "ResizeBilinear": (_resize(o.ResizeBilinear), (3,)),
    "SVDF": (_svdf, (1,)),
    "LSTM": (_lstm, (2, 3)),
    "Embedding": (_embedding, (1,)),
}
"""How each operator is grown, and the ranks of its first input."""

NOT_IN_TFLITE = ("LayerNorm",)
"""Operators that are no single operator of TFLite."""

NOT_IN_ONNX = ("SVDF", "Embedding")
"""Operators that are not exported to ONNX."""

NOT_IN_QDQ = (*NOT_IN_ONNX, "LSTM")
"""Operators that are not exported to quantized ONNX: an integer LSTM has another inside than ONNX's."""


def random_graph(seed: int, kinds: tuple[str, ...] | None = None, length: int = 6) -> QuantGraph:
    """About `length` operators drawn from `kinds` (all that TFLite has when None); every leaf is an output."""
    m = GraphMaker(seed)
    names = kinds or tuple(kind for kind in STEPS if kind not in NOT_IN_TFLITE)
    m.input((int(m.rng.integers(3, 9)), int(m.rng.integers(1, 9)), int(m.rng.integers(1, 7))))
    m.input((int(m.rng.integers(2, 24)),))
    if names == ("LSTM",):
        m.pool.clear()
        m.input((int(m.rng.integers(1, 9)), int(m.rng.integers(1, 12))))
    attempts = 0
    while len(m.ops) < length and attempts < 20 * length:
        attempts += 1
        # The first operators go through the kinds in turn, so that a short list is covered.
        kind = names[len(m.ops)] if len(m.ops) < len(names) and kinds is not None else m.pick(*names)
        step, ranks = STEPS[kind]
        x = m.of_rank(*ranks)
        if x is None:
            continue
        before = (dict(m.tensors), len(m.pool))
        try:
            step(m, x)
        except ModelError:
            m.tensors = before[0]
            del m.pool[before[1] :]
    return m.graph(f"random_{seed}")
