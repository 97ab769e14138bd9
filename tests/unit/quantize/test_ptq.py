"""Post-training quantization: what comes out, how close it is, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.quantize.small import Builder, samples, small_network
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, Preprocess, QuantGraph, Rounding, State
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.quantize.evaluate import predict
from tinycompress.quantize.observers import OBSERVERS
from tinycompress.quantize.ptq import quantize


def real_outputs(graph: QuantGraph, real: np.ndarray) -> np.ndarray:
    name = graph.input_names[0]
    tensor = graph.tensors[name]
    output = reference.run(graph, {name: quantize_values(real, tensor.quantization, tensor.dtype)}).output
    return dequantize_values(output, graph.tensors[graph.outputs[0]].quantization)


def relative_error(graph: Graph, quantized: QuantGraph, real: np.ndarray) -> float:
    expected = float_reference.run(graph, {graph.input_names[0]: real}).output
    return float(np.abs(real_outputs(quantized, real) - expected).mean() / np.abs(expected).mean())


@pytest.mark.parametrize("activations", sorted(OBSERVERS))
@pytest.mark.parametrize("weights", ["mse", "minmax"])
def test_a_small_network_stays_close_to_float(weights: str, activations: str) -> None:
    graph = small_network()
    data = samples(graph, 200)
    quantized = quantize(graph, data, weights=weights, activations=activations)
    assert relative_error(graph, quantized, data) < 0.06
    assert weights in quantized.notes[-1]


def test_result_is_integer_only_and_follows_the_scheme() -> None:
    graph = small_network()
    quantized = quantize(graph, samples(graph), rounding=Rounding.SINGLE)
    assert quantized.rounding is Rounding.SINGLE
    tensors = quantized.tensors
    for op in quantized.ops:
        for name in (*op.inputs, *op.outputs):
            assert tensors[name].dtype is DType.INT8
        if isinstance(op, (o.Conv2D, o.DepthwiseConv2D, o.FullyConnected)):
            weights, bias = tensors[op.weights], tensors[op.bias or ""]
            axis = 2 if isinstance(op, o.DepthwiseConv2D) else 0
            assert weights.quantization.axis == axis
            assert set(weights.quantization.zero_point) == {0}
            assert weights.constant.min() >= -127
            scale = tensors[op.inputs[0]].quantization.tensor_scale
            expected = [np.float32(scale * s) for s in weights.quantization.scale]
            np.testing.assert_allclose(bias.quantization.scale, expected, rtol=1e-6)
            assert bias.dtype is DType.INT32
        if isinstance(op, (o.MaxPool2D, o.Reshape)):
            assert tensors[op.inputs[0]].quantization == tensors[op.output].quantization
        if isinstance(op, o.Softmax):
            assert tensors[op.output].quantization.scale == (1 / 256,)
            assert tensors[op.output].quantization.zero_point == (-128,)


def test_per_tensor_weights_on_request() -> None:
    graph = small_network()
    quantized = quantize(graph, samples(graph), per_channel=False, per_channel_fc=False)
    axes = {quantized.tensors[n].quantization.axis for op in quantized.ops for n in op.constants() if n.startswith("w")}
    assert axes == {None}


def test_documented_input_range_is_used_exactly() -> None:
    b = Builder()
    x = b.input("x", (4, 4, 1), preprocess=Preprocess(scale=1 / 255, value_range=(0.0, 255.0)))
    padded = b.op(o.Pad, x, amounts=((1, 1), (1, 1), (0, 0)))
    graph = b.graph(b.op(o.MaxPool2D, padded, kernel=(2, 2), stride=(2, 2)))
    quantized = quantize(graph, np.full((3, 4, 4, 1), 0.25, np.float32))
    q = quantized.tensors["x"].quantization
    assert q.tensor_zero_point == -128
    assert q.tensor_scale == np.float32(1 / 255)
    pixels = np.arange(256)
    np.testing.assert_array_equal(quantize_values(pixels / np.float32(255), q, DType.INT8), pixels - 128)
    assert quantized.tensors[graph.outputs[0]].quantization == q


def test_concat_shares_the_union_but_leaves_sigmoid_alone() -> None:
    b = Builder()
    x = b.input("x", (4, 4, 2))
    left, right = b.conv(x, 2, 1), b.op(o.Table, b.conv(x, 2, 1), function=o.Function.SIGMOID)
    joined = b.op(o.Concat, left, right, axis=2)
    graph = b.graph(b.conv(joined, 3, 1))
    quantized = quantize(graph, samples(graph))
    tensors = quantized.tensors
    assert tensors[left].quantization == tensors[joined].quantization
    assert tensors[right].quantization.scale == (1 / 256,)
    assert relative_error(graph, quantized, samples(graph)) < 0.05


def test_constant_operands_tables_and_slopes() -> None:
    b = Builder()
    x = b.input("x", (3, 3, 4))
    scaled = b.op(o.Mul, x, b.constant("factor", [0.5, 2.0, -1.0, 0.25]))
    shifted = b.op(o.Add, scaled, b.constant("offset", [1.5]))
    smooth = b.op(o.Table, shifted, function=o.Function.GELU)
    graph = b.graph(b.op(o.PReLU, smooth, alpha=b.constant("alpha", np.full((1, 1, 4), 0.1))))
    quantized = quantize(graph, samples(graph, 100), activations="minmax")
    assert relative_error(graph, quantized, samples(graph, 100)) < 0.06
    (table,) = [op for op in quantized.ops if isinstance(op, o.Table)]
    assert quantized.tensors[table.table or ""].shape == (256,)


def test_constant_in_a_comparison_shares_the_scale() -> None:
    b = Builder()
    y = b.op(o.Maximum, b.input("x", (4,)), b.constant("floor", [0.5]))
    graph = b.graph(y)
    quantized = quantize(graph, samples(graph))
    assert quantized.tensors["floor"].quantization == quantized.tensors["x"].quantization
    assert relative_error(graph, quantized, samples(graph)) < 0.02


def test_logarithm_table_is_defined_for_negative_inputs() -> None:
    b = Builder()
    graph = b.graph(b.op(o.Table, b.input("x", (6,)), function=o.Function.LOG))
    values = np.linspace(0.5, 4.0, 60, dtype=np.float32).reshape(10, 6)
    quantized = quantize(graph, values)
    assert relative_error(graph, quantized, values) < 0.05


def test_a_bias_that_would_not_fit_coarsens_its_channel() -> None:
    b = Builder()
    x = b.input("x", (4,))
    weights = np.eye(2, 4, dtype=np.float32) * [[1.0], [1e-7]]
    y = b.op(o.FullyConnected, x, weights=b.constant("w", weights), bias=b.constant("b", [0.1, 30.0]))
    graph = b.graph(y)
    quantized = quantize(graph, samples(graph))
    assert any("coarsen" in note and "1 channels" in note for note in quantized.notes)
    assert np.abs(quantized.tensors["b"].constant).max() <= 2**30 + 1
    np.testing.assert_allclose(real_outputs(quantized, samples(graph))[:, 1], 30.0, atol=0.2)


def test_a_channel_of_zeros_gives_its_bias() -> None:
    b = Builder()
    x = b.input("x", (4,))
    y = b.op(o.FullyConnected, x, weights=b.constant("w", np.zeros((2, 4))), bias=b.constant("b", [0.5, -2.0]))
    graph = b.graph(y)
    outputs = real_outputs(quantize(graph, samples(graph)), samples(graph))
    np.testing.assert_allclose(outputs, np.broadcast_to([0.5, -2.0], outputs.shape), atol=0.02)


def test_shared_weights_get_a_bias_scale_per_user() -> None:
    b = Builder()
    x, z = b.input("x", (4,)), b.input("z", (4,))
    w, bias = b.random("w", 3, 4), b.random("b", 3)
    outputs = [b.op(o.FullyConnected, n, weights=w, bias=bias) for n in (x, z)]
    graph = b.graph(*outputs)
    data = samples(graph)
    quantized = quantize(graph, {"x": data, "z": 100 * data})
    scales = [
        quantized.tensors[op.bias or ""].quantization.scale for op in quantized.ops if isinstance(op, o.FullyConnected)
    ]
    assert scales[1][0] == pytest.approx(100 * scales[0][0], rel=1e-4)


def test_bias_correction_removes_the_mean_error() -> None:
    b = Builder(3)
    x = b.input("x", (6, 6, 4))
    h = b.conv(x, 8, padding=(1, 1, 1, 1), activation=o.RELU)
    graph = b.graph(b.conv(h, 8, 1))
    data = np.abs(samples(graph, 128))
    expected = float_reference.run(graph, {"x": data}).output
    errors = {}
    for corrected in (False, True):
        quantized = quantize(graph, data, weights="minmax", per_channel=False, bias_correction=corrected)
        difference = real_outputs(quantized, data) - expected
        errors[corrected] = np.abs(difference.mean(axis=(0, 1, 2)) / expected.std(axis=(0, 1, 2))).max()
    assert errors[True] < 2e-3 < errors[False]


def recurrent_cell() -> Graph:
    """h' = tanh(W [x, h] + b), with h kept between inferences."""
    b = Builder(7)
    x = b.input("x", (3,))
    b.tensors["h"] = Tensor("h", (5,), DType.FLOAT32)
    joined = b.op(o.Concat, x, "h", axis=0)
    new = b.op(o.Table, b.fc(joined, 5), function=o.Function.TANH)
    return Graph("cell", tuple(b.inputs), (new,), b.tensors, tuple(b.ops), (State("h", new),))


