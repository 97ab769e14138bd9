"""The TFLite front end: what it makes of files, and what it says of those it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.oracle.random_graphs import random_graph
from tests.unit.frontends.tflite_edit import edited, schema
from tinycompress.errors import ModelError, UnsafeModelError, UnsupportedOpError
from tinycompress.execute.reference import run
from tinycompress.export import to_tflite
from tinycompress.frontends import load_file
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import DType


@pytest.fixture
def convolution() -> bytes:
    """A file of one CONV_2D."""
    graph = random_graph(9, ("Conv2D",), 1)
    assert [op.kind for op in graph.ops] == ["Conv2D"]
    return to_tflite(graph)


def code_of(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        import_tflite(data, "net")
    return caught.value.code


def test_models_of_all_kinds_import(data_dir: Path) -> None:
    """Everything in the shared folder; int8 files become integer graphs, float ones float graphs."""
    for path in sorted((data_dir / "models").rglob("*.tflite")):
        graph = load_file(path)
        is_float = any(word in path.stem for word in ("float", "fp32")) or path.stem == "pretrainedResnet"
        assert isinstance(graph, QuantGraph) != is_float, path.name
        assert all(t.dtype is not DType.FLOAT32 for t in graph.tensors.values()) != is_float


def test_resnet_has_the_published_parameters(data_dir: Path) -> None:
    assert load_file(data_dir / "models/mlperf_tiny/pretrainedResnet_quant.tflite").parameters == 77_706


def test_same_padding_becomes_four_integers(data_dir: Path) -> None:
    graph = load_file(data_dir / "models/mlperf_tiny/kws_ref_model.tflite")
    first = graph.ops[0]
    assert isinstance(first, o.Conv2D)
    assert first.padding == (4, 1, 5, 1)
    assert first.stride == (2, 2)
    assert first.activation == o.RELU


def test_float_edges_are_cut_and_noted(data_dir: Path) -> None:
    graph = load_file(data_dir / "models/tinyengine/ptq_mnist_lenet-300-100.tflite")
    assert [i.source_dtype for i in graph.inputs] == ["float32"]
    assert any("quantize_0" in note for note in graph.notes)
    assert any("log_softmax_6" in note for note in graph.notes)


def test_hybrid_weights_are_dequantized(data_dir: Path) -> None:
    graph = load_file(data_dir / "models/mlperf_tiny/kws_ref_model_float32.tflite")
    assert not isinstance(graph, QuantGraph)
    assert any("dequantized" in note for note in graph.notes)


def test_unsigned_files_give_the_same_network(convolution: bytes) -> None:
    """uint8 with zero points 128 higher stands for the same numbers."""

    def to_unsigned(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.type != schema.TensorType.INT8:
                continue
            tensor.type = schema.TensorType.UINT8
            tensor.quantization.zeroPoint = [int(z) + 128 for z in tensor.quantization.zeroPoint]
            buffer = model.buffers[tensor.buffer]
            if buffer.data is not None:
                buffer.data = (np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.int16) + 128).astype(np.uint8)

    signed, unsigned = import_tflite(convolution, "net"), import_tflite(edited(convolution, to_unsigned), "net")
    assert isinstance(signed, QuantGraph)
    assert isinstance(unsigned, QuantGraph)
    assert unsigned.inputs[0].source_dtype == "uint8"
    name = signed.input_names[0]
    sample = np.random.default_rng(0).integers(-128, 128, signed.tensors[name].shape).astype(np.int8)
    np.testing.assert_array_equal(run(signed, {name: sample}).output, run(unsigned, {name: sample}).output)


def test_all_unsupported_operators_are_named_at_once(convolution: bytes) -> None:
    def add_unknown(model: Any) -> None:
        graph = model.subgraphs[0]
        for kind in ("GATHER_ND", "UNIQUE"):
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            model.operatorCodes.append(code)
            op = schema.OperatorT()
            op.opcodeIndex = len(model.operatorCodes) - 1
            op.inputs, op.outputs = list(graph.outputs), list(graph.outputs)
            graph.operators.append(op)

    with pytest.raises(UnsupportedOpError) as caught:
        import_tflite(edited(convolution, add_unknown), "net")
    assert "operator 2 UNIQUE" in str(caught.value)
    assert "operator 1 GATHER_ND" in str(caught.value)
    assert caught.value.code == "TC-M202"


def test_control_flow_is_refused(convolution: bytes) -> None:
    def to_while(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.WHILE

    with pytest.raises(UnsafeModelError) as caught:
        import_tflite(edited(convolution, to_while), "net")
    assert caught.value.code == "TC-M606"


def test_a_second_subgraph_is_refused(convolution: bytes) -> None:
    assert code_of(edited(convolution, lambda m: m.subgraphs.append(m.subgraphs[0]))) == "TC-M606"


def test_dynamic_shapes_are_refused(convolution: bytes) -> None:
    def to_dynamic(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
        tensor.shapeSignature = [-1, -1, *tensor.shape[2:]]

    assert code_of(edited(convolution, to_dynamic)) == "TC-M203"


def test_a_symbolic_batch_is_one(convolution: bytes) -> None:
    def to_symbolic(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
        tensor.shapeSignature = [-1, *tensor.shape[1:]]

    assert import_tflite(edited(convolution, to_symbolic), "net").ops


def test_batches_are_refused(convolution: bytes) -> None:
    def to_batch(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
        tensor.shape = [4, *tensor.shape[1:]]

    assert code_of(edited(convolution, to_batch)) == "TC-M203"


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda t: setattr(t, "shape", [1, 1 << 20, 1 << 20, 4]), "TC-M604"),
        (lambda t: setattr(t, "shape", [1] * 9), "TC-M603"),
        (lambda t: setattr(t, "buffer", 900), "TC-M206"),
        (lambda t: setattr(t, "type", schema.TensorType.COMPLEX64), "TC-M205"),
        (lambda t: setattr(t.quantization, "scale", [0.0]), "TC-M205"),
        (lambda t: setattr(t.quantization, "scale", [float("nan")]), "TC-M205"),
        (lambda t: setattr(t.quantization, "zeroPoint", [4000]), "TC-M205"),
    ],
)
def test_impossible_inputs_are_refused(convolution: bytes, edit: Any, code: str) -> None:
    def change(model: Any) -> None:
        edit(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]])

    assert code_of(edited(convolution, change)) == code


def test_truncated_weights_are_refused(convolution: bytes) -> None:
    def shorten(model: Any) -> None:
        operator = model.subgraphs[0].operators[0]
        weights = model.subgraphs[0].tensors[operator.inputs[1]]
        model.buffers[weights.buffer].data = model.buffers[weights.buffer].data[:-1]

    assert code_of(edited(convolution, shorten)) == "TC-M605"


def test_asymmetric_weights_are_refused(convolution: bytes) -> None:
    def shift(model: Any) -> None:
        weights = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
        weights.quantization.zeroPoint = [3] * len(weights.quantization.zeroPoint)

    assert code_of(edited(convolution, shift)) == "TC-M205"


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 64, b"\xff" * 4 + b"TFL3" + b"\xff" * 64, b"{}" * 100])
def test_other_bytes_are_refused(data: bytes) -> None:
    assert code_of(data) == "TC-M201"


def test_names_become_safe_and_unique(convolution: bytes) -> None:
    def rename(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = 'a"; system("x") //\n\x1b[31m'

    graph: Graph = import_tflite(edited(convolution, rename), "net")
    names = [*graph.tensors, *(op.name for op in graph.ops)]
    assert len(set(graph.tensors)) == len(graph.tensors)
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in names)
    assert all(text.isprintable() for t in graph.tensors.values() for text in [t.source])
