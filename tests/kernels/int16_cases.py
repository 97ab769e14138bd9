"""Random layers of int16 activations for the DSP kernels: sizes, extremes, biases of 64 and 32 bits, both roundings."""

from __future__ import annotations

import numpy as np

from tests.kernels import harness as h
from tests.kernels.dsp_cases import int8_values
from tests.kernels.dsp_image import Case
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.kernels import DSP
from tinycompress.kernels.catalogue import KernelVariant

FARTHEST = 2**31 - 1
CLAMP = o.Activation(-900.0, 700.0)

Weighted = o.Conv2D | o.DepthwiseConv2D | o.FullyConnected


def graph_of(
    rng: np.random.Generator,
    op: Weighted,
    x: tuple[int, ...],
    shape: tuple[int, ...],
    *,
    axis: int = 0,
    kind: str = "random",
    bias_type: type[np.generic] | None = np.int64,
    bias_reach: int = 10**6,
    scale: float = 2.0**-9,
    spread: float = 3.0,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A graph of `op` with weights "w" of `shape`, a bias "b" unless `bias_type` is None, and an output scale of 1.

    `scale` is the layer's mean multiplier s_x·s_w/s_y; per channel it differs within 2^±(spread/2).
    """
    channels = shape[axis]
    scales = scale * 2.0 ** rng.uniform(-spread / 2, spread / 2, channels)
    tensors = [
        Tensor("x", x, DType.INT16, QParams.per_tensor(1.0, 0, 16)),
        h.constant("w", int8_values(rng, shape, kind), scales, axis=axis),
    ]
    if bias_type is not None:
        values = rng.integers(-bias_reach, bias_reach + 1, channels).astype(bias_type)
        if bias_reach == FARTHEST:
            values[-1] = FARTHEST
        tensors.append(Tensor("b", (channels,), DType(np.dtype(bias_type).name), None, values))
    (y,) = infer(op, {t.name: t for t in tensors})
    output = Tensor("y", y, DType.INT16, QParams.per_tensor(1.0, 0, 16))
    return h.one_op_graph(op, tensors, [output], rounding)


def _bias_name(how: dict[str, object]) -> str | None:
    return None if "bias_type" in how and how["bias_type"] is None else "b"


def _case(variant: KernelVariant, name: str, graph: QuantGraph, rng: np.random.Generator, kind: str) -> Case:
    fill = {"largest": "highest", "smallest": "lowest"}.get(kind, "random")
    return Case(name, variant, graph, {"x": h.fill(rng, graph.tensors["x"], fill)})


def conv2d(
    variant: KernelVariant,
    name: str,
    x: tuple[int, int, int],
    outputs: int,
    kernel: o.Pair,
    *,
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (0, 0, 0, 0),
    activation: o.Activation = o.NO_ACTIVATION,
    kind: str = "random",
    seed: int = 0,
    **how: object,
) -> Case:
    """A Conv2D case; `how` as in `graph_of`."""
    rng = np.random.default_rng(seed)
    op = o.Conv2D(
        name="conv", inputs=("x",), outputs=("y",), weights="w", bias=_bias_name(how), stride=stride,
        dilation=dilation, padding=padding, activation=activation,
    )  # fmt: skip
    return _case(variant, name, graph_of(rng, op, x, (outputs, *kernel, x[2]), kind=kind, **how), rng, kind)  # type: ignore[arg-type]


def depthwise(
    variant: KernelVariant,
    name: str,
    x: tuple[int, int, int],
    kernel: o.Pair = (3, 3),
    *,
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (1, 1, 1, 1),
    activation: o.Activation = o.NO_ACTIVATION,
    kind: str = "random",
    seed: int = 0,
    **how: object,
) -> Case:
    """A DepthwiseConv2D case; `how` as in `graph_of`."""
    rng = np.random.default_rng(seed)
    op = o.DepthwiseConv2D(
        name="dw", inputs=("x",), outputs=("y",), weights="w", bias=_bias_name(how), stride=stride,
        dilation=dilation, padding=padding, activation=activation,
    )  # fmt: skip
    return _case(variant, name, graph_of(rng, op, x, (*kernel, x[2]), axis=2, kind=kind, **how), rng, kind)  # type: ignore[arg-type]


def fully_connected(
    variant: KernelVariant,
    name: str,
    x: tuple[int, ...],
    outputs: int,
    *,
    activation: o.Activation = o.NO_ACTIVATION,
    kind: str = "random",
    seed: int = 0,
    **how: object,
) -> Case:
    """A FullyConnected case; `how` as in `graph_of`."""
    rng = np.random.default_rng(seed)
    op = o.FullyConnected(
        name="fc", inputs=("x",), outputs=("y",), weights="w", bias=_bias_name(how), activation=activation
    )
    return _case(variant, name, graph_of(rng, op, x, (outputs, x[-1]), kind=kind, **how), rng, kind)  # type: ignore[arg-type]


def conv2d_cases() -> list[Case]:
    """The convolution's paths, with each way to store its weights."""
    same, down, narrow = (1, 1, 1, 1), (0, 0, 1, 1), np.int32
    cases = []
    for tag, name in (("conv16", "conv2d_s16_dsp"), ("conv16-packed", "conv2d_packed_s16_dsp")):
        (kernel,) = (v for v in DSP[o.Conv2D] if v.name == name)
        cases += [
            conv2d(kernel, f"{tag}-1x1", (7, 5, 32), 16, (1, 1), activation=o.RELU),
            conv2d(kernel, f"{tag}-3x3", (6, 8, 12), 8, (3, 3), padding=same),
            conv2d(kernel, f"{tag}-odd", (5, 5, 3), 5, (3, 3), padding=same, stride=(2, 2), bias_type=None),
            conv2d(kernel, f"{tag}-rgb", (12, 12, 3), 8, (3, 3), stride=(2, 2), padding=down, activation=o.RELU),
            conv2d(kernel, f"{tag}-dilated", (7, 8, 5), 6, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
            conv2d(kernel, f"{tag}-quads", (8, 7, 8), 3, (3, 3), dilation=(2, 1), padding=(2, 1, 2, 1)),
            conv2d(kernel, f"{tag}-time", (20, 1, 6), 4, (5, 1), stride=(2, 1), padding=(2, 0, 2, 0)),
            conv2d(kernel, f"{tag}-largest", (4, 4, 16), 4, (3, 3), padding=same, kind="largest", scale=2.0**-15),
            conv2d(kernel, f"{tag}-smallest", (4, 4, 16), 4, (3, 3), padding=same, kind="smallest", scale=2.0**-15),
            conv2d(kernel, f"{tag}-clamped", (4, 5, 4), 4, (1, 1), activation=CLAMP, scale=2.0**-7),
            conv2d(kernel, f"{tag}-relu6", (4, 5, 4), 4, (1, 1), activation=o.Activation(0.0, 6000.0), scale=2.0**-8),
            conv2d(kernel, f"{tag}-deep", (3, 3, 64), 3, (3, 3), kind="smallest", scale=2.0**-16),
            conv2d(kernel, f"{tag}-segments", (4, 3, 130), 5, (3, 3), kind="extremes", scale=2.0**-13),
            conv2d(kernel, f"{tag}-far-bias", (4, 3, 6), 5, (1, 1), bias_reach=FARTHEST, scale=2.0**-16),
            conv2d(kernel, f"{tag}-fine", (4, 3, 6), 5, (1, 1), scale=2.0**-20),
            conv2d(kernel, f"{tag}-coarse", (4, 3, 6), 5, (1, 1), scale=4.0, spread=6.0),
            conv2d(kernel, f"{tag}-narrow", (4, 5, 24), 6, (3, 3), bias_type=narrow, activation=o.RELU),
            conv2d(kernel, f"{tag}-wraps", (3, 3, 64), 3, (3, 3), bias_type=narrow, kind="smallest", scale=2.0**-16),
            conv2d(kernel, f"{tag}-even-wraps", (3, 3, 9), 4, (3, 3), bias_type=narrow, bias_reach=FARTHEST),
        ]  # fmt: skip
    return cases


def fully_connected_cases() -> list[Case]:
    """The fully connected layer's paths, with each way to store its weights."""
    cases = []
    for tag, name in (("fc16", "fully_connected_s16_dsp"), ("fc16-packed", "fully_connected_packed_s16_dsp")):
        (kernel,) = (v for v in DSP[o.FullyConnected] if v.name == name)
        cases += [
            fully_connected(kernel, f"{tag}-128", (128,), 16, activation=o.RELU),
            fully_connected(kernel, f"{tag}-640", (640,), 8, scale=2.0**-11),
            fully_connected(kernel, f"{tag}-odd", (67,), 10, bias_type=None),
            fully_connected(kernel, f"{tag}-few", (3,), 2),
            fully_connected(kernel, f"{tag}-vectors", (3, 2, 12), 6, activation=CLAMP, scale=2.0**-7),
            fully_connected(kernel, f"{tag}-largest", (144,), 5, kind="largest", scale=2.0**-15),
            fully_connected(kernel, f"{tag}-smallest", (144,), 5, kind="smallest", scale=2.0**-15),
            fully_connected(kernel, f"{tag}-segments", (1300,), 5, kind="smallest", scale=2.0**-17),
            fully_connected(kernel, f"{tag}-far-bias", (20,), 7, bias_reach=FARTHEST, scale=2.0**-16),
            fully_connected(kernel, f"{tag}-fine", (20,), 5, scale=2.0**-20),
            fully_connected(kernel, f"{tag}-narrow", (90,), 9, bias_type=np.int32, activation=o.RELU),
            fully_connected(kernel, f"{tag}-wraps", (700,), 6, bias_type=np.int32, kind="smallest", scale=2.0**-16),
        ]
    return cases


def depthwise_cases() -> list[Case]:
    """The depthwise convolution's paths."""
    (kernel,) = (v for v in DSP[o.DepthwiseConv2D] if v.name == "depthwise_s16_dsp")
    wide = (2, 2, 2, 2)
    return [
        depthwise(kernel, "dw16-3x3", (8, 9, 16), activation=o.RELU),
        depthwise(kernel, "dw16-odd", (6, 7, 7), bias_type=None),
        depthwise(kernel, "dw16-strided", (9, 9, 12), stride=(2, 2), padding=(0, 0, 1, 1)),
        depthwise(kernel, "dw16-5x5", (9, 8, 6), (5, 5), padding=wide),
        depthwise(kernel, "dw16-7x7", (7, 8, 2), (7, 7), padding=(3, 3, 3, 3), kind="extremes", scale=2.0**-12),
        depthwise(kernel, "dw16-dilated", (9, 10, 5), dilation=(2, 2), padding=wide, activation=CLAMP, scale=2.0**-7),
        depthwise(kernel, "dw16-sparse", (5, 14, 8), (2, 3), stride=(1, 3), dilation=(1, 2), padding=(0, 1, 0, 1)),
        depthwise(kernel, "dw16-time", (20, 1, 12), (9, 1), padding=(4, 0, 4, 0)),
        depthwise(kernel, "dw16-largest", (5, 6, 8), kind="largest", scale=2.0**-12),
        depthwise(kernel, "dw16-smallest", (5, 6, 8), kind="smallest", scale=2.0**-12),
        depthwise(kernel, "dw16-far-bias", (4, 6, 8), bias_reach=FARTHEST, scale=2.0**-16),
        depthwise(kernel, "dw16-fine", (4, 6, 8), scale=2.0**-20),
        depthwise(kernel, "dw16-narrow", (6, 6, 9), bias_type=np.int32, activation=o.RELU),
        depthwise(kernel, "dw16-wraps", (4, 5, 4), bias_type=np.int32, bias_reach=FARTHEST, kind="largest"),
    ]


Elementwise = type[o.Add] | type[o.Sub] | type[o.Mul]


def elementwise(
    name: str,
    kind: Elementwise,
    x: tuple[int, ...],
    scales: tuple[float, float, float],
    *,
    activation: o.Activation = o.NO_ACTIVATION,
    fills: tuple[str, str] = ("random", "random"),
    rounding: Rounding = Rounding.DOUBLE,
) -> Case:
    """Two operands and an output with these scales."""
    rng = np.random.default_rng(0)
    a, b, y = (Tensor(n, x, DType.INT16, QParams.per_tensor(s, 0, 16)) for n, s in zip("aby", scales, strict=True))
    graph = h.one_op_graph(
        kind(name="op", inputs=("a", "b"), outputs=("y",), activation=activation), [a, b], [y], rounding
    )
    (kernel,) = (v for v in DSP[kind] if v.name.endswith("_s16_dsp"))
    return Case(name, kernel, graph, {t.name: h.fill(rng, t, f) for t, f in zip((a, b), fills, strict=True)})


def elementwise_cases() -> list[Case]:
    """Operands of one scale, of scales apart by little and by much, extremes."""
    low, high = ("lowest", "lowest"), ("highest", "highest")
    return [
        elementwise("add16", o.Add, (7, 6, 8), (0.7, 1.1, 1.5)),
        elementwise("add16-same", o.Add, (3, 5, 7), (1.0, 1.0, 1.0), activation=o.RELU),
        elementwise("add16-half", o.Add, (3, 5, 7), (1.0, 0.5, 0.8), activation=CLAMP),
        elementwise("add16-apart", o.Add, (3, 5, 8), (0.001, 1.0, 0.9)),
        elementwise("add16-lowest", o.Add, (2, 3, 8), (1.0, 0.9, 2.0), fills=low),
        elementwise("add16-highest", o.Add, (2, 3, 8), (1.0, 0.3, 0.1), fills=high),
        elementwise("sub16", o.Sub, (7, 6, 8), (0.7, 0.2, 0.9)),
        elementwise("sub16-odd", o.Sub, (1, 1, 1), (0.7, 0.2, 0.9)),
        elementwise("mul16", o.Mul, (7, 6, 8), (0.7, 1.1, 25000.0)),
        elementwise("mul16-odd", o.Mul, (5, 3, 3), (1.0, 1.0, 4e4), activation=o.RELU),
        elementwise("mul16-lowest", o.Mul, (2, 2, 4), (1.0, 1.0, 16.0), fills=low),
    ]


def all_cases() -> list[Case]:
    """Every DSP variant of int16 activations on shapes that reach each of its paths."""
    return [*conv2d_cases(), *fully_connected_cases(), *depthwise_cases(), *elementwise_cases()]
