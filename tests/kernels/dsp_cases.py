"""Random layers for the DSP kernels: shapes, extreme weights and inputs, shifts from a wanted range."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.kernels import harness as h
from tests.kernels.attention_graphs import layer_norm_graph, matmul_graph
from tests.kernels.dsp_image import Case, activation, single_op
from tests.kernels.recurrent_graphs import recurrent
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.kernels import DSP
from tinycompress.kernels.catalogue import KernelVariant


def int8_values(rng: np.random.Generator, shape: tuple[int, ...], kind: str = "random") -> np.ndarray:
    """`kind`: random, small (as random, within ±30), largest (all 127), smallest (all −128), extremes (127 or −128)."""
    if kind == "small":
        return rng.integers(-30, 31, shape).astype(np.int8)
    if kind == "largest":
        return np.full(shape, 127, np.int8)
    if kind == "smallest":
        return np.full(shape, -128, np.int8)
    if kind == "extremes":
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def weighted_tensors(
    rng: np.random.Generator, shape: tuple[int, ...], axis: int, scale: float, spread: float, kind: str
) -> tuple[Tensor, Tensor]:
    """Weights and bias with per-channel scales within 2^±(spread/2) of `scale`."""
    channels = shape[axis]
    scales = scale * 2.0 ** rng.uniform(-spread / 2, spread / 2, channels)
    data = np.maximum(int8_values(rng, shape, kind), -127).astype(np.int8)
    weights = Tensor("w", shape, DType.INT8, QParams(tuple(scales), (0,) * channels, axis), data)
    bias = Tensor("b", (channels,), DType.INT32, None, rng.integers(-3000, 3000, channels).astype(np.int32))
    return weights, bias


def conv2d(
    variant: KernelVariant,
    name: str,
    x: tuple[int, int, int],
    outputs: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    relu: bool = True,
    zero_points: tuple[int, int] = (-128, -128),
    scale: float = 2.0**-8,
    spread: float = 3.0,
    activation_: o.Activation | None = None,
    kind: str = "random",
    groups: int = 1,
    rounding: Rounding = Rounding.DOUBLE,
    seed: int = 0,
) -> Case:
    """A Conv2D case; `scale` is the layer's mean multiplier s_x·s_w/s_y."""
    rng = np.random.default_rng(seed)
    weights, bias = weighted_tensors(rng, (outputs, *kernel, x[2] // groups), 0, scale, spread, kind)
    clamp = activation_ or (o.RELU if relu else o.NO_ACTIVATION)
    op = o.Conv2D(name="conv", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=stride, dilation=dilation,
                  padding=padding, groups=groups, activation=clamp)  # fmt: skip
    graph = single_op(
        op, (activation("x", x, 1.0, zero_points[0]), weights, bias), QParams.per_tensor(1.0, zero_points[1]), rounding
    )
    return Case(name, variant, graph, {"x": int8_values(rng, x, kind)})


def transposed(
    name: str,
    x: tuple[int, int, int],
    outputs: int,
    kernel: o.Pair,
    stride: o.Pair = (2, 2),
    padding: o.Padding = (0, 0, 0, 0),
    extra: o.Pair = (0, 0),
    *,
    relu: bool = True,
    zero_points: tuple[int, int] = (-128, -128),
    scale: float = 2.0**-8,
    spread: float = 3.0,
    kind: str = "random",
    rounding: Rounding = Rounding.DOUBLE,
    seed: int = 0,
) -> Case:
    """A TransposeConv2D case; `scale` is the layer's mean multiplier s_x·s_w/s_y."""
    rng = np.random.default_rng(seed)
    weights, bias = weighted_tensors(rng, (outputs, *kernel, x[2]), 0, scale, spread, kind)
    op = o.TransposeConv2D(
        name="up", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=stride, padding=padding,
        output_padding=extra, activation=o.RELU if relu else o.NO_ACTIVATION,
    )  # fmt: skip
    tensors = (activation("x", x, 1.0, zero_points[0]), weights, bias)
    graph = single_op(op, tensors, QParams.per_tensor(1.0, zero_points[1]), rounding)
    return Case(name, DSP[o.TransposeConv2D][0], graph, {"x": int8_values(rng, x, kind)})


def _transposed_cases() -> list[Case]:
    return [
        transposed("up-2x2", (5, 4, 16), 8, (2, 2)),
        transposed("up-3x3", (4, 5, 8), 4, (3, 3), relu=False, zero_points=(3, -7)),
        transposed("up-4x4", (4, 4, 12), 6, (4, 4), padding=(1, 1, 1, 1), zero_points=(-7, -128)),
        transposed("up-odd", (3, 5, 5), 3, (3, 3), padding=(0, 1, 1, 0), extra=(1, 1), relu=False, zero_points=(9, 4)),
        transposed("up-one", (4, 4, 16), 1, (3, 3), padding=(0, 0, 1, 1), relu=False, rounding=Rounding.SINGLE),
        transposed("up-holes", (3, 4, 6), 4, (2, 1), stride=(3, 2), zero_points=(20, -128)),
        transposed("up-rows", (7, 1, 20), 5, (4, 1), stride=(2, 1), padding=(1, 0, 1, 0), spread=12.0, scale=2.0**-9),
        transposed(
            "up-deep", (3, 3, 80), 2, (3, 3), stride=(1, 1), padding=(1, 1, 1, 1), kind="extremes", scale=2.0**-14
        ),
        transposed("up-largest", (3, 3, 32), 4, (4, 4), padding=(1, 1, 1, 1), kind="largest", scale=2.0**-13),
        transposed("up-smallest", (3, 3, 32), 4, (4, 4), padding=(1, 1, 1, 1), kind="smallest", scale=2.0**-13),
    ]


def depthwise(
    variant: KernelVariant,
    name: str,
    x: tuple[int, int, int],
    *,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    kernel: tuple[int, int] = (3, 3),
    dilation: tuple[int, int] = (1, 1),
    multiplier: int = 1,
    relu: bool = True,
    zero_points: tuple[int, int] = (-128, -128),
    scale: float = 2.0**-7,
    spread: float = 3.0,
    kind: str = "random",
    rounding: Rounding = Rounding.DOUBLE,
    seed: int = 0,
) -> Case:
    """A DepthwiseConv2D case; `scale` is the layer's mean multiplier s_x·s_w/s_y."""
    rng = np.random.default_rng(seed)
    weights, bias = weighted_tensors(rng, (*kernel, x[2] * multiplier), 2, scale, spread, kind)
    op = o.DepthwiseConv2D(
        name="dw", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=(stride, stride), padding=padding,
        dilation=dilation, multiplier=multiplier, activation=o.RELU if relu else o.NO_ACTIVATION,
    )  # fmt: skip
    tensors = (activation("x", x, 1.0, zero_points[0]), weights, bias)
    graph = single_op(op, tensors, QParams.per_tensor(1.0, zero_points[1]), rounding)
    return Case(name, variant, graph, {"x": int8_values(rng, x, kind)})


def fully_connected(
    variant: KernelVariant,
    name: str,
    x: tuple[int, ...],
    outputs: int,
    *,
    relu: bool = True,
    zero_points: tuple[int, int] = (-128, -128),
    scale: float = 2.0**-8,
    spread: float = 3.0,
    kind: str = "random",
    seed: int = 0,
) -> Case:
    """A FullyConnected case; `scale` is the layer's mean multiplier s_x·s_w/s_y."""
    rng = np.random.default_rng(seed)
    weights, bias = weighted_tensors(rng, (outputs, x[-1]), 0, scale, spread, kind)
    clamp = o.RELU if relu else o.NO_ACTIVATION
    op = o.FullyConnected(name="fc", inputs=("x",), outputs=("y",), weights="w", bias="b", activation=clamp)
    tensors = (activation("x", x, 1.0, zero_points[0]), weights, bias)
    graph = single_op(op, tensors, QParams.per_tensor(1.0, zero_points[1]))
    return Case(name, variant, graph, {"x": int8_values(rng, x, kind)})


def _fully_connected_cases() -> list[Case]:
    cases = []
    for tag, variant in zip(("fc", "fc-packed"), DSP[o.FullyConnected][:2], strict=True):
        cases += [
            fully_connected(variant, f"{tag}-128", (128,), 16),
            fully_connected(variant, f"{tag}-640", (640,), 8, relu=False, zero_points=(5, 96)),
            fully_connected(variant, f"{tag}-odd", (67,), 10, zero_points=(4, -128)),
            fully_connected(variant, f"{tag}-uneven", (16,), 12, spread=12.0, scale=2.0**-9),
            fully_connected(variant, f"{tag}-few", (3,), 2, relu=False, zero_points=(0, -5)),
            fully_connected(variant, f"{tag}-vectors", (3, 2, 12), 6, relu=False, zero_points=(-20, 7)),
            fully_connected(variant, f"{tag}-extremes", (40,), 12, kind="extremes", scale=2.0**-11),
        ]
    return cases


def add(
    name: str,
    shape: tuple[int, ...],
    scales: tuple[float, float],
    zero_points: tuple[int, int, int] = (5, -9, -128),
    *,
    kinds: type[o.Add] | type[o.Sub] | type[o.Mul] = o.Add,
    relu: bool = True,
    kind: str = "random",
) -> Case:
    """An element-wise case with an output scale of 1."""
    rng = np.random.default_rng(0)
    op = kinds(name="add", inputs=("a", "b"), outputs=("y",), activation=o.RELU if relu else o.NO_ACTIVATION)
    tensors = [activation(n, shape, scale, z) for n, scale, z in zip("ab", scales, zero_points[:2], strict=True)]
    graph = single_op(op, tensors, QParams.per_tensor(1.0, zero_points[2]))
    inputs = {n: int8_values(rng, shape, kind) for n in "ab"}
    return Case(name, DSP[kinds][0], graph, inputs)


def multiplied(
    name: str,
    x: tuple[int, ...],
    row: tuple[int, ...],
    *,
    place: int = 1,
    is_constant: bool = False,
    relu: bool = False,
    zero_points: tuple[int, int, int] = (-9, -128, 5),
    scale: float = 0.03,
    rounding: Rounding = Rounding.DOUBLE,
    seed: int = 0,
) -> Case:
    """A tensor times one that repeats within it, at `place`; `scale` is the layer's multiplier s_x·s_row/s_y."""
    rng = np.random.default_rng(seed)
    values = {"x": int8_values(rng, x), "k": int8_values(rng, row)}
    k = Tensor("k", row, DType.INT8, QParams.per_tensor(scale, zero_points[1]), values["k"] if is_constant else None)
    op = o.Mul(name="mul", inputs=("x", "k") if place else ("k", "x"), outputs=("y",),
               activation=o.RELU if relu else o.NO_ACTIVATION)  # fmt: skip
    tensors = (activation("x", x, 1.0, zero_points[0]), k)
    graph = single_op(op, tensors, QParams.per_tensor(1.0, zero_points[2]), rounding)
    return Case(name, DSP[o.Mul][1], graph, {n: values[n] for n in graph.input_names})


def _multiplied_cases() -> list[Case]:
    return [
        multiplied("mul-channels", (7, 5, 24), (1, 1, 24)),
        multiplied("mul-channels-first", (17, 4, 16), (16,), place=0, relu=True),
        multiplied("mul-channels-odd", (3, 5, 7), (1, 1, 7), rounding=Rounding.SINGLE),
        multiplied("mul-channels-six", (4, 9, 6), (6,), is_constant=True, zero_points=(-128, -128, -128)),
        multiplied("mul-value", (3, 5, 7), (1,), is_constant=True, scale=0.4),
        multiplied("mul-values", (5, 3, 8), (5, 1, 1)),
        multiplied("mul-own-rows", (5, 6, 8), (5, 1, 8), place=0, rounding=Rounding.SINGLE, scale=2.0**-14),
        multiplied("mul-one-row", (6, 4, 10), (1, 4, 10), relu=True, scale=2.0**-9),
    ]


def _add_cases() -> list[Case]:
    return [
        add("add", (16, 4, 16), (0.7, 1.1)),
        add("add-swapped", (3, 5, 7), (1.3, 0.4)),
        add("add-signed", (3, 5, 7), (0.3, 0.9), (1, 2, -3), relu=False),
        add("add-extremes", (2, 8, 8), (0.3, 0.9), kind="extremes"),
        add("add-coarse", (2, 4, 5), (300.0, 500.0), (1, 2, -128)),
        add("mul", (3, 5, 7), (0.1, 0.06), kinds=o.Mul),
        add("mul-signed", (3, 5, 7), (0.1, 0.06), (1, 2, -3), kinds=o.Mul, relu=False, kind="extremes"),
        add("sub", (3, 4, 5), (0.3, 0.9), kinds=o.Sub),
        add("sub-signed", (3, 4, 5), (0.9, 0.3), (1, 2, -3), kinds=o.Sub, relu=False),
    ]


def add_constant(
    name: str,
    x: tuple[int, ...],
    constant: tuple[int, ...],
    *,
    place: int = 1,
    kinds: type[o.Add] | type[o.Sub] = o.Add,
    scales: tuple[float, float] = (0.7, 1.1),
    relu: bool = True,
) -> Case:
    """A tensor and a constant operand at `place`, with an output scale of 1."""
    rng = np.random.default_rng(0)
    names = ("x", "k") if place else ("k", "x")
    op = kinds(name="add", inputs=names, outputs=("y",), activation=o.RELU if relu else o.NO_ACTIVATION)
    data = int8_values(rng, constant, "random")
    k = Tensor("k", constant, DType.INT8, QParams.per_tensor(scales[1], -9), data)
    graph = single_op(op, (activation("x", x, scales[0], 5), k), QParams.per_tensor(1.0, -128 if relu else 3))
    return Case(name, DSP[kinds][1], graph, {"x": int8_values(rng, x, "random")})


def _add_constant_cases() -> list[Case]:
    return [
        add_constant("add-bias", (7, 8, 16), (16,)),
        add_constant("add-bias-signed", (3, 5, 7), (1, 1, 7), place=0, relu=False),
        add_constant("add-scalar", (4, 5, 6), (1,), scales=(0.3, 0.2)),
        add_constant("sub-bias", (4, 3, 8), (8,), kinds=o.Sub, relu=False),
        add_constant("sub-from-constant", (4, 3, 8), (8,), place=0, kinds=o.Sub),
    ]


def _depthwise_cases() -> list[Case]:
    dense, strided = DSP[o.DepthwiseConv2D][:2]
    return [
        depthwise(strided, "dw2-6", (6, 6, 8), stride=2, padding=(0, 0, 1, 1)),
        depthwise(strided, "dw2-same", (7, 7, 12), stride=2, zero_points=(5, -128)),
        depthwise(strided, "dw2-valid", (9, 9, 4), stride=2, padding=(0, 0, 0, 0), kind="extremes"),
        depthwise(strided, "dw2-wide", (6, 48, 8), stride=2, padding=(0, 0, 1, 1), zero_points=(-7, -128)),
        depthwise(strided, "dw2-odd", (5, 8, 6), stride=2, relu=False, zero_points=(-7, 20)),
        depthwise(strided, "dw2-26", (5, 52, 5), stride=2, relu=False, zero_points=(-7, 20)),
        depthwise(strided, "dw2-narrow", (4, 1, 5), stride=2, kind="smallest", scale=2.0**-11),
        depthwise(strided, "dw2-uneven", (6, 6, 4), stride=2, padding=(1, 2, 2, 1), kind="largest", scale=2.0**-11),
        depthwise(dense, "dw-5", (5, 5, 12)),
        depthwise(dense, "dw-16", (6, 16, 8), zero_points=(3, -128)),
        depthwise(dense, "dw-29", (4, 29, 4)),
        depthwise(dense, "dw-odd-channels", (3, 3, 7)),
        depthwise(dense, "dw-signed", (5, 4, 6), relu=False, zero_points=(-9, 11)),
        depthwise(dense, "dw-signed-26", (3, 26, 5), relu=False, zero_points=(-9, 11)),
        depthwise(dense, "dw-valid", (6, 7, 4), padding=(0, 0, 0, 0), kind="extremes"),
        depthwise(dense, "dw-column", (4, 1, 9), kind="smallest", scale=2.0**-11),
        depthwise(dense, "dw-uneven", (4, 6, 4), padding=(2, 2, 0, 1), kind="largest", scale=2.0**-11),
        depthwise(dense, "dw-uneven-scales", (4, 6, 8), spread=12.0, scale=2.0**-9),
        depthwise(dense, "dw-single", (4, 8, 4), rounding=Rounding.SINGLE, relu=False, zero_points=(1, 2)),
    ]


def _conv2d_cases() -> list[Case]:
    direct = next(v for v in DSP[o.Conv2D] if v.name == "conv2d_s8_dsp")
    down, same = (0, 0, 1, 1), (1, 1, 1, 1)
    return [
        conv2d(direct, "pointwise", (7, 5, 64), 64, (1, 1)),
        conv2d(direct, "pointwise-narrow", (6, 6, 8), 16, (1, 1)),
        conv2d(direct, "pointwise-odd", (3, 3, 30), 19, (1, 1), relu=False, zero_points=(-5, 14)),
        conv2d(direct, "pointwise-strided", (5, 7, 12), 3, (1, 1), stride=(2, 2), zero_points=(7, -128)),
        conv2d(direct, "stride2", (8, 8, 16), 32, (3, 3), stride=(2, 2), padding=down),
        conv2d(direct, "columns", (7, 2, 2), 1, (3, 2), stride=(2, 2), zero_points=(127, 0)),
        conv2d(direct, "columns-series", (9, 6, 1), 3, (5, 4), stride=(2, 1), relu=False, zero_points=(5, -9)),
        conv2d(direct, "columns-one-row", (5, 7, 4), 3, (5, 1), relu=False, zero_points=(-4, 11)),
        conv2d(direct, "rgb", (12, 12, 3), 8, (3, 3), stride=(2, 2), padding=down, zero_points=(-1, -128)),
        conv2d(
            direct, "spectrum", (11, 10, 1), 6, (10, 4), stride=(2, 2), padding=(4, 1, 5, 1), zero_points=(83, -128)
        ),
        conv2d(direct, "dilated", (7, 8, 5), 6, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), kind="extremes"),
        conv2d(direct, "largest", (4, 4, 16), 4, (3, 3), padding=same, kind="largest", scale=2.0**-14),
        conv2d(direct, "smallest", (4, 4, 16), 4, (3, 3), padding=same, kind="smallest", scale=2.0**-12),
        conv2d(direct, "signed", (5, 5, 9), 5, (3, 3), padding=same, relu=False, zero_points=(3, -7)),
        conv2d(direct, "clamped", (4, 5, 4), 4, (1, 1), activation_=o.Activation(-20.0, 60.0), zero_points=(0, -30)),
        conv2d(direct, "uneven-scales", (3, 4, 8), 8, (1, 1), spread=12.0, scale=2.0**-9),
        conv2d(direct, "single", (4, 5, 24), 6, (3, 3), relu=False, zero_points=(0, 5), rounding=Rounding.SINGLE),
    ]


def pool(
    name: str,
    kinds: type[o.AveragePool2D] | type[o.MaxPool2D],
    x: tuple[int, int, int],
    kernel: o.Pair,
    stride: o.Pair,
    padding: o.Padding = (0, 0, 0, 0),
    kind: str = "random",
) -> Case:
    """A pooling case."""
    op = kinds(name="pool", inputs=("x",), outputs=("y",), kernel=kernel, stride=stride, padding=padding)
    graph = single_op(op, (activation("x", x, 0.5, -7),), QParams.per_tensor(0.5, -7))
    return Case(name, DSP[kinds][0], graph, {"x": int8_values(np.random.default_rng(0), x, kind)})


def _pool_cases() -> list[Case]:
    cases = []
    for tag, kinds in (("mean", o.AveragePool2D), ("max", o.MaxPool2D)):
        cases += [
            pool(f"{tag}-global", kinds, (15, 17, 8), (15, 17), (1, 1)),
            pool(f"{tag}-halving", kinds, (6, 8, 6), (2, 2), (2, 2)),
            pool(f"{tag}-padded", kinds, (5, 7, 4), (3, 3), (2, 1), (1, 1, 1, 1)),
            pool(f"{tag}-smallest", kinds, (15, 17, 4), (15, 17), (1, 1), kind="smallest"),
        ]
    return cases


def _polyphase_cases() -> list[Case]:
    kernel = next(v for v in DSP[o.Conv2D] if v.name == "conv2d_polyphase_s8_dsp")
    down, same = (0, 0, 1, 1), (1, 1, 1, 1)

    def layer(name: str, x: tuple[int, int, int], outputs: int, padding: o.Padding, **how: Any) -> Case:
        how = {"scale": 2.0**-9, "spread": 1.5, **how}
        return conv2d(kernel, name, x, outputs, (3, 3), stride=(2, 2), padding=padding, **how)

    return [
        layer("phase-16", (16, 16, 16), 4, down),
        layer("phase-32", (8, 16, 32), 2, down, zero_points=(4, -128)),
        layer("phase-same", (9, 23, 4), 2, same, zero_points=(4, -128)),
        layer("phase-signed", (11, 17, 8), 4, same, relu=False, zero_points=(-5, 9)),
        layer("phase-valid", (9, 19, 12), 4, (0, 0, 0, 0)),
        layer("phase-uneven", (6, 16, 4), 4, (2, 2, 1, 1), relu=False, zero_points=(3, -4)),
        layer("phase-extremes", (8, 16, 16), 4, down, kind="extremes", scale=2.0**-11),
        layer("phase-largest", (8, 16, 12), 4, down, kind="largest", scale=2.0**-11),
        layer("phase-smallest", (8, 16, 12), 4, down, kind="smallest", scale=2.0**-11),
        layer("phase-single", (8, 17, 8), 4, same, relu=False, zero_points=(0, 5), rounding=Rounding.SINGLE),
    ]


def _packed_cases() -> list[Case]:
    kernel = next(v for v in DSP[o.Conv2D] if v.name == "conv2d_packed_s8_dsp")
    same = (1, 1, 1, 1)
    return [
        conv2d(kernel, "packed", (4, 16, 32), 8, (1, 1)),
        conv2d(kernel, "packed-rows", (7, 5, 64), 6, (1, 1), relu=False, zero_points=(5, -3)),
        conv2d(kernel, "packed-wide", (2, 37, 16), 4, (1, 1), stride=(1, 1), zero_points=(5, -128)),
        conv2d(kernel, "packed-window", (6, 6, 12), 5, (3, 3), padding=same, zero_points=(-4, -128)),
        conv2d(kernel, "packed-deep", (3, 3, 64), 3, (3, 3), padding=same, relu=False, zero_points=(-4, 8)),
        conv2d(kernel, "packed-column", (5, 1, 6), 2, (1, 1), kind="extremes"),
    ]


def _grouped_cases() -> list[Case]:
    (kernel,) = (v for v in DSP[o.Conv2D] if v.name == "conv2d_grouped_s8_dsp")
    same = (1, 1, 1, 1)
    return [
        conv2d(kernel, "group-1x1", (6, 6, 48), 48, (1, 1), groups=3),
        conv2d(kernel, "group-4", (8, 8, 32), 32, (3, 3), padding=same, groups=8, zero_points=(5, -128)),
        conv2d(kernel, "group-odd", (5, 7, 9), 6, (3, 3), padding=same, groups=3, relu=False, zero_points=(-4, 9)),
        conv2d(kernel, "group-strided", (9, 9, 16), 8, (3, 3), stride=(2, 2), groups=2, kind="extremes"),
        conv2d(kernel, "group-dilated", (8, 7, 8), 8, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), groups=2,
               zero_points=(3, -128)),
        conv2d(kernel, "group-single", (4, 5, 24), 8, (3, 3), groups=4, relu=False, zero_points=(0, 5),
               rounding=Rounding.SINGLE),
        depthwise(kernel, "multiplier-one-channel", (20, 10, 1), kernel=(10, 8), stride=2, padding=(4, 3, 5, 3),
                  multiplier=8, scale=2.0**-9),
        depthwise(kernel, "multiplier-2", (6, 7, 5), multiplier=2, zero_points=(7, -128)),
        depthwise(kernel, "multiplier-4", (5, 5, 3), multiplier=4, relu=False, zero_points=(-9, 3), stride=2),
    ]  # fmt: skip


