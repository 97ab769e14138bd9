"""One sample or a batch, named errors, states, and freed intermediates."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.execute.single import one_op_graph, qtensor
from tests.unit.quantize.small import samples, small_network
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType
from tinycompress.quantize.ptq import quantize


@pytest.fixture(scope="module")
def quantized() -> QuantGraph:
    graph = small_network()
    return quantize(graph, samples(graph))


def integers(count: int) -> np.ndarray:
    return np.random.default_rng(4).integers(-128, 128, (count, 8, 8, 3), dtype=np.int8)


def test_a_batch_is_its_samples(quantized: QuantGraph) -> None:
    batch = integers(5)
    whole = reference.run(quantized, {"x": batch})
    for i, sample in enumerate(batch):
        single = reference.run(quantized, {"x": sample})
        assert set(single.tensors) == set(whole.tensors)
        for name, value in single.tensors.items():
            assert value.shape == quantized.tensors[name].shape
            assert value.dtype == quantized.tensors[name].dtype.numpy
            np.testing.assert_array_equal(value, whole.tensors[name][i])


def test_intermediates_can_be_dropped(quantized: QuantGraph) -> None:
    batch = integers(3)
    lean = reference.run(quantized, {"x": batch}, keep_tensors=False)
    np.testing.assert_array_equal(lean.output, reference.run(quantized, {"x": batch}).output)
    assert set(lean.tensors) == set(quantized.outputs)


def test_large_batches_are_cut_without_changing_bytes(quantized: QuantGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = integers(6)
    expected = reference.run(quantized, {"x": batch}).output
    monkeypatch.setattr("tinycompress.execute.windows.PATCH_BYTES", 1)
    np.testing.assert_array_equal(reference.run(quantized, {"x": batch}).output, expected)


BAD_INPUTS = [
    ({}, "missing: \\['x'\\]"),
    ({"x": integers(1), "z": integers(1)}, "unknown: \\['z'\\]"),
    ({"x": integers(1)[:, :4]}, "shape \\[1, 4, 8, 3\\]"),
    ({"x": integers(1)[0, 0]}, "shape \\[8, 3\\]"),
    ({"x": integers(1).astype(np.float32)}, "float32.*takes int8"),
    ({"x": integers(1).astype(np.int32) * 1000}, "int32.*takes int8"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS)
def test_inputs_that_don_t_fit(quantized: QuantGraph, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=f"TC-M401.*{message}"):
        reference.run(quantized, inputs)


def test_wider_integers_in_range_are_taken(quantized: QuantGraph) -> None:
    batch = integers(2)
    np.testing.assert_array_equal(
        reference.run(quantized, {"x": batch.astype(np.int64)}).output, reference.run(quantized, {"x": batch}).output
    )


def test_int16_softmax_is_refused_by_name() -> None:
    op = o.Softmax(name="soft", inputs=("x",), outputs=("y",))
    graph = one_op_graph(op, [qtensor("x", (4,), 0.1, 0, DType.INT16), qtensor("y", (), 1 / 256, -128)])
    with pytest.raises(UnsupportedOpError, match=r"TC-M402.*int16 \(soft\)"):
        reference.run(graph, {"x": np.zeros(4, np.int16)})


def test_float_and_integer_tables_cover_all_operators() -> None:
    assert set(float_reference.FLOAT_REFERENCE) == set(o.ALL_OPS)
    assert set(o.ALL_OPS) - set(reference.REFERENCE) == {o.BatchNorm, o.Dropout, o.Dequantize}


def test_single_rounding_is_exact_and_double_is_off_by_at_most_one() -> None:
    tensors = [qtensor("x", (256,), 0.25, 0), qtensor("y", (), 1.0, 0)]
    op = o.Quantize(name="q", inputs=("x",), outputs=("y",))
    x = np.arange(-128, 128, dtype=np.int8)
    double, single = (
        reference.run(one_op_graph(op, tensors, rounding=r), {"x": x}).output.astype(int) for r in Rounding
    )
    np.testing.assert_array_equal(single, np.floor(x / 4 + 0.5))
    assert set(np.unique(np.abs(double - single))) == {0, 1}
