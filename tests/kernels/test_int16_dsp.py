"""DSP kernels of int16 activations: their C twins, sanitized, against the reference, and the bound on their sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tests.kernels import int16_cases as cases
from tests.kernels.dsp_image import Case
from tests.kernels.test_convolutions import windows
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.kernels import DSP
from tinycompress.kernels.catalogue import KernelVariant
from tinycompress.kernels.int16_dsp import FORM_RELU, FORM_SIGNED, FORM_SUMS, fits

KINDS = st.sampled_from(["random", "random", "extremes", "largest", "smallest"])
HOW = st.fixed_dictionaries(
    {
        "kind": KINDS,
        "bias_type": st.sampled_from([np.int64, np.int64, np.int32, None]),
        "bias_reach": st.sampled_from([10**5, 10**7, cases.FARTHEST]),
        "scale": st.sampled_from([2.0**-9, 2.0**-12, 2.0**-16, 2.0**-20, 2.0]),
        "activation": st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6, o.Activation(-900.0, 2000.0)]),
        "rounding": st.sampled_from(list(Rounding)),
    }
)


def variants(kind: type[o.Op]) -> tuple[KernelVariant, ...]:
    return tuple(v for v in DSP[kind] if v.name.endswith("s16_dsp"))


def check(build: Callable[..., Case], op: type[o.Op], seed: int, *layer: object, **how: object) -> None:
    for variant in variants(op):
        case = build(variant, "case", *layer, seed=seed, **how)
        if variant.supports(case.op, case.graph):
            h.check(variant, case.graph, np.random.default_rng(seed))


def form_of(case: Case) -> dict[str, Any]:
    return dict(case.variant.pack(case.op, case.graph, case.graph.rounding).scalars)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(window=windows(), inputs=st.integers(1, 9), outputs=st.integers(1, 7), seed=st.integers(0, 999), how=HOW)
def test_conv2d_equals_the_reference(
    window: dict[str, object], inputs: int, outputs: int, seed: int, how: dict[str, object]
) -> None:
    layer = {k: window[k] for k in ("stride", "dilation", "padding")}
    shape = (*window["shape"], inputs)  # type: ignore[misc]
    check(cases.conv2d, o.Conv2D, seed, shape, outputs, window["kernel"], **layer, **how)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    outputs=st.integers(1, 9),
    seed=st.integers(0, 999),
    how=HOW,
)
def test_fully_connected_equals_the_reference(
    shape: list[int], outputs: int, seed: int, how: dict[str, object]
) -> None:
    check(cases.fully_connected, o.FullyConnected, seed, (*shape[:-1], 7 * shape[-1]), outputs, **how)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(window=windows(), channels=st.integers(2, 9), seed=st.integers(0, 999), how=HOW)
def test_depthwise_equals_the_reference(
    window: dict[str, object], channels: int, seed: int, how: dict[str, object]
) -> None:
    layer = {k: window[k] for k in ("stride", "dilation", "padding")}
    shape = (*window["shape"], channels)  # type: ignore[misc]
    check(cases.depthwise, o.DepthwiseConv2D, seed, shape, window["kernel"], **layer, **how)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(3, 8), st.integers(3, 12)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    channels=st.integers(2, 7),
    seed=st.integers(0, 999),
    how=HOW,
)
def test_depthwise_3x3_equals_the_reference(
    size: o.Pair, stride: o.Pair, padding: o.Padding, channels: int, seed: int, how: dict[str, object]
) -> None:
    """Pixels that share what they read, and those that wait for another."""
    check(cases.depthwise, o.DepthwiseConv2D, seed, (*size, channels), stride=stride, padding=padding, **how)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    exponents=st.tuples(*[st.floats(-12, 2)] * 2),
    gain=st.floats(-1, 12),
    kind=st.sampled_from([o.Add, o.Sub, o.Mul]),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6]),
    rounding=st.sampled_from(list(Rounding)),
)
def test_elementwise_equals_the_reference(
    x: list[int],
    exponents: tuple[float, float],
    gain: float,
    kind: cases.Elementwise,
    activation: o.Activation,
    rounding: Rounding,
) -> None:
    """Scales up to 2^14 apart; outputs from half to 4096 times the larger scale, or the product of both."""
    a, b = 2.0 ** exponents[0], 2.0 ** exponents[1]
    y = (a * b if kind is o.Mul else max(a, b)) * 2.0**gain
    case = cases.elementwise("case", kind, tuple(x), (a, b, y), activation=activation, rounding=rounding)
    if case.variant.supports(case.op, case.graph):
        h.check(case.variant, case.graph, np.random.default_rng(0))


@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_case_equals_the_reference(rounding: Rounding) -> None:
    """The cases of the target, which take windows of several segments."""
    for case in cases.all_cases():
        graph = replace(case.graph, rounding=rounding)
        assert case.variant.supports(case.op, graph), case.name
        h.check(case.variant, graph, np.random.default_rng(0))


def test_the_bound_is_exact() -> None:
    """A sum of 2^31 − 1 or −2^31 fits, one further does not; every channel counts."""
    rows = np.array([[127, 0], [-128, 100]], np.int8)
    high, low = 32767 * 100 + 32768 * 128, -32768 * 100 - 32767 * 128
    for far, bias in ((high, 2**31 - 1 - high), (low, -(2**31) - low)):
        assert fits(rows, np.array([0, bias]))
        assert not fits(rows, np.array([0, bias + np.sign(far)]))
    assert fits(np.full((1, 516), -127, np.int8))
    assert not fits(np.full((1, 517), -127, np.int8))


@pytest.mark.parametrize("channels", range(120, 700, 29))
def test_every_segment_fits(channels: int) -> None:
    """Segments are longer than their share of the window where the core's rounds are."""
    for variant in variants(o.Conv2D):
        case = cases.conv2d(variant, "deep", (2, 2, channels), 3, (2, 2), kind="smallest")
        packed = form_of(case)
        length = 4 * packed["steps"] * packed["chunks"]
        weights = case.graph.tensors["w"].constant.reshape(3, -1)
        assert (packed["segments"] - 1) * length < weights.shape[1] <= packed["segments"] * length
        assert packed["segments"] == 1 or fits(weights[:, :length])


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_at_the_end_of_32_bits_are_exact(sign: int, beyond: int) -> None:
    """A bias that brings the accumulator of the largest (smallest) input to the last value of 32 bits, or past it."""
    far = 18 * 127 * 32767 if sign > 0 else -18 * 127 * 32768
    bias = (2**31 - 1 if sign > 0 else -(2**31)) - far + sign * beyond
    for variant in variants(o.Conv2D):
        case = cases.conv2d(variant, "brim", (2, 3, 9), 3, (1, 2), kind="largest", scale=2.0**-16, spread=0.0)
        b = replace(case.graph.tensors["b"], data=np.full(3, bias))
        graph = replace(case.graph, tensors={**case.graph.tensors, "b": b})
        assert form_of(replace(case, graph=graph))["form"] == (FORM_SUMS if beyond else FORM_SIGNED)
        h.check(variant, graph, np.random.default_rng(0))


@pytest.mark.parametrize("taps", range(1, 51))
def test_rounds_of_taps_fit_their_places(taps: int) -> None:
    (variant,) = variants(o.DepthwiseConv2D)
    case = cases.depthwise(variant, "taps", (taps, 1, 2), (taps, 1), padding=(0, 0, 0, 0))
    packed = form_of(case)
    assert taps <= packed["steps"] * packed["chunks"] <= 54
    assert packed["segments"] == 1


def test_forms_follow_the_layer() -> None:
    packed = {case.name: form_of(case) for case in cases.conv2d_cases()}
    assert packed["conv16-1x1"]["form"] == packed["conv16-relu6"]["form"] == FORM_RELU
    assert packed["conv16-3x3"]["form"] == packed["conv16-clamped"]["form"] == FORM_SIGNED
    for name in ("deep", "far-bias", "fine", "coarse", "narrow", "wraps"):
        assert packed[f"conv16-{name}"]["form"] == FORM_SUMS, name
    assert packed["conv16-deep"]["segments"] == 2
    assert packed["conv16-segments"]["segments"] == 3
    assert packed["conv16-wraps"]["segments"] == 1