def _taps_cases() -> list[Case]:
    (kernel,) = (v for v in DSP[o.DepthwiseConv2D] if v.name == "depthwise_taps_s8_dsp")
    wide = (2, 2, 2, 2)
    return [
        depthwise(kernel, "taps-5x5", (8, 8, 16), kernel=(5, 5), padding=wide, zero_points=(5, -128)),
        depthwise(kernel, "taps-5x5-strided", (9, 9, 6), kernel=(5, 5), stride=2, padding=wide, relu=False,
                  zero_points=(-4, 9)),
        depthwise(kernel, "taps-7x7", (7, 8, 4), kernel=(7, 7), padding=(3, 3, 3, 3), kind="extremes", scale=2.0**-11),
        depthwise(kernel, "taps-time", (20, 1, 12), kernel=(9, 1), padding=(4, 0, 4, 0)),
        depthwise(kernel, "taps-dilated", (8, 9, 5), dilation=(2, 2), padding=wide, zero_points=(3, -128)),
        depthwise(kernel, "taps-3x3", (7, 6, 10), zero_points=(5, -128)),
        depthwise(kernel, "taps-3x3-strided", (8, 9, 6), stride=2, padding=(0, 0, 1, 1), relu=False,
                  zero_points=(-4, 9)),
        depthwise(kernel, "taps-single", (4, 6, 8), kernel=(1, 3), padding=(0, 1, 0, 1), relu=False,
                  zero_points=(1, 2), rounding=Rounding.SINGLE),
    ]  # fmt: skip


