"""Pools, Mean, Softmax and LogSoftmax, portable, against the reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.quant_params import softmax_params
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import PORTABLE

MEAN = PORTABLE[o.Mean][0]
SOFTMAX_TABLE, SOFTMAX, *_ = PORTABLE[o.Softmax]
(LOG_SOFTMAX,) = PORTABLE[o.LogSoftmax]
SOFTMAX_OUTPUT = QParams.per_tensor(1 / 256, -128)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from((o.AveragePool2D, o.MaxPool2D)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    extra=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    channels=st.integers(1, 6),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6]),
    seed=st.integers(0, 999),
)
def test_pools_equal_the_reference(
    kind: type[o.AveragePool2D] | type[o.MaxPool2D],
    kernel: o.Pair,
    stride: o.Pair,
    padding: o.Padding,
    extra: o.Pair,
    channels: int,
    activation: o.Activation,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    before_after = ((padding[0], padding[2]), (padding[1], padding[3]))
    height, width = (max(1, k - sum(p)) + e for k, p, e in zip(kernel, before_after, extra, strict=True))
    x = h.quantized("x", (height, width, channels), 0.05, int(rng.integers(-128, 128)))
    op = kind(
        name="pool", inputs=("x",), outputs=("y",), kernel=kernel, stride=stride, padding=padding, activation=activation
    )
    graph = h.one_op_graph(op, [x], [x.quantization], Rounding.DOUBLE)
    variant = PORTABLE[kind][0]
    if variant.supports(op, graph):
        h.check(variant, graph, rng)
    else:
        assert kind is o.AveragePool2D
        assert any(p >= k for k, p in zip((*kernel, *kernel), padding, strict=True))


MEANS = [
    (shape, axes)
    for shape in [(7,), (5, 6), (4, 3, 5)]
    for n in range(1, len(shape) + 1)
    for axes in itertools.combinations(range(len(shape)), n)
]


def mean_graph(
    shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool, scales: tuple[float, float], zero_points: o.Pair,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:  # fmt: skip
    op = o.Mean(name="mean", inputs=("x",), outputs=("y",), axes=axes, keepdims=keepdims)
    x = h.quantized("x", shape, scales[0], zero_points[0])
    return h.one_op_graph(op, [x], [QParams.per_tensor(scales[1], zero_points[1])], rounding)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("shape", "axes"), MEANS, ids=str)
def test_mean_over_any_axes(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool, rounding: Rounding) -> None:
    rng = np.random.default_rng(11)
    for scales, zero_points in (((0.05, 0.05), (3, 3)), ((0.05, 0.02), (-128, 5)), ((0.02, 0.31), (127, -128))):
        h.check(MEAN, mean_graph(shape, axes, keepdims, scales, zero_points, rounding), rng)


def test_mean_of_a_large_image_with_extreme_values() -> None:
    rng = np.random.default_rng(12)
    h.check(MEAN, mean_graph((64, 64, 2), (0, 1), False, (0.02, 0.02), (127, -128)), rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("shape", [(1,), (2,), (10,), (1000,), (3, 12), (2, 3, 5), (6, 4, 11)], ids=str)
@pytest.mark.parametrize("scale", [1e-4, 0.004, 0.07, 0.25, 1.3, 20.0])
@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_softmax_equals_the_reference(
    shape: tuple[int, ...], scale: float, beta: float, dtype: DType, rounding: Rounding
) -> None:
    rng = np.random.default_rng(13)
    op = o.Softmax(name="softmax", inputs=("x",), outputs=("y",), beta=beta)
    y = h.quantized("y", shape, *((1 / 256, -128) if dtype is DType.INT8 else (1 / 65536, -32768)), dtype)
    graph = h.one_op_graph(op, [h.quantized("x", shape, scale, 4)], [y], rounding)
    variants = [v for v in (SOFTMAX, SOFTMAX_TABLE) if v.supports(op, graph)]
    assert len(variants) == 1 + (dtype is DType.INT8 and np.prod(shape) >= 256)
    for variant in variants:
        for _ in range(4):
            h.check(variant, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("shape", [(1,), (2,), (10,), (1000,), (3, 12), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("scale", [1e-4, 0.004, 0.07, 0.25, 1.3, 20.0])
def test_log_softmax_equals_the_reference(shape: tuple[int, ...], scale: float, rounding: Rounding) -> None:
    rng = np.random.default_rng(14)
    op = o.LogSoftmax(name="log_softmax", inputs=("x",), outputs=("y",))
    graph = h.one_op_graph(op, [h.quantized("x", shape, scale, 4)], [QParams.per_tensor(1 / 16, 127)], rounding)
    for _ in range(4):
        h.check(LOG_SOFTMAX, graph, rng)


def test_softmax_of_every_difference() -> None:
    """One class beside the largest, at every distance from it."""
    for scale in (0.003, 0.05, 0.4):
        op = o.Softmax(name="softmax", inputs=("x",), outputs=("y",))
        graph = h.one_op_graph(op, [h.quantized("x", (256, 2), scale, 0)], [SOFTMAX_OUTPUT], Rounding.DOUBLE)
        x = np.stack([np.full(256, 127), np.arange(-128, 128)], axis=1).astype(np.int8)
        for variant in (SOFTMAX, SOFTMAX_TABLE):
            got = h.run(variant, op, graph, {"x": x})["y"]
            np.testing.assert_array_equal(got, h.reference.run(graph, {"x": x}).output)


def test_softmax_refuses_what_its_accumulator_cannot_hold() -> None:
    def supported(shape: tuple[int, ...], scale: float, output: QParams = SOFTMAX_OUTPUT) -> bool:
        op = o.Softmax(name="softmax", inputs=("x",), outputs=("y",))
        graph = h.one_op_graph(op, [h.quantized("x", shape, scale, 0)], [output], Rounding.DOUBLE)
        return SOFTMAX.supports(op, graph)

    assert supported((4095,), 0.1)
    assert not supported((4096,), 0.1)
    assert not supported((10,), 0.1, QParams.per_tensor(1 / 128, 0))
    assert not supported((10,), 2.0**-27)
    assert softmax_params(h.quantized("x", (1,), 2.0**-25, 0)).left_shift >= 0
