"""Shapes that a TFLite file leaves open or computes, as converters of models with a free batch write them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.frontends.tflite_made import SCALE, File, dense_on_sequence
from tinycompress.errors import ModelError
from tinycompress.execute.reference import run
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import DType


def batch_of(file: File, x: int) -> int:
    """The chain SHAPE, STRIDED_SLICE that gives the batch as a scalar."""
    shape = file.op("SHAPE", [x], file.activation((4,), DType.INT32), "ShapeOptions")
    ends = [file.integers([0]), file.integers([1]), file.integers([1])]
    batch = file.activation((), DType.INT32)
    return file.op("STRIDED_SLICE", [shape, *ends], batch, "StridedSliceOptions", ShrinkAxisMask=1)


def test_flatten_of_a_model_with_a_free_batch_imports() -> None:
    file = File()
    x = file.activation((-1, 2, 3, 4))
    packed = file.activation((2,), DType.INT32)
    file.op("PACK", [batch_of(file, x), file.integers(24)], packed, "PackOptions", ValuesCount=2)
    flat = file.op("RESHAPE", [x, packed], file.activation((-1, 24)), "ReshapeOptions")
    graph = file.graph([x], [flat])
    assert [op.kind for op in graph.ops] == ["Reshape"]
    assert graph.tensors[graph.outputs[0]].shape == (24,)


def test_dense_layer_on_a_sequence_imports_behind_computed_shapes() -> None:
    file, x, y, weights = dense_on_sequence()
    graph = file.graph([x], [y])
    assert graph.tensors[graph.outputs[0]].shape == (6, 5)
    values = np.random.default_rng(1).integers(-128, 128, (6, 8)).astype(np.int8)
    assert isinstance(graph, QuantGraph)
    found = run(graph, {graph.input_names[0]: values}).output
    expected = np.clip(np.rint((values.astype(int) - 3) @ weights.T.astype(int) * 0.01) + 3, -128, 127)
    assert np.abs(found - expected).max() <= 1
    assert len(np.unique(found)) > 10


def test_operators_after_an_open_reshape_have_the_shape_they_compute() -> None:
    file = File()
    x = file.activation((-1, 4, 6))
    image = file.op("RESHAPE", [x, file.integers([1, 4, 2, 3])], file.activation((-1, -1, -1, 3)), "ReshapeOptions")
    pooled = file.op("MAX_POOL_2D", [image], file.activation((-1, -1, -1, 3)), "Pool2DOptions", StrideH=2, StrideW=1,
                     FilterHeight=2, FilterWidth=1, Padding=1)  # fmt: skip
    graph = file.graph([x], [file.op("TANH", [pooled], file.activation((-1, -1, -1, 3)))])
    assert [op.kind for op in graph.ops] == ["Reshape", "MaxPool2D", "Table"]
    assert graph.tensors[graph.outputs[0]].shape == (2, 2, 3)


def test_a_transpose_that_moves_the_batch_orders_the_other_axes() -> None:
    file = File()
    x = file.activation((1, 4, 6))
    moved = file.op("TRANSPOSE", [x, file.integers([1, 2, 0])], file.activation((4, 6, 1)), "TransposeOptions")
    y = file.op("TRANSPOSE", [moved, file.integers([2, 1, 0])], file.activation((1, 6, 4)), "TransposeOptions")
    graph = file.graph([x], [y])
    assert isinstance(graph, QuantGraph)
    values = np.arange(24, dtype=np.int8).reshape(4, 6)
    np.testing.assert_array_equal(run(graph, {graph.input_names[0]: values}).output, values.T)


def test_a_shape_that_is_not_known_is_refused() -> None:
    file = File()
    x, wanted = file.activation((1, 24)), file.activation((2,), DType.INT32)
    y = file.op("RESHAPE", [x, wanted], file.activation((-1, -1)), "ReshapeOptions")
    with pytest.raises(ModelError) as caught:
        file.graph([x], [y])
    assert caught.value.code == "TC-M204"


def test_constants_that_do_not_fit_are_refused() -> None:
    file = File()
    x = file.activation((1, 24))
    joined = file.op("CONCATENATION", [file.integers([1]), file.integers([[2]])], file.activation((2,), DType.INT32),
                     "ConcatenationOptions")  # fmt: skip
    y = file.op("RESHAPE", [x, joined], file.activation((-1, 24)), "ReshapeOptions")
    with pytest.raises(ModelError) as caught:
        file.graph([x], [y])
    assert caught.value.code == "TC-M206"


def test_a_fully_connected_reading_rows_is_no_image() -> None:
    """A tensor without batch may have the rank of an image; windows are refused there."""
    file = File()
    x = file.activation((1, 4, 6, 3))
    rows = file.op("RESHAPE", [x, file.integers([4, 6, 3])], file.activation((4, 6, 3)), "ReshapeOptions")
    y = file.op("MAX_POOL_2D", [rows], file.activation((2, 3, 3)), "Pool2DOptions", StrideH=2, StrideW=2,
                FilterHeight=2, FilterWidth=2, Padding=1)  # fmt: skip
    with pytest.raises(ModelError) as caught:
        file.graph([x], [y])
    assert caught.value.code == "TC-M204"


def test_fused_ops_stay_one_operator() -> None:
    """A batch-free network keeps its operators: nothing is added for open shapes."""
    file = File()
    x = file.activation((-1, 4, 6, 3))
    y = file.op("MAX_POOL_2D", [x], file.activation((-1, 2, 3, 3)), "Pool2DOptions", StrideH=2, StrideW=2,
                FilterHeight=2, FilterWidth=2, Padding=1)  # fmt: skip
    assert [type(op) for op in file.graph([x], [y]).ops] == [o.MaxPool2D]


@pytest.mark.parametrize("kind", ["GATHER", "SQUEEZE"])
def test_axes_of_a_scalar_are_refused(kind: str) -> None:
    file = File()
    x = file.activation((1, 4))
    scalar = file.op("RESHAPE", [x, file.integers([4])], file.activation(()), "ReshapeOptions")
    if kind == "GATHER":
        y = file.op("GATHER", [scalar, file.integers([0])], file.activation((1, 1)), "GatherOptions")
    else:
        y = file.op("SQUEEZE", [scalar], file.activation((1, 1)), "SqueezeOptions", SqueezeDims=[0])
    with pytest.raises(ModelError) as caught:
        file.graph([x], [y])
    assert caught.value.code == "TC-M206"


def test_an_activation_that_is_a_constant_is_refused_as_such() -> None:
    file = File()
    x = file.activation((1, 4))
    zeros = file.activation((1, 4))
    file.op("FILL", [file.integers([1, 4]), file.constant(np.asarray(3, np.int8), SCALE)], zeros)
    y = file.op("TANH", [zeros], file.activation((1, 4)))
    with pytest.raises(ModelError, match="is a constant where an activation is needed"):
        file.graph([x], [y])
