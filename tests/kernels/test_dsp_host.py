"""The C twins of the DSP kernels on the host, with sanitizers, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tests.kernels.dsp_cases import add_constant, conv2d, multiplied, transposed
from tests.kernels.test_convolutions import windows
from tinycompress.execute import reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.kernels import DSP
from tinycompress.kernels.mul_dsp import MAX_SHIFT


@settings(max_examples=50, deadline=None, derandomize=True)
@given(window=windows(), inputs=st.integers(1, 9), outputs=st.integers(1, 7), seed=st.integers(0, 999))
def test_conv2d_equals_the_reference(window: dict[str, object], inputs: int, outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    graph = h.conv_graph(rng, shape=(height, width, inputs), out_channels=outputs, **window)  # type: ignore[arg-type]
    for variant in DSP[o.Conv2D]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    run=st.sampled_from([(1, 4), (2, 2), (4, 1)]),
    rows=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_windows_of_four_values_a_row_equal_the_reference(
    run: o.Pair, rows: o.Pair, size: o.Pair, outputs: int, seed: int
) -> None:
    """Window rows of one group, more of them than the stride: all sizes of output, odd ones too."""
    stride, height = rows[0], rows[0] + rows[1]
    shape = ((size[0] - 1) * stride + height, size[1] - 1 + run[0], run[1])
    variant = next(v for v in DSP[o.Conv2D] if v.name == "conv2d_s8_dsp")
    case = conv2d(
        variant, "columns", shape, outputs, (height, run[0]), stride=(stride, 1), relu=False, zero_points=(5, -9),
        seed=seed,
    )  # fmt: skip
    h.check(variant, case.graph, np.random.default_rng(seed))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    stride=st.integers(1, 2),
    outputs=st.tuples(st.integers(1, 6), st.integers(8, 11)),
    channels=st.tuples(st.sampled_from([4, 8, 12]), st.sampled_from([2, 4])),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    zero_points=st.tuples(st.integers(-128, 127), st.sampled_from([-128, 3])),
    rounding=st.sampled_from(list(Rounding)),
    seed=st.integers(0, 999),
)
def test_winograd_equals_the_reference(
    stride: int,
    outputs: o.Pair,
    channels: o.Pair,
    padding: o.Padding,
    zero_points: o.Pair,
    rounding: Rounding,
    seed: int,
) -> None:
    sizes = [(n - 1) * stride + 3 - padding[i] - padding[i + 2] for i, n in enumerate(outputs)]
    assume(min(sizes) > 0)
    name = "conv2d_winograd_s8_dsp" if stride == 1 else "conv2d_polyphase_s8_dsp"
    variant = next(v for v in DSP[o.Conv2D] if v.name == name)
    case = conv2d(
        variant, name, (sizes[0], sizes[1], channels[0]), channels[1], (3, 3), stride=(stride, stride),
        padding=padding, relu=zero_points[1] == -128, zero_points=zero_points, scale=2.0**-9, spread=2.0,
        rounding=rounding, seed=seed,
    )  # fmt: skip
    if variant.supports(case.op, case.graph):
        h.check(variant, case.graph, np.random.default_rng(seed))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(3, 8), st.integers(3, 19), st.integers(4, 9)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    stride=st.sampled_from([(1, 1), (2, 2)]),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6]),
    extreme=st.booleans(),
    seed=st.integers(0, 999),
)
def test_depthwise_equals_the_reference(
    shape: tuple[int, int, int], padding: o.Padding, stride: o.Pair, activation: o.Activation, extreme: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = h.depthwise_graph(
        rng, shape=shape, multiplier=1, kernel=(3, 3), stride=stride, padding=padding, activation=activation,
        extreme=extreme,
    )  # fmt: skip
    for variant in DSP[o.DepthwiseConv2D]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    channels=st.sampled_from([1, 3, 4, 5, 8, 16, 21, 40]),
    outputs=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    extra=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    zero_points=st.tuples(st.integers(-128, 127), st.sampled_from([-128, 3])),
    rounding=st.sampled_from(list(Rounding)),
    seed=st.integers(0, 999),
)
def test_transposed_convolutions_equal_the_reference(
    image: o.Pair, channels: int, outputs: int, kernel: o.Pair, stride: o.Pair, padding: o.Padding, extra: o.Pair,
    zero_points: o.Pair, rounding: Rounding, seed: int,
) -> None:  # fmt: skip
    full = [(n - 1) * s + k + e for n, s, k, e in zip(image, stride, kernel, extra, strict=True)]
    assume(full[0] > padding[0] + padding[2] and full[1] > padding[1] + padding[3])
    case = transposed(
        "up", (*image, channels), outputs, kernel, stride, padding, extra, relu=zero_points[1] == -128,
        zero_points=zero_points, rounding=rounding, seed=seed,
    )  # fmt: skip
    if case.variant.supports(case.op, case.graph):
        h.check(case.variant, case.graph, np.random.default_rng(seed), fills=("random", "highest"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    outputs=st.integers(1, 9),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6]),
    per_channel=st.booleans(),
    extreme=st.booleans(),
    seed=st.integers(0, 999),
)
def test_fully_connected_equals_the_reference(
    shape: list[int], outputs: int, activation: o.Activation, per_channel: bool, extreme: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = h.fully_connected_graph(
        rng, shape=(*shape[:-1], 7 * shape[-1]), outputs=outputs, activation=activation, per_channel=per_channel,
        extreme=extreme,
    )  # fmt: skip
    for variant in DSP[o.FullyConnected]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    scales=st.tuples(st.floats(0.05, 2.0), st.floats(0.05, 2.0)),
    zero_points=st.tuples(*[st.integers(-128, 127)] * 3),
    kind=st.sampled_from([o.Add, o.Sub, o.Mul]),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU, o.RELU6]),
    rounding=st.sampled_from(list(Rounding)),
)
def test_elementwise_equals_the_reference(
    shape: list[int],
    scales: tuple[float, float],
    zero_points: tuple[int, int, int],
    kind: type[o.Add] | type[o.Sub] | type[o.Mul],
    activation: o.Activation,
    rounding: Rounding,
) -> None:
    op = kind(name="op", inputs=("a", "b"), outputs=("y",), activation=activation)
    operands = zip(("a", "b"), scales, zero_points[:2], strict=True)
    tensors = [Tensor(n, tuple(shape), DType.INT8, QParams.per_tensor(s, z)) for n, s, z in operands]
    graph = h.one_op_graph(op, tensors, [QParams.per_tensor(0.7, zero_points[2])], rounding)
    for variant in DSP[kind]:
        if variant.supports(op, graph):
            h.check(variant, graph, np.random.default_rng(0))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    is_scalar=st.booleans(),
    place=st.integers(0, 1),
    scales=st.tuples(st.floats(0.05, 2.0), st.floats(0.05, 2.0)),
    kind=st.sampled_from([o.Add, o.Sub]),
    relu=st.booleans(),
)
def test_adding_a_constant_equals_the_reference(
    shape: list[int],
    is_scalar: bool,
    place: int,
    scales: tuple[float, float],
    kind: type[o.Add] | type[o.Sub],
    relu: bool,
) -> None:
    constant = (1,) if is_scalar else (shape[-1],)
    case = add_constant("add", tuple(shape), constant, place=place, kinds=kind, scales=scales, relu=relu)
    if case.variant.supports(case.op, case.graph):
        h.check(case.variant, case.graph, np.random.default_rng(0))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 18)),
    axes=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    is_vector=st.booleans(),
    place=st.integers(0, 1),
    is_constant=st.booleans(),
    scale=st.floats(2.0**-16, 0.49),
    zero_points=st.tuples(*[st.sampled_from([-128, -3, 60, 127])] * 3),
    rounding=st.sampled_from(list(Rounding)),
    relu=st.booleans(),
)
def test_products_with_a_row_that_repeats_equal_the_reference(
    shape: tuple[int, int, int], axes: tuple[bool, bool, bool], is_vector: bool, place: int, is_constant: bool,
    scale: float, zero_points: tuple[int, int, int], rounding: Rounding, relu: bool,
) -> None:  # fmt: skip
    row = tuple(n if axis else 1 for n, axis in zip(shape, axes, strict=True))
    case = multiplied(
        "mul", shape, shape[2:] if is_vector else row, place=place, is_constant=is_constant, scale=scale,
        zero_points=zero_points, rounding=rounding, relu=relu,
    )  # fmt: skip
    if case.variant.supports(case.op, case.graph):
        h.check(case.variant, case.graph, np.random.default_rng(0), fills=("random", "lowest"))


def test_squeeze_and_excite_has_its_kernel() -> None:
    """[h, w, c] times [1, 1, c] or [c], either way round, by a tensor or a constant; not where w alone steps."""
    for row in ((1, 1, 16), (16,), (1,), (1, 5, 16), (4, 1, 16)):
        for place in (0, 1):
            for is_constant in (False, row[0] != 4):
                case = multiplied("mul", (4, 5, 16), row, place=place, is_constant=is_constant)
                assert case.variant.supports(case.op, case.graph), (row, place, is_constant)
    case = multiplied("mul", (4, 5, 16), (4, 5, 1))
    assert not case.variant.supports(case.op, case.graph)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("zero_points", [(3, -7, -9), (-128, -128, -128), (-128, -128, 11), (127, -128, 127)])
def test_products_of_all_pairs_of_bytes_equal_the_reference(
    rounding: Rounding, zero_points: tuple[int, int, int]
) -> None:
    """Every shift that the kernel takes, with multipliers at both ends of their range and one between."""
    values = np.meshgrid(np.arange(-128, 128, dtype=np.int8), np.arange(-128, 128, dtype=np.int8))
    x = dict(zip("ab", values, strict=True))
    tensors = [
        Tensor(n, (256, 256), DType.INT8, QParams.per_tensor(1.0, z)) for n, z in zip("ab", zero_points, strict=False)
    ]
    op = o.Mul(name="op", inputs=("a", "b"), outputs=("y",))
    variant = DSP[o.Mul][0]
    for shift in range(1, MAX_SHIFT + 1):
        for fraction in (1.0, 1.37, 2.0 - 2.0**-23):
            qparams = QParams.per_tensor(2.0 ** (shift + 1) / fraction, zero_points[2])
            graph = h.one_op_graph(op, tensors, [qparams], rounding)
            assert variant.supports(op, graph)
            y = h.run(variant, op, graph, x, rows_per_call=256)["y"]
            np.testing.assert_array_equal(y, reference.run(graph, x).outputs["y"], err_msg=f"{shift} {fraction}")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(4, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    kind=st.sampled_from([o.AveragePool2D, o.MaxPool2D]),
    activation=st.sampled_from([o.NO_ACTIVATION, o.RELU]),
)
def test_pools_equal_the_reference(
    shape: tuple[int, int, int],
    kernel: o.Pair,
    stride: o.Pair,
    padding: o.Padding,
    kind: type[o.AveragePool2D] | type[o.MaxPool2D],
    activation: o.Activation,
) -> None:
    reach = [s + padding[i] + padding[i + 2] for i, s in enumerate(shape[:2])]
    assume(reach[0] >= kernel[0] and reach[1] >= kernel[1])
    op = kind(
        name="op", inputs=("x",), outputs=("y",), kernel=kernel, stride=stride, padding=padding, activation=activation
    )
    qparams = QParams.per_tensor(0.4, -9)
    graph = h.one_op_graph(op, [Tensor("x", shape, DType.INT8, qparams)], [qparams], Rounding.DOUBLE)
    (variant,) = DSP[kind]
    if variant.supports(op, graph):
        h.check(variant, graph, np.random.default_rng(0))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    window=windows(),
    groups=st.integers(2, 4),
    inputs=st.integers(1, 5),
    outputs=st.sampled_from([2, 4, 6]),
    seed=st.integers(0, 999),
)
def test_grouped_convolutions_equal_the_reference(
    window: dict[str, object], groups: int, inputs: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    shape = (height, width, groups * inputs)
    graph = h.conv_graph(rng, shape=shape, out_channels=groups * outputs, groups=groups, **window)  # type: ignore[arg-type]
    for variant in DSP[o.Conv2D]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(window=windows(), channels=st.integers(1, 9), multiplier=st.sampled_from([1, 1, 2, 4]), seed=st.integers(0, 999))
def test_depthwise_of_any_window_equals_the_reference(
    window: dict[str, object], channels: int, multiplier: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    graph = h.depthwise_graph(rng, shape=(height, width, channels), multiplier=multiplier, **window)  # type: ignore[arg-type]
    for variant in DSP[o.DepthwiseConv2D]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(4, 9)),
    scale=st.floats(0.05, 2.0),
    keepdims=st.booleans(),
    rounding=st.sampled_from(list(Rounding)),
)
def test_means_of_images_equal_the_reference(
    shape: tuple[int, int, int], scale: float, keepdims: bool, rounding: Rounding
) -> None:
    op = o.Mean(name="op", inputs=("x",), outputs=("y",), axes=(0, 1), keepdims=keepdims)
    x = Tensor("x", shape, DType.INT8, QParams.per_tensor(0.4, -9))
    graph = h.one_op_graph(op, [x], [QParams.per_tensor(scale, 7)], rounding)
    (variant,) = DSP[o.Mean]
    assert variant.supports(op, graph)
    h.check(variant, graph, np.random.default_rng(0))
