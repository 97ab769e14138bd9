"""Post-training quantization of LSTM and Embedding: close to float, and the same bytes everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.oracle.tflm_oracle import Tflm
from tests.unit.quantize.recurrent import add_lstm, embedding_network, lstm_network, sequences
from tests.unit.quantize.small import Builder
from tinycompress.emit import generate
from tinycompress.errors import UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.export import to_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import DType
from tinycompress.plan import plan
from tinycompress.quantize.calibrate import carries_state
from tinycompress.quantize.evaluate import predict
from tinycompress.quantize.ptq import quantize
from tinycompress.quantize.qat import QatQuantizer


def noise_ratio(graph: Graph, quantized: QuantGraph, real: np.ndarray) -> float:
    """Signal to quantization noise of the first output, in dB."""
    (expected,), (found,) = predict(graph, real).values(), predict(quantized, real).values()
    error = dequantize_values(found, quantized.tensors[quantized.outputs[0]].quantization) - expected
    return float(10 * np.log10((expected**2).sum() / (error**2).sum()))


def integers(graph: QuantGraph, real: np.ndarray) -> np.ndarray:
    tensor = graph.tensors[graph.input_names[0]]
    return real if tensor.dtype is DType.INT32 else quantize_values(real, tensor.quantization, tensor.dtype)


NETWORKS = {
    "starts anew": lstm_network(),
    "keeps its states": lstm_network(is_kept=True),
    "clipped": lstm_network(clip=0.7),
    "embedding": embedding_network(),
}


@pytest.mark.parametrize("weights", ["mse", "minmax"])
@pytest.mark.parametrize("name", NETWORKS)
def test_lstm_networks_stay_close_to_float(name: str, weights: str) -> None:
    graph = NETWORKS[name]
    quantized = quantize(graph, sequences(graph), weights=weights)
    assert noise_ratio(graph, quantized, sequences(graph, 64, seed=8)) > 24


def test_lstm_follows_the_scheme() -> None:
    quantized = quantize(NETWORKS["starts anew"], sequences(NETWORKS["starts anew"]))
    tensors = quantized.tensors
    for op in (op for op in quantized.ops if isinstance(op, o.LSTM)):
        x, hidden, cell = (tensors[n] for n in op.inputs)
        y, kept, inner = (tensors[n] for n in op.outputs)
        assert hidden.quantization == kept.quantization == y.quantization
        assert cell.dtype is inner.dtype is DType.INT16
        assert cell.quantization == inner.quantization
        assert np.log2(cell.quantization.tensor_scale) % 1 == 0
        for name in (op.input_weights, op.recurrent_weights):
            assert len(tensors[name].quantization.scale) == 4
            assert tensors[name].constant.min() >= -127
        assert op.bias is not None
        expected = x.quantization.tensor_scale * np.asarray(tensors[op.input_weights].quantization.scale)
        np.testing.assert_allclose(tensors[op.bias].quantization.scale, expected, rtol=1e-6)
        assert hidden.is_constant
        assert set(hidden.constant) == {y.quantization.tensor_zero_point}


def test_cell_range_covers_every_step_and_not_the_last_alone() -> None:
    graph = NETWORKS["starts anew"]
    data = np.concatenate([sequences(graph)[:, 6:], np.zeros((48, 6, 6), np.float32)], axis=1)
    op = next(op for op in graph.ops if isinstance(op, o.LSTM))
    zeros = np.zeros(12, np.float32)
    cells = float_reference.lstm_steps(op, [data, zeros, zeros], graph.tensors)[1]
    assert np.abs(cells).max() > 2 * np.abs(cells[:, -1]).max()
    scale = quantize(graph, data).tensors[op.outputs[2]].quantization.tensor_scale
    assert 2**15 * scale >= np.abs(cells).max() > 2**14 * scale


@pytest.mark.parametrize("name", NETWORKS)
def test_library_and_tflm_give_the_reference_s_bytes(tmp_path: Path, name: str) -> None:
    graph = quantize(NETWORKS[name], sequences(NETWORKS[name]))
    (x,) = graph.input_names
    host, oracle = generate(plan(graph), tmp_path).host(), Tflm(to_tflite(graph))
    state = None
    for sample in integers(graph, sequences(graph, 8, seed=5)):
        result = reference.run(graph, {x: sample}, state)
        state = result.state
        if not graph.states:
            oracle.reset()
        np.testing.assert_array_equal(host.run({x: sample})[graph.outputs[0]], result.output)
        np.testing.assert_array_equal(oracle.run([sample])[0], result.output)


def test_last_hidden_state_is_exported_as_the_last_row() -> None:
    b = Builder()
    add_lstm(b, b.input("x", (6, 4)), 5)
    graph = b.graph("lstm0_out", b.fc("lstm0_h_next", 3))
    quantized = quantize(graph, sequences(graph))
    oracle = Tflm(to_tflite(quantized))
    for sample in integers(quantized, sequences(graph, 5, seed=6)):
        expected = reference.run(quantized, {"x": sample}).outputs
        oracle.reset()
        for name, value in zip(quantized.outputs, oracle.run([sample]), strict=True):
            np.testing.assert_array_equal(value, expected[name])


def test_exported_lstm_begins_at_the_first_step_with_zeros() -> None:
    b = Builder()
    add_lstm(b, b.input("x", (6, 4)), 5)
    graph = b.graph("lstm0_out", "lstm0_c_next")
    with pytest.raises(UnsupportedOpError, match="cell state is no output"):
        to_tflite(quantize(graph, sequences(graph)))
    (op,) = graph.ops
    assert isinstance(op, o.LSTM)
    backwards = quantize(replace(graph, ops=(replace(op, is_reversed=True),), outputs=op.outputs[:1]), sequences(graph))
    with pytest.raises(UnsupportedOpError, match="begins at the last step"):
        to_tflite(backwards)
    ones = replace(graph.tensors[op.inputs[1]], data=np.ones(5, np.float32))
    later = replace(graph, tensors={**graph.tensors, ones.name: ones}, outputs=op.outputs[:1])
    with pytest.raises(UnsupportedOpError, match="zero point"):
        to_tflite(quantize(later, sequences(graph)))


def test_samples_of_sequences_do_not_continue_each_other() -> None:
    graph = NETWORKS["keeps its states"]
    assert not carries_state(graph)
    assert carries_state(lstm_network(steps=1, is_kept=True))
    data = sequences(graph, 4)
    (whole,), (alone,) = predict(graph, data).values(), predict(graph, data[2:3]).values()
    np.testing.assert_allclose(whole[2], alone[0], rtol=1e-5)


def test_embedding_shares_its_table_s_parameters() -> None:
    graph = quantize(NETWORKS["embedding"], sequences(NETWORKS["embedding"]))
    op = graph.ops[0]
    assert isinstance(op, o.Embedding)
    assert graph.tensors[op.inputs[0]].dtype is DType.INT32
    assert graph.tensors[op.table].qparams == graph.tensors[op.output].qparams
    error = dequantize_values(graph.tensors[op.table].constant, graph.tensors[op.table].quantization)
    assert np.abs(error - NETWORKS["embedding"].tensors["table"].constant).max() <= 0.51 * 4 / 255 * 1.2


def test_cell_state_is_no_operand_but_may_be_an_output() -> None:
    b = Builder()
    add_lstm(b, b.input("x", (5, 3)), 4)
    whole = b.graph("lstm0_out", "lstm0_c_next")
    assert quantize(whole, sequences(whole)).tensors["lstm0_c_next"].dtype is DType.INT16
    graph = b.graph(b.fc("lstm0_c_next", 2))
    with pytest.raises(UnsupportedOpError, match="int16 and no input") as caught:
        quantize(graph, sequences(graph))
    assert caught.value.code == "TC-M414"
    assert caught.value.where == "fullyconnected1"


def test_bias_correction_and_shared_weights_leave_an_lstm_whole() -> None:
    graph = NETWORKS["starts anew"]
    first, second = (op for op in graph.ops if isinstance(op, o.LSTM))
    assert noise_ratio(graph, quantize(graph, sequences(graph), bias_correction=True), sequences(graph, 64, 8)) > 24
    shared = replace(second, bias=None)
    other = graph.with_ops(
        [replace(op, bias=None) if op is first else shared if op is second else op for op in graph.ops]
    )
    quantized = quantize(other, sequences(other))
    assert noise_ratio(other, quantized, sequences(other, 64, 8)) > 24
    corrected = quantize(NETWORKS["embedding"], sequences(NETWORKS["embedding"]), bias_correction=True)
    assert noise_ratio(NETWORKS["embedding"], corrected, sequences(corrected, 64, 8)) > 24


def test_training_under_quantization_refuses_lstm() -> None:
    graph = NETWORKS["starts anew"]
    with pytest.raises(UnsupportedOpError, match="does not simulate: lstm0") as caught:
        QatQuantizer(graph, sequences(graph), "lsq", "mse", "percentile")
    assert caught.value.code == "TC-M421"
