"""GATHER, PACK and UNPACK: what is imported gives TFLM's bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels import harness as h
from tests.unit.execute import tflm
from tests.unit.frontends.tflite_edit import edited, schema
from tinycompress.emit import generate
from tinycompress.errors import ModelError
from tinycompress.execute import float_reference
from tinycompress.execute.reference import run
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import PORTABLE
from tinycompress.plan import plan

Q = {"scale": (0.03,), "zero_point": (-7,)}


def options(name: str, **fields: int) -> Any:
    made = getattr(schema, f"{name}T")()
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def value(*shape: int, **more: Any) -> tflm.Value:
    return tflm.Value(shape, np.int8, **Q, **more)


def check(data: bytes, samples: list[np.ndarray], kinds: list[str]) -> QuantGraph:
    """The imported graph's operators are `kinds`, and its output is TFLM's."""
    graph = import_tflite(data, "net")
    assert isinstance(graph, QuantGraph)
    assert [op.kind for op in graph.ops] == kinds
    found = run(graph, dict(zip(graph.input_names, samples, strict=True))).output
    np.testing.assert_array_equal(found, tflm.run(data, *samples))
    return graph


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(-128, 128, (4, *shape)).astype(np.int8)


@pytest.mark.parametrize(
    ("axis", "indices", "kinds"),
    [
        (1, [4], ["Slice", "Reshape"]),
        (1, [0, 2, 4], ["Slice", "Reshape"]),
        (2, [2, 1, 1, 0], ["Slice", "Slice", "Slice", "Slice", "Concat", "Reshape"]),
        (-1, [1, 2, 0], ["Slice", "Slice", "Concat", "Reshape"]),
    ],
)
def test_gather_by_constants(axis: int, indices: list[int], kinds: list[str]) -> None:
    shape = [1, 5, 3]
    shape[axis] = len(indices)
    index = tflm.Value((len(indices),), np.int32, data=np.array(indices, np.int32))
    data = tflm.build("GATHER", options("GatherOptions", axis=axis), [value(1, 5, 3), index], value(*shape))
    check(data, [noise(5, 3)], kinds)


def test_gather_by_a_scalar_drops_the_axis() -> None:
    index = tflm.Value((), np.int32, data=np.array(2, np.int32))
    data = tflm.build("GATHER", options("GatherOptions", axis=1), [value(1, 5, 3), index], value(1, 3))
    check(data, [noise(5, 3)], ["Slice", "Reshape"])


def test_gather_outside_its_input_is_refused() -> None:
    index = tflm.Value((2,), np.int32, data=np.array([1, 5], np.int32))
    data = tflm.build("GATHER", options("GatherOptions", axis=1), [value(1, 5, 3), index], value(1, 2, 3))
    with pytest.raises(ModelError, match=r"indices \[1, 5\] leave 0..4"):
        import_tflite(data, "net")


def embedding() -> bytes:
    table = np.random.default_rng(1).integers(-128, 128, (11, 6)).astype(np.int8)
    parts = [value(11, 6, data=table), tflm.Value((1, 4), np.int32)]
    return tflm.build("GATHER", options("GatherOptions", axis=0), parts, value(1, 4, 6))


def test_lookup_in_a_table(tmp_path: Path) -> None:
    indices = np.random.default_rng(2).integers(0, 11, (5, 4)).astype(np.int32)
    graph = check(embedding(), [indices], ["Embedding"])
    host = generate(plan(graph), tmp_path).host()
    (name,) = graph.input_names
    for sample in indices:
        np.testing.assert_array_equal(host.run({name: sample})[graph.outputs[0]], run(graph, {name: sample}).output)


def test_indices_beyond_the_table_stay_inside_it() -> None:
    graph = import_tflite(embedding(), "net")
    assert isinstance(graph, QuantGraph)
    (variant,) = PORTABLE[o.Embedding]
    (name,) = graph.input_names
    wild = np.array([-(2**31), -1, 11, 2**31 - 1], np.int32)
    expected = run(graph, {name: wild}).output
    np.testing.assert_array_equal(expected, run(graph, {name: np.array([0, 0, 10, 10], np.int32)}).output)
    np.testing.assert_array_equal(h.run(variant, graph.ops[0], graph, {name: wild})[graph.outputs[0]], expected)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_kernel_moves_entries_of_any_width(dtype: DType) -> None:
    rng = np.random.default_rng(3)
    table = h.Tensor("t", (9, 5), dtype, QParams.per_tensor(0.1, 0), rng.integers(-99, 99, (9, 5)).astype(dtype.numpy))
    op = o.Embedding(name="op", inputs=("x",), outputs=("y",), table="t")
    y = h.Tensor("y", (7, 5), dtype, table.qparams)
    graph = h.one_op_graph(op, [h.quantized("x", (7,), 1.0, 0, DType.INT32), table], [y], Rounding.DOUBLE)
    (variant,) = PORTABLE[o.Embedding]
    h.check(variant, graph, rng, ("random", "lowest", "highest"))


def test_float_lookup() -> None:
    table = np.random.default_rng(1).normal(size=(11, 6)).astype(np.float32)
    parts = [tflm.Value((11, 6), np.float32, data=table), tflm.Value((1, 4), np.int32)]
    data = tflm.build("GATHER", options("GatherOptions", axis=0), parts, tflm.Value((1, 4, 6), np.float32))
    graph = import_tflite(data, "net")
    indices = np.array([[3, 0, 10, 3]], np.int32)
    found = float_reference.run(graph, {graph.input_names[0]: indices}).output
    np.testing.assert_array_equal(found, tflm.run(data, indices))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_pack(axis: int) -> None:
    shape = [1, 4, 3]
    shape.insert(axis, 2)
    parts = [value(1, 4, 3), value(1, 4, 3)]
    data = tflm.build("PACK", options("PackOptions", axis=axis, valuesCount=2), parts, value(*shape))
    check(data, [noise(4, 3), noise(4, 3)[::-1]], ["Reshape", "Reshape", "Concat", "Reshape"])


@pytest.mark.parametrize("axis", [1, -1])
def test_unpack(axis: int) -> None:
    data = tflm.build("UNPACK", options("UnpackOptions", axis=axis, num=3), [value(1, 3, 3)], value(1, 3))

    def three_outputs(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors += [graph.tensors[1], graph.tensors[1]]
        graph.operators[0].outputs = [1, 2, 3]
        graph.outputs = [3]

    check(edited(data, three_outputs), [noise(3, 3)], ["Slice", "Reshape"] * 3)
