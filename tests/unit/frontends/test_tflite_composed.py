"""TFLite operators that are written with several of the network's own compute what numpy says they do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.tflm_oracle import Tflm
from tests.unit.frontends.tflite_made import SCALE, File, litert
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import DType, QParams

SHAPE = (4, 6, 8)


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def output(file: File, x: int, y: int, values: np.ndarray) -> np.ndarray:
    graph = file.graph([x], [y])
    assert isinstance(graph, QuantGraph)
    return reference.run(graph, {graph.input_names[0]: values}).output


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (-1, -2), (1, 3), (1, 2, 3)])
def test_reduce_max(axes: tuple[int, ...], keepdims: bool) -> None:
    expected = noise()[np.newaxis].max(axis=axes, keepdims=keepdims)
    file = File()
    x = file.activation((1, *SHAPE))
    y = file.activation(expected.shape)
    file.op("REDUCE_MAX", [x, file.integers(axes)], y, "ReducerOptions", KeepDims=keepdims)
    np.testing.assert_array_equal(output(file, x, y, noise()).reshape(expected.shape), expected)


@pytest.mark.parametrize("repeats", [(1, 2, 1, 1), (1, 1, 1, 3), (1, 2, 3, 2)])
def test_tile(repeats: tuple[int, ...]) -> None:
    expected = np.tile(noise()[np.newaxis], repeats)
    file = File()
    x, y = file.activation((1, *SHAPE)), file.activation(expected.shape)
    file.op("TILE", [x, file.integers(repeats)], y)
    np.testing.assert_array_equal(output(file, x, y, noise()), expected[0])


@pytest.mark.parametrize("is_to_space", [True, False])
def test_blocks_move_between_depth_and_space(is_to_space: bool) -> None:
    h, w, c = SHAPE
    if is_to_space:
        expected = noise().reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)
    else:
        expected = noise().reshape(h // 2, 2, w // 2, 2, c).transpose(0, 2, 1, 3, 4).reshape(h // 2, w // 2, 4 * c)
    file = File()
    x, y = file.activation((1, *SHAPE)), file.activation((1, *expected.shape))
    name = "DepthToSpace" if is_to_space else "SpaceToDepth"
    kind = "DEPTH_TO_SPACE" if is_to_space else "SPACE_TO_DEPTH"
    file.op(kind, [x], y, f"{name}Options", BlockSize=2)
    np.testing.assert_array_equal(output(file, x, y, noise()), expected)


def test_a_reduction_that_rescales_is_refused() -> None:
    file = File()
    x, y = file.activation((1, *SHAPE)), file.activation((1, 8), qparams=QParams.per_tensor(0.1, 0))
    file.op("REDUCE_MAX", [x, file.integers((1, 2))], y, "ReducerOptions")
    with pytest.raises(UnsupportedOpError, match="another type or scale"):
        file.graph([x], [y])


def test_sums_and_differences_of_floats() -> None:
    file = File()
    xs = [file.activation((1, 5), DType.FLOAT32) for _ in range(3)]
    total = file.op("ADD_N", xs, file.activation((1, 5), DType.FLOAT32))
    y = file.op("SQUARED_DIFFERENCE", [total, xs[0]], file.activation((1, 5), DType.FLOAT32))
    graph = file.graph(xs, [y])
    values = {
        name: np.random.default_rng(i).normal(size=5).astype(np.float32) for i, name in enumerate(graph.input_names)
    }
    _, b, c = values.values()
    np.testing.assert_allclose(float_reference.run(graph, values).output, (b + c) ** 2, rtol=1e-5)


def test_integers_around_float_operators_alone_are_refused() -> None:
    file = File()
    x, y = file.activation((1, 5)), file.activation((1, 5))
    real = [file.op("DEQUANTIZE", [x], file.activation((1, 5), DType.FLOAT32)) for _ in range(2)]
    made = file.op("ADD_N", real, file.activation((1, 5), DType.FLOAT32))
    file.op("QUANTIZE", [made], y)
    with pytest.raises(ModelError, match="int8, but no operator computes on integers"):
        file.graph([x], [y])


@pytest.mark.parametrize("kind", ["NEG", "ELU", "SQUARE"])
def test_a_float_function_between_integers_is_a_table(kind: str) -> None:
    file = File()
    x, y = file.activation((1, 256)), file.activation((1, 256), qparams=QParams.per_tensor(0.04, -7))
    real = file.op("DEQUANTIZE", [x], file.activation((1, 256), DType.FLOAT32))
    made = file.op(kind, [real], file.activation((1, 256), DType.FLOAT32))
    file.op("QUANTIZE", [made], y)
    graph = file.graph([x], [y])
    assert isinstance(graph, QuantGraph)
    assert [type(op) for op in graph.ops] == [o.Table]
    functions = {"NEG": np.negative, "ELU": _elu, "SQUARE": np.square}
    values = np.arange(-128, 128).astype(np.int8)
    found = reference.run(graph, {graph.input_names[0]: values}).output
    wanted = functions[kind]((values.astype(int) - SCALE.tensor_zero_point) * SCALE.tensor_scale) / 0.04 - 7
    assert np.abs(found - np.clip(wanted, -128, 127)).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(found, Tflm(file.bytes([x], [y])).run([values])[0])


@pytest.mark.parametrize("kind", ["GELU", "EXP", "LOG"])
def test_functions_that_only_litert_has_give_its_bytes(kind: str) -> None:
    for scale, zero_point in ((0.02, -100), (0.07, 5), (0.3, 127)):
        file = File()
        x = file.activation((1, 256), qparams=QParams.per_tensor(0.03, -128 if kind == "LOG" else 3))
        y = file.activation((1, 256), qparams=QParams.per_tensor(scale, zero_point))
        file.op(kind, [x], y, *(("GeluOptions",) if kind == "GELU" else ()))
        values = np.arange(-127, 129).clip(-127, 127).astype(np.int8)
        found = output(file, x, y, values)
        np.testing.assert_array_equal(found, litert(file.bytes([x], [y]), values))


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
