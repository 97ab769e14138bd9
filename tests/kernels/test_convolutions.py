"""Conv2D, DepthwiseConv2D, FullyConnected and TransposeConv2D, portable, against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.kernels import PORTABLE
from tinycompress.kernels.catalogue import KernelVariant
from tinycompress.kernels.packing import accumulator_fits

ROUNDINGS = list(Rounding)
CONV2D = PORTABLE[o.Conv2D][0]
DEPTHWISE = PORTABLE[o.DepthwiseConv2D][0]
FULLY_CONNECTED = PORTABLE[o.FullyConnected][0]
(TRANSPOSE_CONV2D,) = PORTABLE[o.TransposeConv2D]

sizes = st.integers(1, 4)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(*[st.integers(0, 3)] * 4)
activations = st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6, o.Activation(-1.0, 1.0)])


def plain(variant: KernelVariant) -> KernelVariant:
    """The naive kernel beside a variant."""
    return replace(variant, name=f"{variant.name}_ref")


@st.composite
def windows(draw: st.DrawFn) -> dict[str, object]:
    """A kernel, stride, dilation and padding whose window fits the image."""
    kernel, stride, dilation, padding = draw(pairs), draw(pairs), draw(pairs), draw(paddings)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height = draw(st.integers(max(1, reach[0] - padding[0] - padding[2]), 9))
    width = draw(st.integers(max(1, reach[1] - padding[1] - padding[3]), 9))
    return {
        "shape": (height, width),
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "padding": padding,
        "activation": draw(activations),
        "per_channel": draw(st.booleans()),
        "extreme": draw(st.booleans()),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
    }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(window=windows(), groups=sizes, inputs=sizes, outputs=sizes, seed=st.integers(0, 999))
def test_conv2d_equals_the_reference(
    window: dict[str, object], groups: int, inputs: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    shape = (height, width, groups * inputs)
    graph = h.conv_graph(rng, shape=shape, out_channels=groups * outputs, groups=groups, **window)  # type: ignore[arg-type]
    h.check(CONV2D, graph, rng)
    h.check(plain(CONV2D), graph, rng, ("random",))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(window=windows(), channels=st.integers(1, 9), multiplier=sizes, seed=st.integers(0, 999))
def test_depthwise_equals_the_reference(window: dict[str, object], channels: int, multiplier: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    graph = h.depthwise_graph(rng, shape=(height, width, channels), multiplier=multiplier, **window)  # type: ignore[arg-type]
    h.check(DEPTHWISE, graph, rng)
    h.check(plain(DEPTHWISE), graph, rng, ("random",))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shape", [(1,), (37,), (640,), (5, 12), (3, 4, 6)], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("extreme", [False, True])
def test_fully_connected_equals_the_reference(
    shape: tuple[int, ...], per_channel: bool, extreme: bool, rounding: Rounding
) -> None:
    rng = np.random.default_rng(len(shape))
    for outputs in (1, 7):
        graph = h.fully_connected_graph(
            rng, shape=shape, outputs=outputs, per_channel=per_channel, extreme=extreme, rounding=rounding
        )
        h.check(FULLY_CONNECTED, graph, rng)
        h.check(plain(FULLY_CONNECTED), graph, rng, ("random",))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=pairs,
    padding=paddings,
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.tuples(sizes, sizes),
    per_channel=st.booleans(),
    rounding=st.sampled_from(ROUNDINGS),
    seed=st.integers(0, 999),
)
def test_transpose_conv_equals_the_reference(
    image: o.Pair,
    kernel: o.Pair,
    stride: o.Pair,
    padding: o.Padding,
    extra: o.Pair,
    channels: o.Pair,
    per_channel: bool,
    rounding: Rounding,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    full = [(n - 1) * s + k + e for n, s, k, e in zip(image, stride, kernel, extra, strict=True)]
    assume(full[0] > padding[0] + padding[2] and full[1] > padding[1] + padding[3])
    op = o.TransposeConv2D(
        name="up", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=stride, padding=padding,
        output_padding=extra, activation=o.RELU,
    )  # fmt: skip
    weights = rng.integers(-127, 128, (channels[1], *kernel, channels[0])).astype(np.int8)
    graph = h.weighted_graph(rng, op, (*image, channels[0]), weights, 0, channels[1], per_channel, rounding)
    h.check(TRANSPOSE_CONV2D, graph, rng)


def test_equal_multipliers_are_stored_once() -> None:
    rng = np.random.default_rng(1)
    per_tensor = h.conv_graph(rng, per_channel=False)
    packed = CONV2D.pack(per_tensor.ops[0], per_tensor, Rounding.DOUBLE)
    assert dict(packed.scalars)["requant_step"] == 0
    assert {a.field: a.data.size for a in packed.arrays} == {"weights": 180, "bias": 4, "multiplier": 1, "shift": 1}
    per_channel = h.conv_graph(rng)
    packed = CONV2D.pack(per_channel.ops[0], per_channel, Rounding.DOUBLE)
    assert dict(packed.scalars)["requant_step"] == 1
    assert packed.weights_bytes == 180 + 4 * (4 + 4 + 1)


def test_sums_that_may_leave_int32_are_refused() -> None:
    rng = np.random.default_rng(2)
    graph = h.conv_graph(rng, extreme=True)
    op = graph.ops[0]
    limit = 2**31 - 1 - 2 * 128 * 127 * 45
    for bias, fits in ((limit, True), (limit + 1, False), (-limit, True), (-limit - 1, False)):
        tensors = dict(graph.tensors)
        tensors["b"] = tensors["b"].with_data(np.full(4, bias, np.int32))
        changed = graph.with_ops(graph.ops, tensors)
        assert accumulator_fits(op, changed) is fits  # type: ignore[arg-type]
        assert CONV2D.supports(op, changed) is fits
        if fits:
            h.check(CONV2D, changed, rng)


def test_a_missing_bias_is_zero() -> None:
    rng = np.random.default_rng(3)
    tensors = [h.quantized("x", (4, 4, 2), 0.05, 7), h.constant("w", np.ones((3, 2, 2, 2), np.int8), 0.01)]
    op = o.Conv2D(name="conv", inputs=("x",), outputs=("y",), weights="w")
    h.check(CONV2D, h.one_op_graph(op, tensors, [h.QParams.per_tensor(0.03, -5)], Rounding.DOUBLE), rng)