def mean(name: str, x: tuple[int, int, int], kind: str = "random") -> Case:
    """A Mean over a whole image."""
    op = o.Mean(name="mean", inputs=("x",), outputs=("y",), axes=(0, 1), keepdims=True)
    graph = single_op(op, (activation("x", x, 0.5, -7),), QParams.per_tensor(0.3, 4))
    return Case(name, DSP[o.Mean][0], graph, {"x": int8_values(np.random.default_rng(0), x, kind)})


def _mean_cases() -> list[Case]:
    return [
        mean("image-mean-7", (7, 7, 32)),
        mean("image-mean-odd", (5, 9, 7)),
        mean("image-mean-tall", (40, 20, 6), "smallest"),
        mean("image-mean-wide", (3, 255, 4), "largest"),
    ]


def _winograd_cases() -> list[Case]:
    kernel = next(v for v in DSP[o.Conv2D] if v.name == "conv2d_winograd_s8_dsp")
    same = (1, 1, 1, 1)
    return [
        conv2d(kernel, "wino-16", (8, 16, 16), 4, (3, 3), padding=same, spread=1.5, scale=2.0**-9),
        conv2d(
            kernel, "wino-24", (4, 8, 24), 6, (3, 3), padding=same, spread=1.5, scale=2.0**-9, zero_points=(4, -128)
        ),
        conv2d(kernel, "wino-4", (9, 11, 4), 2, (3, 3), padding=same, spread=1.5, scale=2.0**-7, zero_points=(4, -128)),
        conv2d(kernel, "wino-signed", (6, 8, 8), 4, (3, 3), padding=same, spread=1.5, relu=False, zero_points=(-5, 9)),
        conv2d(kernel, "wino-valid", (7, 13, 12), 4, (3, 3), spread=1.5, scale=2.0**-8),
        conv2d(
            kernel,
            "wino-uneven",
            (5, 8, 4),
            4,
            (3, 3),
            padding=(2, 2, 1, 0),
            spread=1.5,
            relu=False,
            zero_points=(3, -4),
        ),
        conv2d(
            kernel, "wino-extremes", (4, 8, 16), 4, (3, 3), padding=same, spread=1.5, kind="extremes", scale=2.0**-11
        ),
        conv2d(kernel, "wino-largest", (4, 8, 12), 4, (3, 3), padding=same, spread=1.5, kind="largest", scale=2.0**-11),
        conv2d(
            kernel, "wino-smallest", (4, 8, 12), 4, (3, 3), padding=same, spread=1.5, kind="smallest", scale=2.0**-11
        ),
        conv2d(
            kernel,
            "wino-single",
            (4, 11, 8),
            4,
            (3, 3),
            relu=False,
            zero_points=(0, 5),
            rounding=Rounding.SINGLE,
            spread=1.5,
        ),
    ]


