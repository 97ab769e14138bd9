"""Activation functions in pieces, as exporters write them: one table each, and what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.unit.frontends.test_onnx_model import compare, model, refused
from tinycompress.ir import ops as o

SHAPE = (4, 9, 7)
F = np.float32


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


GELU = [
    node("Div", "x r2", "d"),
    node("Erf", "d", "e"),
    node("Add", "e one", "a"),
    node("Mul", "x a", "m"),
    node("Mul", "m half", "y"),
]
"""PyTorch's exporter before opset 20."""
GELU_HALF_FIRST = [
    node("Mul", "half x", "h"),
    node("Mul", "x s2", "d"),
    node("Erf", "d", "e"),
    node("Add", "one e", "a"),
    node("Mul", "h a", "y"),
]
GELU_TANH = [
    node("Pow", "x three", "p"),
    node("Mul", "p c", "q"),
    node("Add", "x q", "s"),
    node("Mul", "s k", "t"),
    node("Tanh", "t", "u"),
    node("Add", "u one", "a"),
    node("Mul", "x a", "m"),
    node("Mul", "half m", "y"),
]
SILU = [node("Sigmoid", "x", "s"), node("Mul", "s x", "y")]
HARD_SWISH = [
    node("Add", "x three", "a"),
    node("Clip", "a zero six", "b"),
    node("Mul", "x b", "m"),
    node("Div", "m six", "y"),
]
HARD_SWISH_SIGMOID = [node("HardSigmoid", "x", "s", alpha=1 / 6, beta=0.5), node("Mul", "x s", "y")]
MISH = [node("Softplus", "x", "p"), node("Tanh", "p", "t"), node("Mul", "x t", "y")]
CONSTANTS = {
    "r2": F(2**0.5),
    "s2": F(2**-0.5),
    "one": F(1),
    "half": np.asarray([0.5], F),
    "three": F(3),
    "zero": F(0),
    "six": F(6),
    "c": F(0.044715),
    "k": F((2 / np.pi) ** 0.5),
}
CASES = {
    "gelu": (GELU, o.Function.GELU),
    "gelu, half first": (GELU_HALF_FIRST, o.Function.GELU),
    "gelu by tanh": (GELU_TANH, o.Function.GELU_TANH),
    "silu": (SILU, o.Function.SILU),
    "hard swish": (HARD_SWISH, o.Function.HARD_SWISH),
    "hard swish by hard sigmoid": (HARD_SWISH_SIGMOID, o.Function.HARD_SWISH),
    "mish": (MISH, o.Function.MISH),
}


@pytest.mark.parametrize("name", CASES)
def test_pieces_become_one_table(name: str) -> None:
    nodes, function = CASES[name]
    graph = compare(model(nodes, CONSTANTS))
    (table,) = graph.ops
    assert isinstance(table, o.Table)
    assert table.function is function


def test_half_precision_constants_are_recognised() -> None:
    half = {k: v.astype(np.float16).astype(F) for k, v in CONSTANTS.items()}
    (table,) = compare(model(GELU, half)).ops
    assert table.function is o.Function.GELU


def test_constants_may_be_nodes() -> None:
    tensors = [
        helper.make_node("Constant", [], [k], value=helper.make_tensor(k, 1, [], [float(np.ravel(v)[0])]))
        for k, v in CONSTANTS.items()
    ]
    (table,) = compare(model([*tensors, *GELU], {})).ops
    assert table.function is o.Function.GELU


def test_the_root_may_be_a_sum_and_the_result_an_operand() -> None:
    before = [node("Relu", "x", "r"), node("Add", "x r", "x2")]
    middle = [helper.make_node(n.op_type, [{"x": "x2"}.get(i, i) for i in n.input], n.output) for n in GELU[:-1]]
    graph = compare(model([*before, *middle, node("Mul", "m half", "g"), node("Add", "g x2", "y")], CONSTANTS))
    assert [op.kind for op in graph.ops] == ["Clamp", "Add", "Table", "Add"]


def test_values_read_elsewhere_keep_their_nodes() -> None:
    graph = compare(model([node("Sigmoid", "x", "s"), node("Mul", "s x", "m"), node("Add", "m s", "y")], {}))
    assert [op.kind for op in graph.ops] == ["Table", "Mul", "Add"]


def test_another_function_is_not_mistaken() -> None:
    """x · sigmoid(1.702 x) is close to GELU and is not it."""
    nodes = [node("Mul", "x q", "t"), node("Sigmoid", "t", "s"), node("Mul", "x s", "y")]
    graph = compare(model(nodes, {"q": F(1.702)}))
    assert [op.kind for op in graph.ops] == ["Mul", "Table", "Mul"]


def test_a_lone_erf_is_refused_with_advice() -> None:
    error = refused(model([helper.make_node("Erf", ["x"], ["y"], name="stage/erf")], {}))
    assert error.where == "stage/erf (Erf)"
    assert "GELU" in str(error.fix)