def test_state_shares_its_scale_and_follows_the_float_sequence() -> None:
    graph = recurrent_cell()
    (state,) = graph.states
    sequence = samples(graph, 120)
    quantized = quantize(graph, sequence)
    assert quantized.tensors["h"].quantization == quantized.tensors[state.write].quantization
    (floats,) = predict(graph, sequence).values()
    (integers,) = predict(quantized, sequence).values()
    real = dequantize_values(integers, quantized.tensors[state.write].quantization)
    assert np.abs(real - floats).max() < 0.1
    assert np.abs(floats[1:] - predict(graph, sequence[1:])[state.write]).max() > 0.05


def bad_calibrations() -> list[tuple[str, object]]:
    good = samples(small_network(), 4)
    spoiled = good.copy()
    spoiled[1, 0, 0, 0] = np.nan
    return [
        ("TC-M411", good[:0]),
        ("TC-M411", good[:, :5]),
        ("TC-M411", good[0]),
        ("TC-M411", [good, good]),
        ("TC-M411", {"y": good}),
        ("TC-M412.*1 of 4", spoiled),
    ]


@pytest.mark.parametrize(("message", "data"), bad_calibrations())
def test_unusable_calibration_data_is_refused(message: str, data: object) -> None:
    with pytest.raises(ModelError, match=message):
        quantize(small_network(), data)  # type: ignore[arg-type]


