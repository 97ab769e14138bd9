"""Every integer operator against TFLM's own reference kernel, byte for byte, on random values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.execute import tflm
from tests.unit.execute.single import one_op_graph, qtensor, weights_tensor
from tinycompress.execute.reference import run
from tinycompress.ir import ops as o
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import DType, Tensor

RNG_SEED = 20240


def random_int8(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, size=shape, dtype=np.int8)


def value_of(tensor: Tensor, *, batch: bool = True, shape: tuple[int, ...] | None = None) -> tflm.Value:
    q = tensor.qparams
    own = shape if shape is not None else tensor.shape
    return tflm.Value(
        (1, *own) if batch else own,
        tensor.dtype.numpy,
        () if q is None else q.scale,
        () if q is None else q.zero_point,
        0 if q is None or q.axis is None else q.axis,
        None if tensor.data is None else tensor.data.reshape((1, *own) if batch else own),
    )


def check(
    op: o.Op, tensors: list[Tensor], builtin: str, options: Any, batches: list[np.ndarray], extra: list[Any] = ()
) -> None:
    """Same inputs through the reference and a one-op file; `extra`: further file inputs (weights, axes, paddings)."""
    graph = one_op_graph(op, tensors)
    ours = run(graph, dict(zip(graph.input_names, batches, strict=True))).outputs[op.outputs[0]]
    inputs = [value_of(graph.tensors[n]) for n in op.inputs]
    theirs = tflm.run(tflm.build(builtin, options, [*inputs, *extra], value_of(graph.tensors[op.outputs[0]])), *batches)
    np.testing.assert_array_equal(ours, theirs)


def option(name: str, **values: Any) -> Any:
    result = getattr(tflm.schema, name + "T")()
    for key, value in values.items():
        setattr(result, key, value)
    return result


PADDING = tflm.schema.Padding
ACTIVATION = tflm.schema.ActivationFunctionType
RELU6 = ACTIVATION.RELU6


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_conv2d(stride: tuple[int, int], dilation: tuple[int, int], per_channel: bool) -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (9, 7, 5), 0.037, 11)
    w = weights_tensor("w", rng, (6, 3, 2, 5), 0 if per_channel else None)
    b = Tensor("b", (6,), DType.INT32, data=rng.integers(-5000, 5000, 6).astype(np.int32))
    op = o.Conv2D(
        name="conv",
        inputs=("x",),
        outputs=("y",),
        weights="w",
        bias="b",
        stride=stride,
        dilation=dilation,
        activation=o.RELU6,
    )
    y = qtensor("y", (), 0.031, -90)
    options = option(
        "Conv2DOptions", padding=PADDING.VALID, strideH=stride[0], strideW=stride[1],
        dilationHFactor=dilation[0], dilationWFactor=dilation[1], fusedActivationFunction=RELU6,
    )  # fmt: skip
    extra = [value_of(w, batch=False), bias_value(b, x, w)]
    check(op, [x, w, b, y], "CONV_2D", options, [random_int8(rng, 16, 9, 7, 5)], extra)


def bias_value(b: Tensor, x: Tensor, w: Tensor) -> tflm.Value:
    scales = tuple(float(np.float32(x.quantization.tensor_scale * s)) for s in w.quantization.scale)
    return tflm.Value(b.shape, np.int32, scales, (0,) * len(scales), 0, b.data)


def test_conv2d_grouped_same_padding() -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (6, 6, 4), 0.02, -128)
    w = weights_tensor("w", rng, (6, 3, 3, 2), 0)
    op = o.Conv2D(name="c", inputs=("x",), outputs=("y",), weights="w", padding=(1, 1, 1, 1), groups=2)
    options = option("Conv2DOptions", padding=PADDING.SAME, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    zero = tflm.Value((6,), np.int32, (0.02 * 1,) * 6, (0,) * 6, 0, np.zeros(6))
    check(
        op, [x, w, qtensor("y", (), 0.05, 3)], "CONV_2D", options, [random_int8(rng, 8, 6, 6, 4)],
        [value_of(w, batch=False), zero],
    )  # fmt: skip


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise(multiplier: int) -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (7, 7, 4), 0.02, 5)
    w = weights_tensor("w", rng, (3, 3, 4 * multiplier), 2)
    b = Tensor("b", (4 * multiplier,), DType.INT32, data=rng.integers(-900, 900, 4 * multiplier).astype(np.int32))
    op = o.DepthwiseConv2D(
        name="dw", inputs=("x",), outputs=("y",), weights="w", bias="b", multiplier=multiplier,
        stride=(2, 2), padding=(1, 1, 1, 1), activation=o.RELU,
    )  # fmt: skip
    options = option(
        "DepthwiseConv2DOptions", padding=PADDING.SAME, strideH=2, strideW=2, depthMultiplier=multiplier,
        dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=ACTIVATION.RELU,
    )  # fmt: skip
    filters = value_of(w)
    filters.axis = 3
    check(
        op, [x, w, b, qtensor("y", (), 0.04, -20)], "DEPTHWISE_CONV_2D", options, [random_int8(rng, 8, 7, 7, 4)],
        [filters, bias_value(b, x, w)],
    )  # fmt: skip


def test_transpose_conv() -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (4, 5, 3), 0.02, 7)
    w = weights_tensor("w", rng, (5, 3, 3, 3), 0)
    b = Tensor("b", (5,), DType.INT32, data=rng.integers(-900, 900, 5).astype(np.int32))
    op = o.TransposeConv2D(
        name="t", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=(2, 2), padding=(0, 0, 1, 1)
    )
    graph = one_op_graph(op, [x, w, b, qtensor("y", (), 0.09, -3)])
    batch = random_int8(rng, 4, 4, 5, 3)
    ours = run(graph, {"x": batch}).output
    assert ours.shape == (4, 8, 10, 5)
    shape = tflm.Value((4,), np.int32, data=[1, 8, 10, 5])
    options = option("TransposeConvOptions", padding=PADDING.SAME, strideH=2, strideW=2)
    inputs = [shape, value_of(w, batch=False), value_of(graph.tensors["x"]), bias_value(b, x, w)]
    theirs = tflm.run(tflm.build("TRANSPOSE_CONV", options, inputs, value_of(graph.tensors["y"])), batch)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("per_channel", [False, True])
def test_fully_connected(per_channel: bool) -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (50,), 0.0173, -17)
    w = weights_tensor("w", rng, (12, 50), 0 if per_channel else None)
    b = Tensor("b", (12,), DType.INT32, data=rng.integers(-9000, 9000, 12).astype(np.int32))
    op = o.FullyConnected(name="fc", inputs=("x",), outputs=("y",), weights="w", bias="b")
    options = option("FullyConnectedOptions")
    check(
        op, [x, w, b, qtensor("y", (), 0.21, 9)], "FULLY_CONNECTED", options, [random_int8(rng, 64, 50)],
        [value_of(w, batch=False), bias_value(b, x, w)],
    )  # fmt: skip


ARITHMETIC = [(o.Add, "ADD", "AddOptions"), (o.Sub, "SUB", "SubOptions"), (o.Mul, "MUL", "MulOptions")]


@pytest.mark.parametrize(("kind", "builtin", "options"), ARITHMETIC)
@pytest.mark.parametrize("broadcast", [False, True])
def test_arithmetic(kind: type[o.Op], builtin: str, options: str, broadcast: bool) -> None:
    rng = np.random.default_rng(RNG_SEED)
    shape = (1, 1, 6) if broadcast else (4, 5, 6)
    a, b, y = qtensor("a", (4, 5, 6), 0.021, 3), qtensor("b", shape, 0.0471, -9), qtensor("y", (), 0.0503, 12)
    op = kind(name="op", inputs=("a", "b"), outputs=("y",), activation=o.RELU)
    batches = [random_int8(rng, 64, 4, 5, 6), random_int8(rng, 64, *shape)]
    check(op, [a, b, y], builtin, option(options, fusedActivationFunction=ACTIVATION.RELU), batches)


@pytest.mark.parametrize(("kind", "builtin"), [(o.Maximum, "MAXIMUM"), (o.Minimum, "MINIMUM")])
def test_extrema(kind: type[o.Op], builtin: str) -> None:
    rng = np.random.default_rng(RNG_SEED)
    tensors = [qtensor(n, (3, 4, 6) if n != "y" else (), 0.02, 3) for n in "aby"]
    op = kind(name="op", inputs=("a", "b"), outputs=("y",))
    batches = [random_int8(rng, 8, 3, 4, 6), random_int8(rng, 8, 3, 4, 6)]
    check(op, tensors, builtin, option("MaximumMinimumOptions"), batches)


@pytest.mark.parametrize(("kind", "builtin"), [(o.AveragePool2D, "AVERAGE_POOL_2D"), (o.MaxPool2D, "MAX_POOL_2D")])
@pytest.mark.parametrize("same", [False, True])
def test_pools(kind: type[o.Op], builtin: str, same: bool) -> None:
    rng = np.random.default_rng(RNG_SEED)
    padding = (1, 1, 1, 1) if same else (0, 0, 0, 0)
    x = qtensor("x", (7, 7, 4), 0.02, 3)
    op = kind(name="p", inputs=("x",), outputs=("y",), kernel=(3, 3), stride=(2, 2), padding=padding, activation=o.RELU)
    options = option(
        "Pool2DOptions", padding=PADDING.SAME if same else PADDING.VALID, strideH=2, strideW=2,
        filterHeight=3, filterWidth=3, fusedActivationFunction=ACTIVATION.RELU,
    )  # fmt: skip
    check(op, [x, qtensor("y", (), 0.02, 3)], builtin, options, [random_int8(rng, 32, 7, 7, 4)])


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("axes", "keepdims"), [((0, 1), False), ((0, 1), True), ((2,), False), ((0,), True)])
def test_mean(equal: bool, axes: tuple[int, ...], keepdims: bool) -> None:
    rng = np.random.default_rng(RNG_SEED)
    x = qtensor("x", (5, 7, 4), 0.021, -7)
    y = qtensor("y", (), 0.021 if equal else 0.0094, -7 if equal else 4)
    op = o.Mean(name="m", inputs=("x",), outputs=("y",), axes=axes, keepdims=keepdims)
    batch = np.clip(rng.normal(0, 60, (200, 5, 7, 4)) + rng.normal(0, 30, (200, 1, 1, 4)), -128, 127).astype(np.int8)
    extra = [tflm.Value((len(axes),), np.int32, data=[a + 1 for a in axes])]
    check(op, [x, y], "MEAN", option("ReducerOptions", keepDims=keepdims), [batch], extra)


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.1, 0.9, 7.0])
@pytest.mark.parametrize("depth", [2, 10, 100])
def test_softmax(scale: float, depth: int) -> None:
    rng = np.random.default_rng(RNG_SEED)
    op = o.Softmax(name="s", inputs=("x",), outputs=("y",))
    batch = random_int8(rng, 300, depth)
    batch[0] = 5
    tensors = [qtensor("x", (depth,), scale, 4), qtensor("y", (), 1 / 256, -128)]
    check(op, tensors, "SOFTMAX", option("SoftmaxOptions", beta=1.0), [batch])


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.1, 0.9, 7.0])
@pytest.mark.parametrize("depth", [2, 10, 100])
def test_log_softmax(scale: float, depth: int) -> None:
    rng = np.random.default_rng(RNG_SEED)
    op = o.LogSoftmax(name="s", inputs=("x",), outputs=("y",))
    tensors = [qtensor("x", (depth,), scale, 4), qtensor("y", (), 16 / 256, 127)]
    check(op, tensors, "LOG_SOFTMAX", option("LogSoftmaxOptions"), [random_int8(rng, 300, depth)])


def test_relu_with_its_own_scale() -> None:
    rng = np.random.default_rng(RNG_SEED)
    op = o.Clamp(name="r", inputs=("x",), outputs=("y",), activation=o.RELU)
    check(op, [qtensor("x", (6, 6), 0.02, 3), qtensor("y", (), 0.011, -128)], "RELU", None, [random_int8(rng, 8, 6, 6)])


def test_prelu() -> None:
    rng = np.random.default_rng(RNG_SEED)
    alpha = Tensor("alpha", (1, 1, 6), DType.INT8, qtensor("q", (), 0.004, 3).qparams, random_int8(rng, 1, 1, 6))
    op = o.PReLU(name="p", inputs=("x",), outputs=("y",), alpha="alpha")
    tensors = [qtensor("x", (4, 4, 6), 0.02, 3), qtensor("y", (), 0.017, -11), alpha]
    extra = [value_of(alpha, batch=False)]
    check(op, tensors, "PRELU", None, [random_int8(rng, 32, 4, 4, 6)], extra)


@pytest.mark.parametrize("target", [DType.INT8, DType.INT16, DType.INT32])
def test_quantize_between_integers(target: DType) -> None:
    rng = np.random.default_rng(RNG_SEED)
    op = o.Quantize(name="q", inputs=("x",), outputs=("y",))
    y = qtensor("y", (), 0.011, 0 if target is DType.INT16 else 5, target)
    check(op, [qtensor("x", (50,), 0.02, 3), y], "QUANTIZE", option("QuantizeOptions"), [random_int8(rng, 8, 50)])


def test_pad() -> None:
    rng = np.random.default_rng(RNG_SEED)
    op = o.Pad(name="p", inputs=("x",), outputs=("y",), amounts=((1, 0), (2, 3), (0, 1)))
    extra = [tflm.Value((4, 2), np.int32, data=[0, 0, 1, 0, 2, 3, 0, 1])]
    tensors = [qtensor("x", (3, 4, 2), 0.02, 9), qtensor("y", (), 0.02, 9)]
    check(op, tensors, "PAD", option("PadOptions"), [random_int8(rng, 3, 3, 4, 2)], extra)


@pytest.mark.parametrize("mode", ["plain", "corners", "centers"])
@pytest.mark.parametrize("size", [(7, 5), (3, 2), (8, 12)])
@pytest.mark.parametrize(
    ("kind", "builtin"), [(o.ResizeBilinear, "RESIZE_BILINEAR"), (o.ResizeNearest, "RESIZE_NEAREST_NEIGHBOR")]
)
def test_resize(kind: type[o.Op], builtin: str, size: tuple[int, int], mode: str) -> None:
    rng = np.random.default_rng(RNG_SEED)
    corners, centers = mode == "corners", mode == "centers"
    op = kind(name="r", inputs=("x",), outputs=("y",), size=size, align_corners=corners, half_pixel_centers=centers)
    name = "ResizeBilinearOptions" if kind is o.ResizeBilinear else "ResizeNearestNeighborOptions"
    options = option(name, alignCorners=corners, halfPixelCenters=centers)
    tensors = [qtensor("x", (4, 6, 3), 0.02, 9), qtensor("y", (), 0.02, 9)]
    extra = [tflm.Value((2,), np.int32, data=list(size))]
    check(op, tensors, builtin, options, [random_int8(rng, 8, 4, 6, 3)], extra)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_svdf_over_time(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters, memory = 6, 5
    x = qtensor("x", (10,), float(rng.uniform(0.01, 0.03)), 3)
    feature = weights_tensor("f", rng, (filters, 10), None)
    q_time = qtensor("q", (), 0.0007, 0).qparams
    time = Tensor(
        "t", (filters, memory), DType.INT16, q_time, rng.integers(-3000, 3000, (filters, memory)).astype(np.int16)
    )
    bias = Tensor("b", (filters // rank,), DType.INT32, data=rng.integers(-900, 900, filters // rank).astype(np.int32))
    state = qtensor("s", (filters, memory), 0.0009, 0, DType.INT16)
    op = o.SVDF(
        name="v", inputs=("x", "s"), outputs=("y", "s2"), feature_weights="f", time_weights="t", bias="b", rank=rank
    )
    y = qtensor("y", (), 0.03, -128)
    graph = one_op_graph(op, [x, feature, time, bias, state, y], state=("s", "s2"))
    batch = random_int8(rng, 60, 10)
    ours, carried = [], None
    for sample in batch:
        result = run(graph, {"x": sample}, carried)
        carried = result.state
        ours.append(result.outputs["y"])
    variable = tflm.Value((1, filters * memory), np.int16, (0.0009,), (0,), is_variable=True)
    extra = [value_of(feature, batch=False), value_of(time, batch=False), value_of(bias, batch=False), variable]
    options = option("SVDFOptions", rank=rank, fusedActivationFunction=ACTIVATION.RELU)
    file = tflm.build("SVDF", options, [value_of(x), *extra], value_of(graph.tensors["y"]))
    np.testing.assert_array_equal(np.stack(ours), tflm.run(file, batch))


@pytest.mark.parametrize("seed", range(12))
def test_multipliers_over_random_scales(seed: int) -> None:
    """A multiplier that is off in its last bits shows up in a few of thousands of values only."""
    rng = np.random.default_rng(seed)
    scale = lambda: float(np.exp(rng.uniform(-7, 1)))  # noqa: E731
    x, z = qtensor("x", (64,), scale(), 5), qtensor("z", (64,), scale(), -3)
    w = weights_tensor("w", rng, (32, 64), None)
    b = Tensor("b", (32,), DType.INT32, data=np.zeros(32, np.int32))
    spread = x.quantization.tensor_scale * w.quantization.tensor_scale * 255 * 73 * 8
    y = qtensor("y", (), float(spread / rng.uniform(30, 200)), 1)
    batches = [random_int8(rng, 400, 64), random_int8(rng, 400, 64)]
    op = o.FullyConnected(name="fc", inputs=("x",), outputs=("y",), weights="w", bias="b")
    extra = [value_of(w, batch=False), bias_value(b, x, w)]
    check(op, [x, w, b, y], "FULLY_CONNECTED", option("FullyConnectedOptions"), batches[:1], extra)
    largest = max(x.quantization.tensor_scale, z.quantization.tensor_scale)
    both = [x, z, qtensor("y", (), float(largest * rng.uniform(0.5, 2.5)), -7)]
    check(o.Add(name="a", inputs=("x", "z"), outputs=("y",)), both, "ADD", option("AddOptions"), batches)
    check(o.Sub(name="s", inputs=("x", "z"), outputs=("y",)), both, "SUB", option("SubOptions"), batches)
    product = x.quantization.tensor_scale * z.quantization.tensor_scale * rng.uniform(60, 150)
    check(
        o.Mul(name="m", inputs=("x", "z"), outputs=("y",)), [x, z, qtensor("y", (), float(product), 3)],
        "MUL", option("MulOptions"), batches,
    )  # fmt: skip
    quantize = o.Quantize(name="q", inputs=("x",), outputs=("y",))
    check(quantize, [x, qtensor("y", (), scale(), 9)], "QUANTIZE", option("QuantizeOptions"), batches[:1])


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 3, 2), (7, 2, 1), (9, 4, 3), (5, 5, 4)])
def test_asymmetric_same_padding(size: int, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(size)
    before, after = same_padding(size, kernel, stride)
    padding = (before, before, after, after)
    x, batch = qtensor("x", (size, size, 3), 0.02, -100), random_int8(rng, 6, size, size, 3)
    w = weights_tensor("w", rng, (4, kernel, kernel, 3), 0)
    b = Tensor("b", (4,), DType.INT32, data=rng.integers(-900, 900, 4).astype(np.int32))
    conv = o.Conv2D(
        name="c", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=(stride, stride), padding=padding
    )
    window = {"padding": PADDING.SAME, "strideH": stride, "strideW": stride}
    options = option("Conv2DOptions", dilationHFactor=1, dilationWFactor=1, **window)
    y = qtensor("y", (), 0.06, 3)
    check(conv, [x, w, b, y], "CONV_2D", options, [batch], [value_of(w, batch=False), bias_value(b, x, w)])
    pool = o.AveragePool2D(
        name="p", inputs=("x",), outputs=("y",), kernel=(kernel, kernel), stride=(stride, stride), padding=padding
    )
    options = option("Pool2DOptions", filterHeight=kernel, filterWidth=kernel, **window)
    check(pool, [x, qtensor("y", (), 0.02, -100)], "AVERAGE_POOL_2D", options, [batch])
