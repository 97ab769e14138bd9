"""Table, Clamp, Quantize between integers, Reshape, Transpose, Slice and Pad, portable, against the reference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import PORTABLE

Shape = tuple[int, ...]
TABLE = PORTABLE[o.Table][0]
(RESCALE,) = PORTABLE[o.Quantize]
CLAMP, CLAMP_RESCALE = PORTABLE[o.Clamp]
ELEMENTS = (DType.INT8, DType.INT16, DType.INT32)


def moving_graph(op: o.Op, shape: Shape, dtype: DType = DType.INT8) -> QuantGraph:
    """A graph whose output has the input's type and scale."""
    x = h.quantized("x", shape, 0.05, -3 if dtype is DType.INT8 else 0, dtype)
    (out,) = h.infer(op, {"x": x})
    return h.one_op_graph(op, [x], [h.Tensor("y", out, dtype, x.quantization)], Rounding.DOUBLE)


@pytest.mark.parametrize("shape", [(256,), (3, 7), (4, 5, 6)], ids=str)
def test_table(shape: Shape) -> None:
    rng = np.random.default_rng(21)
    op = o.Table(name="table", inputs=("x",), outputs=("y",), function=o.Function.GELU, table="t")
    table = rng.integers(-128, 128, 256).astype(np.int8)
    tensors = [h.quantized("x", shape, 0.1, 0), h.constant("t", table)]
    graph = h.one_op_graph(op, tensors, [QParams.per_tensor(0.07, 9)], Rounding.DOUBLE)
    h.check(TABLE, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("activation", [o.RELU, o.RELU6, o.Activation(None, 1.0), o.Activation(-2.0, -1.0)], ids=str)
@pytest.mark.parametrize("output", [(0.05, -3), (0.05, 4), (0.021, -128), (0.4, 20)], ids=str)
def test_clamp(activation: o.Activation, output: tuple[float, int], rounding: Rounding) -> None:
    rng = np.random.default_rng(22)
    op = o.Clamp(name="clamp", inputs=("x",), outputs=("y",), activation=activation)
    graph = h.one_op_graph(op, [h.quantized("x", (4, 64), 0.05, -3)], [QParams.per_tensor(*output)], rounding)
    assert CLAMP.supports(op, graph) is (output == (0.05, -3))
    for variant in (CLAMP, CLAMP_RESCALE):
        if variant.supports(op, graph):
            h.check(variant, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("types", list(itertools.product(ELEMENTS[:2], ELEMENTS)), ids=str)
@pytest.mark.parametrize("ratio", [1e-4, 0.3, 0.5, 1.0, 1.7, 2.0, 40.0])
def test_quantize_between_integers(types: tuple[DType, DType], ratio: float, rounding: Rounding) -> None:
    rng = np.random.default_rng(23)
    op = o.Quantize(name="quantize", inputs=("x",), outputs=("y",))
    x = h.quantized("x", (3, 50), 0.01, 11 if types[0] is DType.INT8 else 0, types[0])
    y = h.quantized("y", (3, 50), 0.01 / ratio, -20 if types[1] is DType.INT8 else 0, types[1])
    h.check(RESCALE, h.one_op_graph(op, [x], [y], rounding), rng)


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_reshape_between_any_rows(dtype: DType) -> None:
    rng = np.random.default_rng(24)
    (variant,) = PORTABLE[o.Reshape]
    shapes: list[Shape] = [(24,), (2, 12), (12, 2), (2, 3, 4), (4, 6), (1, 24), (24, 1), (3, 2, 2, 2)]
    for before, after in itertools.permutations(shapes, 2):
        op = o.Reshape(name="reshape", inputs=("x",), outputs=("y",), shape=after)
        h.check(variant, moving_graph(op, before, dtype), rng, ("random",))


@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (2, 3, 4, 5)], ids=str)
def test_transpose_by_any_permutation(shape: Shape, dtype: DType) -> None:
    rng = np.random.default_rng(25)
    (variant,) = PORTABLE[o.Transpose]
    for perm in itertools.permutations(range(len(shape))):
        op = o.Transpose(name="transpose", inputs=("x",), outputs=("y",), perm=perm)
        h.check(variant, moving_graph(op, shape, dtype), rng, ("random",))


SLICE_RANGES = ((1, 7), (0, 6), (1, 7), (1, 3))
"""Of size, begin, length and stride of an axis."""


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    axes=st.lists(st.tuples(*(st.integers(*r) for r in SLICE_RANGES)), min_size=1, max_size=4),
    dtype=st.sampled_from(ELEMENTS),
)
def test_slice_of_any_part(axes: list[tuple[int, int, int, int]], dtype: DType) -> None:
    shape = tuple(size for size, *_ in axes)
    begin = tuple(min(b, size - 1) for size, b, _, _ in axes)
    end = tuple(min(size, b + length) for (size, _, length, _), b in zip(axes, begin, strict=True))
    op = o.Slice(name="slice", inputs=("x",), outputs=("y",), begin=begin, end=end, strides=tuple(s for *_, s in axes))
    (variant,) = PORTABLE[o.Slice]
    h.check(variant, moving_graph(op, shape, dtype), np.random.default_rng(math.prod(shape)), ("random",))


@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize("value", [0.0, 1.7, -1e9])
@pytest.mark.parametrize(
    ("shape", "amounts"),
    [
        ((5,), ((2, 3),)),
        ((4, 5), ((1, 2), (0, 3))),
        ((4, 5), ((1, 2), (0, 0))),
        ((3, 4, 5), ((1, 2), (3, 0), (0, 0))),
        ((3, 4, 5), ((0, 0), (0, 0), (2, 1))),
        ((3, 4, 5), ((2, 0), (1, 1), (1, 2))),
        ((2, 3, 4, 5), ((1, 1), (1, 2), (0, 0), (0, 0))),
        ((2, 3, 4, 5), ((1, 1), (1, 2), (0, 0), (1, 0))),
    ],
    ids=str,
)
def test_pad(shape: Shape, amounts: tuple[o.Pair, ...], value: float, dtype: DType) -> None:
    (variant,) = PORTABLE[o.Pad]
    op = o.Pad(name="pad", inputs=("x",), outputs=("y",), amounts=amounts, value=value)
    h.check(variant, moving_graph(op, shape, dtype), np.random.default_rng(26), ("random",))


def test_pad_of_three_separate_axes_within_a_row_is_refused() -> None:
    (variant,) = PORTABLE[o.Pad]
    op = o.Pad(name="pad", inputs=("x",), outputs=("y",), amounts=((0, 0), (1, 0), (1, 0), (1, 0)))
    assert not variant.supports(op, moving_graph(op, (2, 3, 4, 5)))
