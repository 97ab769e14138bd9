"""Add, Sub, Mul, Maximum and Minimum: shapes, broadcasting, constants, rounding, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import PORTABLE
from tinycompress.kernels.catalogue import KernelVariant

Shape = tuple[int, ...]
BINARY = (o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum)
EXTREMA = (o.Maximum, o.Minimum)
SHAPES: list[tuple[Shape, Shape]] = [
    ((5,), (5,)),
    ((3, 4, 5), (3, 4, 5)),
    ((6, 5), (6, 5)),
    ((3, 4, 5), (1, 1, 5)),
    ((3, 4, 5), (5,)),
    ((3, 4, 5), (1,)),
    ((3, 4, 5), (1, 4, 1)),
    ((3, 4, 5), (3, 4, 1)),
    ((3, 4, 5), (3, 1, 1)),
    ((1, 1, 5), (3, 4, 5)),
    ((1, 4, 1), (3, 1, 5)),
    ((5,), (3, 4, 5)),
    ((6, 5), (5,)),
    ((1, 4, 5), (1, 1, 5)),
]


def graph_of(
    kind: type[o.Op],
    shapes: tuple[Shape, Shape],
    rng: np.random.Generator,
    rounding: Rounding = Rounding.DOUBLE,
    constant: int | None = None,
    activation: o.Activation = o.NO_ACTIVATION,
) -> QuantGraph:
    tensors = []
    shared = QParams.per_tensor(float(rng.uniform(0.01, 0.1)), int(rng.integers(-128, 128)))
    for i, shape in enumerate(shapes):
        qparams = QParams.per_tensor(float(rng.uniform(0.01, 0.2)), int(rng.integers(-128, 128)))
        if kind in EXTREMA:
            qparams = shared
        data = rng.integers(-128, 128, shape).astype(np.int8) if i == constant else None
        tensors.append(h.Tensor(f"x{i}", shape, DType.INT8, qparams, data, source=f"model/x{i}"))
    fields = {} if kind in EXTREMA else {"activation": activation}
    op = kind(name="op", inputs=("x0", "x1"), outputs=("y",), **fields)
    output = QParams.per_tensor(float(rng.uniform(0.02, 0.4)), int(rng.integers(-128, 128)))
    return h.one_op_graph(op, tensors, [shared if kind in EXTREMA else output], rounding)


def only_variant(graph: QuantGraph) -> KernelVariant:
    (op,) = graph.ops
    (variant,) = [v for v in PORTABLE[type(op)] if v.supports(op, graph)]
    return variant


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_operands_of_any_shape(kind: type[o.Op], shapes: tuple[Shape, Shape], rounding: Rounding) -> None:
    rng = np.random.default_rng(len(shapes[0]))
    for _ in range(3):
        graph = graph_of(kind, shapes, rng, rounding)
        h.check(only_variant(graph), graph, rng)


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_one_operand_is_a_constant(kind: type[o.Op], shapes: tuple[Shape, Shape], constant: int) -> None:
    rng = np.random.default_rng(constant)
    graph = graph_of(kind, shapes, rng, constant=constant)
    variant = only_variant(graph)
    rank = len(graph.tensors["y"].shape)
    leading = ((1,) * (rank - len(shapes[constant])) + shapes[constant])[0] if rank > 1 else 1
    assert variant.whole_input is (leading > 1)
    h.check(variant, graph, rng)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from((o.Add, o.Sub, o.Mul)),
    scales=st.tuples(*[st.floats(1e-5, 10.0)] * 3),
    activation=st.sampled_from([o.RELU, o.RELU6, o.Activation(-1.0, 1.0), o.NO_ACTIVATION]),
    rounding=st.sampled_from(list(Rounding)),
    seed=st.integers(0, 999),
)
def test_any_scales(
    kind: type[o.Op], scales: tuple[float, ...], activation: o.Activation, rounding: Rounding, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    zero_points = rng.integers(-128, 128, 3).tolist()
    a, b = (h.quantized(f"x{i}", (2, 40), scales[i], zero_points[i]) for i in range(2))
    op = kind(name="op", inputs=("x0", "x1"), outputs=("y",), activation=activation)
    graph = h.one_op_graph(op, [a, b], [QParams.per_tensor(scales[2], zero_points[2])], rounding)
    h.check(only_variant(graph), graph, rng)


def test_one_tensor_added_to_itself() -> None:
    rng = np.random.default_rng(5)
    op = o.Add(name="op", inputs=("x", "x"), outputs=("y",))
    x = h.quantized("x", (3, 4), 0.05, -7)
    graph = h.one_op_graph(op, [x], [QParams.per_tensor(0.11, 3)], Rounding.DOUBLE)
    h.check(only_variant(graph), graph, rng)


def test_what_no_variant_supports() -> None:
    rng = np.random.default_rng(6)
    cases = [
        graph_of(o.Add, ((2, 3, 4, 5), (2, 1, 4, 1)), rng),
        graph_of(o.Add, ((3, 4, 5), (4, 5)), rng),
        graph_of(o.Maximum, ((5,), (5,)), rng),
    ]
    tensors = dict(cases[2].tensors)
    tensors["x1"] = h.quantized("x1", (5,), 0.7, 0)
    cases[2] = cases[2].with_ops(cases[2].ops, tensors)
    for graph in cases:
        assert not any(v.supports(graph.ops[0], graph) for v in PORTABLE[type(graph.ops[0])]), graph.ops[0]


def test_a_constant_led_by_missing_axes_is_one_row() -> None:
    rng = np.random.default_rng(7)
    graph = graph_of(o.Mul, ((3, 4, 5), (4, 5)), rng, constant=1)
    variant = only_variant(graph)
    assert not variant.whole_input
    h.check(variant, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize(
    ("shape", "alpha"),
    [((5,), (5,)), ((5,), (1,)), ((3, 4, 5), (5,)), ((3, 4, 5), (1, 1, 5)), ((3, 4, 5), (3, 4, 5)), ((6, 5), (1, 5))],
    ids=str,
)
def test_prelu(shape: Shape, alpha: Shape, rounding: Rounding) -> None:
    rng = np.random.default_rng(8)
    for scale, output in ((0.05, (0.05, 3)), (0.021, (0.4, -128)), (0.4, (0.03, 127))):
        slopes = rng.integers(-128, 128, alpha).astype(np.int8)
        tensors = [h.quantized("x", shape, scale, int(rng.integers(-128, 128))), h.constant("a", slopes, 0.007, -9)]
        op = o.PReLU(name="prelu", inputs=("x",), outputs=("y",), alpha="a")
        graph = h.one_op_graph(op, tensors, [QParams.per_tensor(*output)], rounding)
        h.check(only_variant(graph), graph, rng)