def _attention_cases() -> list[Case]:
    """Odd rows and columns, terms beyond one round of the core, operands as they lie; one rounding."""
    rng = np.random.default_rng(17)
    shapes = (((4, 49, 8), 49), ((4, 49, 49), 8), ((1, 32, 64), 32), ((2, 7, 13), 9), ((1, 6, 83), 6))
    graphs = [
        (f"{'x'.join(map(str, shape))}x{columns}{'t' * t}{'s' * (rounding is Rounding.SINGLE)}", graph)
        for shape, columns in shapes
        for t in (False, True)
        for rounding in Rounding
        for graph in [matmul_graph(rng, shape, columns, is_transposed=t, rounding=rounding)]
    ]
    graphs += [(f"c{c}", layer_norm_graph(rng, (20, c))) for c in (1, 7, 32, 258)]
    cases = []
    for name, graph in graphs:
        (op,) = graph.ops
        (variant,) = DSP[type(op)]
        values = {n: int8_values(rng, graph.tensors[n].shape) for n in graph.input_names}
        cases.append(Case(f"{op.kind.lower()}-{name}", variant, graph, values))
    return cases


def _recurrent_cases() -> list[Case]:
    cases = []
    for name, graph in recurrent():
        rng = np.random.default_rng(0)
        values = {n: h.fill(rng, graph.tensors[n]) for n in graph.input_names}
        cases.append(Case(name, DSP[type(graph.ops[0])][0], graph, values))
    return cases


def all_cases() -> list[Case]:
    """Every DSP variant on shapes that reach each of its paths."""
    families = (
        _conv2d_cases,
        _depthwise_cases,
        _fully_connected_cases,
        _add_cases,
        _add_constant_cases,
        _multiplied_cases,
        _transposed_cases,
        _recurrent_cases,
        _winograd_cases,
        _packed_cases,
        _grouped_cases,
        _taps_cases,
        _mean_cases,
        _pool_cases,
        _polyphase_cases,
        _attention_cases,
    )
    return [case for family in families for case in family()]