def test_activations_that_overflow_are_refused_by_name() -> None:
    b = Builder()
    graph = b.graph(b.op(o.Table, b.input("x", (4,)), function=o.Function.EXP))
    with pytest.raises(ModelError, match=r"TC-M413.*table0"):
        quantize(graph, np.full((2, 4), 1000.0, np.float32))


def test_partly_quantized_models_are_refused_by_name() -> None:
    b = Builder()
    graph = b.graph(b.op(o.Dequantize, b.fc(b.input("x", (4,)), 3)))
    with pytest.raises(ModelError, match=r"TC-M403.*dequantize1 \(Dequantize\)"):
        quantize(graph, samples(graph))


def test_batch_norm_is_folded_on_the_way() -> None:
    b = Builder()
    y = b.conv(b.input("x", (4, 4, 2)), 3)
    names = {n: b.constant(n, b.rng.uniform(0.5, 2.0, 3)) for n in ("gamma", "beta", "mean", "variance")}
    graph = b.graph(b.op(o.BatchNorm, y, **names))
    quantized = quantize(graph, samples(graph))
    assert [op.kind for op in quantized.ops] == ["Conv2D"]
    assert relative_error(graph, quantized, samples(graph)) < 0.05


def test_two_fixed_scales_in_one_maximum_are_refused() -> None:
    b = Builder()
    x = b.input("x", (4,))
    both = b.op(o.Maximum, b.op(o.Softmax, x), b.op(o.LogSoftmax, x))
    with pytest.raises(UnsupportedOpError, match="TC-M414"):
        quantize(b.graph(both), samples(b.graph(both)))
