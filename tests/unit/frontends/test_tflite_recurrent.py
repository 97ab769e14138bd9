"""UNIDIRECTIONAL_SEQUENCE_LSTM: what is imported gives TFLM's bytes, what TFLM has no kernel for is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.oracle.random_graphs import random_graph
from tests.unit.execute import tflm
from tests.unit.frontends.tflite_edit import edited, schema
from tinycompress.errors import ModelError
from tinycompress.execute import float_reference
from tinycompress.execute.reference import run
from tinycompress.export import to_tflite
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph


@pytest.fixture
def lstm() -> bytes:
    """A file of one LSTM over 4 to 8 steps."""
    return to_tflite(random_graph(2, ("LSTM",), 1))


def refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        import_tflite(data, "net")
    assert caught.value.code == "TC-M204"


def time_major(model: Any) -> None:
    graph = model.subgraphs[0]
    op = graph.operators[0]
    op.builtinOptions.timeMajor = True
    for index in (op.inputs[0], op.outputs[0]):
        _, steps, features = graph.tensors[index].shape
        graph.tensors[index].shape = [steps, 1, features]


def test_time_major_sequences_give_tflm_bytes(lstm: bytes) -> None:
    data = edited(lstm, time_major)
    graph = import_tflite(data, "net")
    assert isinstance(graph, QuantGraph)
    (name,) = graph.input_names
    interpreter = tflm.runtime.Interpreter.from_bytes(data)
    rng, state = np.random.default_rng(0), None
    for _ in range(5):
        sample = rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)
        interpreter.set_input(sample[:, np.newaxis], 0)
        interpreter.invoke()
        result = run(graph, {name: sample}, state)
        state = result.state
        np.testing.assert_array_equal(result.output, interpreter.get_output(0)[:, 0])


def test_time_major_meets_no_operator_that_counts_axes(lstm: bytes) -> None:
    def and_softmax(model: Any) -> None:
        time_major(model)
        graph = model.subgraphs[0]
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
        model.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = 1, list(graph.outputs), list(graph.outputs)
        graph.operators.append(op)

    refused(edited(lstm, and_softmax), "time-major")


@pytest.mark.parametrize(
    ("position", "index", "words"),
    [(1, -1, "coupled input and forget"), (9, 2, "peephole"), (16, 2, "projection"), (20, 2, "layer normalization")],
)
def test_variants_without_a_kernel_are_refused(lstm: bytes, position: int, index: int, words: str) -> None:
    def edit(model: Any) -> None:
        inputs = list(model.subgraphs[0].operators[0].inputs)
        inputs[position] = index
        model.subgraphs[0].operators[0].inputs = inputs

    refused(edited(lstm, edit), words)


def test_other_functions_and_scales_are_refused(lstm: bytes) -> None:
    def relu(model: Any) -> None:
        model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 1

    def odd_cell(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[0].inputs[19]].quantization.scale = [0.0003]

    def other_hidden(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[0].inputs[18]].quantization.scale = [0.5]

    refused(edited(lstm, relu), "another function than tanh")
    refused(edited(lstm, odd_cell), "not a power of two")
    refused(edited(lstm, other_hidden), "hidden state")


@pytest.mark.parametrize("clip", [0.0, 0.4])
def test_float_lstm_computes_what_tflm_does(clip: float) -> None:
    rng = np.random.default_rng(4)
    steps, features, units = 6, 5, 4
    value = lambda *shape: tflm.Value(shape, np.float32, data=rng.normal(size=shape).astype(np.float32))  # noqa: E731
    x = tflm.Value((1, steps, features), np.float32)
    kernels = [value(units, features) for _ in range(4)] + [value(units, units) for _ in range(4)]
    biases = [value(units) for _ in range(4)]
    states = [tflm.Value((1, units), np.float32, is_variable=True) for _ in range(2)]
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction, options.cellClip = 4, clip
    parts = [x, *kernels, *biases, *states]
    y = tflm.Value((1, steps, units), np.float32)

    def with_absent(model: Any) -> None:
        op = model.subgraphs[0].operators[0]
        given = list(op.inputs)
        op.inputs = [*given[:9], -1, -1, -1, *given[9:13], -1, -1, *given[13:], -1, -1, -1, -1]

    data = edited(tflm.build("UNIDIRECTIONAL_SEQUENCE_LSTM", options, parts, y), with_absent)
    graph = import_tflite(data, "net")
    assert [op.kind for op in graph.ops] == ["LSTM"]
    assert isinstance(graph.ops[0], o.LSTM)
    (name,) = graph.input_names
    batch = rng.normal(size=(4, steps, features)).astype(np.float32)
    expected, state = tflm.run(data, batch), None
    for sample, wanted in zip(batch, expected, strict=True):
        result = float_reference.run(graph, {name: sample}, state)
        state = result.state
        np.testing.assert_allclose(result.output, wanted, atol=2e-6)


def test_exported_files_run_in_litert_too() -> None:
    """Its kernel rounds inside a gate in other places than TFLM's: the bytes agree to one unit."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert (extra dev)")
    graph = random_graph(2, ("LSTM",), 1)
    interpreter = litert.Interpreter(model_content=to_tflite(graph))
    interpreter.allocate_tensors()
    (name,) = graph.input_names
    rng, state = np.random.default_rng(1), None
    for _ in range(4):
        sample = rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[np.newaxis])
        interpreter.invoke()
        result = run(graph, {name: sample}, state)
        state = result.state
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(int)
        assert np.abs(found - result.output).max() <= 1
