"""Quantized ONNX as tools in the field write it (onnxruntime, PyTorch, TensorRT, tf2onnx, Brevitas)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.oracle.onnx_oracle import session
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import reference
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.inputs import integer_inputs, to_source_layout

Array = Any
SHAPE = (1, 4, 8, 6)


class Net:
    """Writes a QDQ graph from `x`, node by node."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self.shape = shape
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.random = np.random.default_rng(7)

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.nodes)}_{len(self.constants)}"

    def constant(self, value: Any) -> str:
        name = self.name("c")
        self.constants[name] = np.asarray(value)
        return name

    def weights(self, *shape: int) -> Array:
        return self.random.normal(size=shape).astype(np.float32)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def quantized(self, x: str, scale: float, zero: int = 0, dtype: Any = np.int8) -> tuple[str, str, str]:
        s, z = self.constant(np.float32(scale)), self.constant(dtype(zero))
        return self.node("QuantizeLinear", x, s, z), s, z

    def dequantized(self, q: str, s: str, z: str, **attributes: Any) -> str:
        return self.node("DequantizeLinear", q, s, z, **attributes)

    def qdq(self, x: str, scale: float, zero: int = 0, dtype: Any = np.int8) -> str:
        return self.dequantized(*self.quantized(x, scale, zero, dtype))

    def int8(self, values: Array, axis: int | None = 0) -> str:
        """Weights, dequantized from int8 per channel of `axis`."""
        others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
        scale = (np.abs(values).max(axis=others, keepdims=True) / 127).astype(np.float32)
        q = self.constant(np.rint(values / scale).astype(np.int8))
        flat = scale.reshape(-1) if axis is not None else scale.reshape(())
        attributes = {} if axis is None else {"axis": axis}
        return self.dequantized(q, self.constant(flat), self.constant(np.zeros(flat.shape, np.int8)), **attributes)

    def uint8(self, values: Array, zero: int) -> str:
        """Weights, dequantized from uint8 per tensor around `zero`."""
        scale = np.float32((values.max() - values.min()) / 255)
        q = np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.uint8)
        return self.dequantized(self.constant(q), self.constant(scale), self.constant(np.uint8(zero)))

    def conv(self, x: str, inputs: int = 4, outputs: int = 4) -> str:
        weights = self.int8(self.weights(outputs, inputs, 3, 3) / 6)
        return self.node("Conv", x, weights, self.constant(self.weights(outputs) / 10), pads=[1] * 4)

    def bytes(self, *outputs: str, opset: int = 17) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [onnx.ValueInfoProto(name=n) for n in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return bytes(built.SerializeToString())


def compare(net: Net, *outputs: str, opset: int = 17) -> QuantGraph:
    """Imports the network, whose outputs are dequantized, and compares it with onnxruntime within one unit."""
    data = net.bytes(*outputs, opset=opset)
    graph = import_onnx(data, "net")
    assert isinstance(graph, QuantGraph)
    samples = np.random.default_rng(1).normal(size=(3, *net.shape[1:])).astype(np.float32)
    runtime = session(data, optimize=False)
    found = reference.run(graph, {graph.input_names[0]: integer_inputs(samples, graph)}).outputs
    wanted = [np.concatenate(v) for v in zip(*(runtime.run(None, {"x": s[np.newaxis]}) for s in samples), strict=True)]
    for name, real in zip(graph.outputs, wanted, strict=True):
        q = graph.tensors[name].quantization
        units = np.rint(real / q.tensor_scale) + q.tensor_zero_point
        mine = to_source_layout(found[name], graph.output_layout(name)).reshape(units.shape)
        assert np.abs(mine - units).max() <= 1
        assert len(np.unique(mine)) > 6
    return graph


def refused(net: Net, *outputs: str) -> ModelError:
    with pytest.raises(UnsupportedOpError) as caught:
        import_onnx(net.bytes(*outputs), "net")
    assert caught.value.where
    assert caught.value.fix
    return caught.value


# One value, several scales


@pytest.mark.parametrize("scales", [(0.004, 0.03), (0.1, 0.01), (0.02, 0.025)])
def test_a_value_quantized_twice_is_computed_for_each(scales: tuple[float, float]) -> None:
    """As TensorRT's tools place quantizers: one before each layer. Rescaling one from the other would clip."""
    net = Net()
    relu = net.node("Relu", net.conv(net.qdq("x", 0.03)))
    first, second = (net.conv(net.qdq(relu, s)) for s in scales)
    graph = compare(net, net.qdq(first, 0.06), net.qdq(second, 0.06))
    assert [op.kind for op in graph.ops] == ["Conv2D"] * 4


def test_parts_of_a_split_with_scales_of_their_own() -> None:
    net = Net()
    rectified = net.node("LeakyRelu", net.qdq(net.conv(net.qdq("x", 0.03)), 0.05), alpha=0.2)
    names = ["part_a", "part_b"]
    net.nodes.append(helper.make_node("Split", [rectified], names, name="split", axis=1))
    parts = [net.conv(net.qdq(n, s), inputs=2) for n, s in zip(names, (0.01, 0.05), strict=True)]
    graph = compare(net, *(net.qdq(p, 0.05) for p in parts))
    assert [op.kind for op in graph.ops].count("Table") == 2


def test_an_input_quantized_twice_is_refused() -> None:
    net = Net()
    outputs = [net.qdq(net.conv(net.qdq("x", s)), 0.05) for s in (0.1, 0.01)]
    assert "'x' is quantized a second time" in refused(net, *outputs).what


def test_quantized_again_behind_dequantization_is_a_rescaling() -> None:
    net = Net()
    graph = compare(net, net.qdq(net.conv(net.qdq(net.qdq("x", 0.03), 0.05)), 0.03))
    assert [op.kind for op in graph.ops] == ["Quantize", "Conv2D"]


def test_joined_float_values_take_the_scale_behind_them() -> None:
    net = Net()
    x = net.qdq("x", 0.03)
    joined = net.node("Concat", net.node("Relu", net.conv(x)), net.conv(x), axis=1)
    graph = compare(net, net.qdq(net.conv(net.qdq(joined, 0.02), inputs=8), 0.03))
    assert [op.kind for op in graph.ops] == ["Conv2D", "Conv2D", "Concat", "Conv2D"]


# Operators on the integers themselves


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bounds_on_integers_are_integers(dtype: Any) -> None:
    """Brevitas narrows a range by clipping between QuantizeLinear and DequantizeLinear."""
    net, zero = Net(), 100 if dtype is np.uint8 else 0
    q, s, z = net.quantized("x", 0.03, zero, dtype)
    low, high = net.constant(dtype(zero - 30)), net.constant(dtype(zero + 31))
    clipped = net.dequantized(net.node("Clip", q, low, high), s, z)
    compare(net, net.qdq(net.conv(clipped), 0.03))


@pytest.mark.parametrize("fill", [(), (100,), (7,)])
def test_padding_of_integers_is_integer(fill: tuple[int, ...]) -> None:
    net = Net()
    q, s, z = net.quantized("x", 0.03, 100, np.uint8)
    pads = net.constant(np.asarray([0, 0, 1, 1, 0, 0, 2, 0], np.int64))
    padded = net.node("Pad", q, pads, *(net.constant(np.uint8(v)) for v in fill))
    compare(net, net.qdq(net.conv(net.dequantized(padded, s, z)), 0.05))


def test_integers_moved_before_they_are_dequantized() -> None:
    net = Net((1, 8, 6, 4))
    q, s, z = net.quantized("x", 0.03)
    q = net.node("Transpose", q, perm=[0, 3, 1, 2])
    q = net.node("MaxPool", net.node("Relu", q), kernel_shape=[2, 2])
    q = net.node("Concat", q, q, axis=1)
    compare(net, net.qdq(net.conv(net.dequantized(q, s, z), inputs=8), 0.03))


def test_other_work_on_integers_is_refused() -> None:
    net = Net()
    q, s, z = net.quantized("x", 0.03)
    assert "computes on quantized integers" in refused(net, net.dequantized(net.node("Neg", q), s, z)).what
    net = Net()
    other = net.quantized("x", 0.03)[0], net.quantized("x", 0.03, 3)[0]
    joined = net.dequantized(net.node("Concat", *other, axis=1), net.constant(np.float32(1)), net.constant(np.int8(0)))
    assert "different scales" in refused(net, joined).what


# Weights


def test_weights_turned_behind_their_dequantization() -> None:
    """As tf2onnx writes layers trained with quantization."""
    net = Net((1, 8, 6, 4))
    kernel = net.node("Transpose", net.int8(net.weights(3, 3, 4, 8) / 6, axis=3), perm=[3, 2, 0, 1])
    x = net.node("Transpose", net.qdq("x", 0.03), perm=[0, 3, 1, 2])
    y = net.node("Relu", net.node("Conv", x, kernel, auto_pad="SAME_UPPER", strides=[2, 2]))
    graph = compare(net, net.qdq(net.node("Transpose", y, perm=[0, 2, 3, 1]), 0.03))
    assert [op.kind for op in graph.ops] == ["Conv2D"]


def test_scales_along_the_input_axis_are_refused() -> None:
    net = Net((1, 24))
    product = net.node("MatMul", net.qdq("x", 0.03), net.int8(net.weights(24, 24), axis=0))
    assert "not per output channel" in refused(net, net.qdq(product, 0.05)).what


def test_gemm_with_factors() -> None:
    net = Net((1, 24))
    attributes: dict[str, Any] = {"transB": 1, "alpha": 0.3, "beta": 2.0}
    weights, bias = net.int8(net.weights(12, 24)), net.constant(net.weights(12))
    compare(net, net.qdq(net.node("Gemm", net.qdq("x", 0.03), weights, bias, **attributes), 0.03))


@pytest.mark.parametrize("zero", [0, 100, 128, 255])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_uint8_weights_with_a_zero_point(zero: int, groups: int) -> None:
    net = Net()
    x = net.qdq(net.conv(net.qdq("x", 0.03)), 0.03)
    weights = net.uint8(net.weights(8, 4 // groups, 3, 3) / 3, zero)
    compare(net, net.qdq(net.node("Conv", x, weights, group=groups, pads=[1] * 4), 0.03))


def test_uint8_weights_of_a_transposed_convolution() -> None:
    net = Net()
    weights = net.uint8(net.weights(4, 3, 2, 2) / 3, 110)
    compare(net, net.qdq(net.node("ConvTranspose", net.qdq("x", 0.03), weights, strides=[2, 2]), 0.03))


def test_biases_larger_than_the_scales_can_count() -> None:
    """A channel without weights and a huge bias: neither may overflow 32 bits."""
    net = Net()
    q = net.random.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
    q[0] = 0
    scales = np.asarray([1e-30, 1e-3, 1e-3, 1e-3], np.float32)
    weights = net.dequantized(net.constant(q), net.constant(scales), net.constant(np.zeros(4, np.int8)), axis=0)
    bias = net.constant(np.asarray([0.7, 1e6, -0.5, 0.2], np.float32))
    compare(net, net.qdq(net.node("Conv", net.qdq("x", 0.03), weights, bias), 0.01))


# Batch norms and constants that stayed float


def batch_norm(net: Net, x: str, channels: int = 4) -> str:
    gamma, beta, mean = (net.weights(channels) for _ in range(3))
    gamma[0], gamma[1] = -1.5, 0.0
    variance = np.abs(net.weights(channels)) + 0.5
    return net.node("BatchNormalization", x, *(net.constant(v) for v in (gamma, beta, mean, variance)))


def test_batch_norm_joins_the_layer_before_it() -> None:
    net = Net()
    normed = batch_norm(net, net.conv(net.qdq("x", 0.03)))
    graph = compare(net, net.qdq(net.node("Relu", normed), 0.02))
    assert [op.kind for op in graph.ops] == ["Conv2D"]


@pytest.mark.parametrize("shape", [SHAPE, (1, 4)])
def test_batch_norm_between_quantized_values(shape: tuple[int, ...]) -> None:
    net = Net(shape)
    graph = compare(net, net.qdq(net.node("Relu", batch_norm(net, net.qdq("x", 0.03))), 0.02))
    assert "DepthwiseConv2D" in [op.kind for op in graph.ops]


def test_constants_per_channel_keep_their_precision() -> None:
    net = Net()
    factors = np.asarray([100, 1, 0.01, -3], np.float32).reshape(4, 1, 1)
    product = net.node("Mul", net.qdq("x", 0.03), net.constant(factors))
    compare(net, net.qdq(net.node("Sub", net.constant(factors), product), 0.05))


def test_pool_with_a_scale_of_its_own_rounds_once() -> None:
    net = Net()
    pooled = net.node("AveragePool", net.qdq("x", 0.03), kernel_shape=[3, 2], strides=[2, 2])
    compare(net, net.qdq(pooled, 0.007))


def test_operators_without_a_scale_are_named() -> None:
    net = Net()
    a, b = (net.qdq("x", 0.03) for _ in range(2))
    error = refused(net, net.qdq(net.node("GlobalAveragePool", net.node("Mul", a, b)), 0.03))
    assert error.code == "TC-M305"
    assert error.where == "mul4_4"
    assert "not quantized" in error.what
