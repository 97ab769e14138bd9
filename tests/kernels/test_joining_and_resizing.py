"""Concat, ResizeNearest, ResizeBilinear and SVDF, portable, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tests.kernels.recurrent_graphs import svdf_graph
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import KERNELS, PORTABLE

Shape = tuple[int, ...]
CONCATS: list[tuple[list[Shape], int]] = [
    ([(3,), (5,), (1,)], 0),
    ([(4, 3), (4, 2)], 1),
    ([(4, 3), (2, 3), (1, 3)], 0),
    ([(2, 3, 4), (2, 3, 1), (2, 3, 2)], 2),
    ([(2, 3, 4), (2, 5, 4)], 1),
    ([(2, 3, 4), (1, 3, 4)], 0),
    ([(2, 3, 4, 2), (2, 3, 1, 2)], 2),
    ([(6, 2)], 1),
]


def concat_graph(
    shapes: list[Shape],
    axis: int,
    qparams: list[QParams],
    dtype: DType = DType.INT8,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    names = tuple(f"x{i}" for i in range(len(shapes)))
    op = o.Concat(name="join", inputs=names, outputs=("y",), axis=axis)
    tensors = [h.Tensor(n, s, dtype, q) for n, s, q in zip(names, shapes, qparams, strict=True)]
    (shape,) = h.infer(op, {t.name: t for t in tensors})
    return h.one_op_graph(op, tensors, [h.Tensor("y", shape, dtype, QParams.per_tensor(0.05, 0))], rounding)


def first_variant(graph: QuantGraph) -> h.KernelVariant:
    (op,) = graph.ops
    return next(v for v in PORTABLE[type(op)] if v.supports(op, graph))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32])
@pytest.mark.parametrize(("shapes", "axis"), CONCATS, ids=str)
def test_concat_of_one_scale_copies(shapes: list[Shape], axis: int, dtype: DType) -> None:
    graph = concat_graph(shapes, axis, [QParams.per_tensor(0.05, 0)] * len(shapes), dtype)
    variant = first_variant(graph)
    assert variant.name == ("concat_rows" if axis == 0 and len(shapes[0]) > 1 else "concat")
    rng = np.random.default_rng(31)
    h.check(variant, graph, rng, ("random",))
    if dtype is DType.INT8:
        for other in PORTABLE[o.Concat]:
            if other.supports(graph.ops[0], graph):
                h.check(other, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize(("shapes", "axis"), CONCATS, ids=str)
def test_concat_of_other_scales_rescales(shapes: list[Shape], axis: int, rounding: Rounding) -> None:
    rng = np.random.default_rng(32)
    qparams = [QParams.per_tensor(float(rng.uniform(0.01, 0.2)), int(rng.integers(-128, 128))) for _ in shapes]
    graph = concat_graph(shapes, axis, qparams, rounding=rounding)
    h.check(first_variant(graph), graph, rng)


def test_concat_of_a_tensor_with_itself() -> None:
    x = h.quantized("x", (4, 3), 0.05, 0)
    op = o.Concat(name="join", inputs=("x", "x"), outputs=("y",), axis=1)
    graph = h.one_op_graph(op, [x], [x.quantization], Rounding.DOUBLE)
    h.check(first_variant(graph), graph, np.random.default_rng(33))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from((o.ResizeNearest, o.ResizeBilinear)),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    mode=st.sampled_from([(False, False), (True, False), (False, True)]),
    dtype=st.sampled_from([DType.INT8, DType.INT16]),
)
def test_resize_equals_the_reference(
    kind: type[o.ResizeNearest] | type[o.ResizeBilinear],
    shape: tuple[int, int, int],
    size: o.Pair,
    mode: tuple[bool, bool],
    dtype: DType,
) -> None:
    align_corners, half_pixel_centers = mode
    op = kind(
        name="resize", inputs=("x",), outputs=("y",), size=size, align_corners=align_corners,
        half_pixel_centers=half_pixel_centers,
    )  # fmt: skip
    if kind is o.ResizeBilinear:
        dtype = DType.INT8
    x = h.quantized("x", shape, 0.05, 0, dtype)
    y = h.Tensor("y", (*size, shape[2]), dtype, x.quantization)
    graph = h.one_op_graph(op, [x], [y], Rounding.DOUBLE)
    h.check(first_variant(graph), graph, np.random.default_rng(sum(size)))


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize(
    ("inputs", "units", "rank", "memory"), [(1, 1, 1, 1), (7, 4, 1, 5), (16, 3, 2, 8), (10, 2, 4, 1)]
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_svdf(
    inputs: int, units: int, rank: int, memory: int, with_bias: bool, dtype: DType, rounding: Rounding
) -> None:
    graph = svdf_graph(inputs, units, rank, memory, with_bias, dtype, rounding)
    op, rng = graph.ops[0], np.random.default_rng(inputs)
    for variant in KERNELS[o.SVDF]:
        if variant.supports(op, graph):
            h.check(variant, graph, rng)
