"""ONNX LSTM nodes and lookups against onnxruntime; what is refused; and such a network as integers in C."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.oracle.onnx_oracle import session
from tinycompress.emit import generate
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.export import to_onnx
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.ir import ops as o
from tinycompress.ir.inputs import source_outputs
from tinycompress.ir.tensor import DType
from tinycompress.passes import prepare_for_deployment
from tinycompress.plan import plan
from tinycompress.quantize.ptq import quantize

STEPS, FEATURES, UNITS = 7, 5, 6
X = ("x", TensorProto.FLOAT, (1, STEPS, FEATURES))
Array = Any


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((*shape, seed)).normal(size=shape).astype(np.float32) / 2


def lstm_constants(directions: int = 1, inputs: int = FEATURES) -> dict[str, Array]:
    return {
        "W": random(directions, 4 * UNITS, inputs),
        "R": random(directions, 4 * UNITS, UNITS),
        "B": random(directions, 8 * UNITS),
        "h": random(directions, 1, UNITS, seed=1),
        "c": random(directions, 1, UNITS, seed=2),
    }


def lstm(x: str, *inputs: str, outputs: tuple[str, ...] = ("Y", "Y_h", "Y_c"), **attributes: Any) -> Any:
    return helper.make_node("LSTM", [x, "W", "R", *inputs], list(outputs), hidden_size=UNITS, **attributes)


def model(nodes: list[Any], constants: dict[str, Array], outputs: tuple[str, ...] = ("y",), x: Any = X) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()  # type: ignore[no-any-return]


def compare(data: bytes, sample: Array) -> Any:
    """Imports the file and compares all outputs with onnxruntime's; the graph."""
    graph = import_onnx(data, "net")
    (name,) = graph.input_names
    runtime = session(data)
    expected = runtime.run(None, {runtime.get_inputs()[0].name: sample})
    tensor = graph.tensors[name]
    batch = sample.reshape(1, *tensor.shape).astype(tensor.dtype.numpy)
    found = source_outputs(float_reference.run(graph, {name: batch}).outputs, graph)
    for value, wanted in zip((found[n] for n in graph.outputs), expected, strict=True):
        np.testing.assert_allclose(value.reshape(wanted.shape), wanted, atol=1e-5)
    assert all(op.kind != "Transpose" for op in graph.ops)
    return graph


TURNED = [1, 0, 2]
LED = [2, 0, 1, 3]
OVER_TIME = {"axes": [1], "keepdims": 0}
BEFORE = helper.make_node("Transpose", ["x"], ["s"], perm=TURNED)


@pytest.mark.parametrize("inputs", [(), ("B",), ("B", "", "h", "c")])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_time_major_lstm(direction: str, inputs: tuple[str, ...]) -> None:
    constants = lstm_constants(2 if direction == "bidirectional" else 1)
    data = model([BEFORE, lstm("s", *inputs, direction=direction)], constants, ("Y", "Y_h", "Y_c"))
    compare(data, random(1, STEPS, FEATURES))


def test_batch_major_lstm_is_the_same() -> None:
    constants = lstm_constants()
    constants |= {"h": constants["h"].reshape(1, 1, UNITS), "c": constants["c"].reshape(1, 1, UNITS)}
    both = [lstm("x", "B", "", "h", "c", layout=1), BEFORE, lstm("s", "B", "", "h", "c", outputs=("Z", "Z_h", "Z_c"))]
    graph = import_onnx(model(both, constants, ("Y", "Z", "Y_h", "Z_h")), "net")
    found = float_reference.run(graph, {"x": random(STEPS, FEATURES)}).outputs
    values = [found[n].reshape(-1) for n in graph.outputs]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[2], values[3])


def test_time_major_input_needs_no_transpose() -> None:
    data = model([lstm("x", "B")], lstm_constants(), ("Y",), ("x", TensorProto.FLOAT, (STEPS, 1, FEATURES)))
    graph = compare(data, random(STEPS, 1, FEATURES))
    assert graph.tensors["x"].shape == (STEPS, FEATURES)


@pytest.mark.parametrize(
    "after",
    [
        [("Squeeze", ["Y", "one"], {}), ("Transpose", ["0"], {"perm": TURNED}), ("Gather", ["1", "end"], {"axis": 1})],
        [("Squeeze", ["Y", "one"], {}), ("Gather", ["0", "end"], {"axis": 0})],
        [("Squeeze", ["Y_h", "nought"], {})],
        [("Gather", ["Y_h", "end"], {"axis": 0})],
        [("Slice", ["Y", "end1", "large", "nought"], {}), ("Reshape", ["0", "flat"], {})],
        [("Concat", ["Y_h", "Y_c"], {"axis": 0}), ("Gather", ["0", "end"], {"axis": 0})],
        [("Transpose", ["Y"], {"perm": LED}), ("Reshape", ["0", "steps"], {}), ("ReduceMean", ["1"], OVER_TIME)],
    ],
)  # fmt: skip
def test_ways_to_the_last_state(after: list[tuple[str, list[str], dict[str, Any]]]) -> None:
    constants = lstm_constants() | {
        "one": np.array([1]), "nought": np.array([0]), "end": np.array(-1), "end1": np.array([-1]),
        "large": np.array([9999]), "flat": np.array([1, UNITS]), "steps": np.array([1, STEPS, UNITS]),
        "G": random(3, UNITS),
    }  # fmt: skip
    nodes = [helper.make_node(kind, given, [str(i)], **settings) for i, (kind, given, settings) in enumerate(after)]
    head = helper.make_node("Gemm", [str(len(after) - 1), "G"], ["y"], transB=1)
    compare(model([BEFORE, lstm("s", "B"), *nodes, head], constants), random(1, STEPS, FEATURES))


def test_lookups_are_embeddings() -> None:
    constants = lstm_constants() | {"table": random(20, FEATURES), "nought": np.array([0]), "G": random(3, UNITS)}
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["e"]),
        helper.make_node("Transpose", ["e"], ["s"], perm=[1, 0, 2]),
        lstm("s", "B"),
        helper.make_node("Squeeze", ["Y_h", "nought"], ["last"]),
        helper.make_node("Gemm", ["last", "G"], ["y"], transB=1),
    ]
    words = np.random.default_rng(1).integers(0, 20, (1, STEPS)).astype(np.int32)
    graph = compare(model(nodes, constants, x=("x", TensorProto.INT32, (1, STEPS))), words)
    assert graph.tensors["x"].dtype is DType.INT32
    assert graph.ops[0].kind == "Embedding"


@pytest.mark.parametrize("settings", [{}, {"bidirectional": True}])
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_files_of_pytorch(is_dynamic: bool, settings: dict[str, bool]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.rnn = torch.nn.LSTM(FEATURES, UNITS, 2, batch_first=True, **settings)
            self.head = torch.nn.Linear(UNITS * (1 + len(settings)), 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0][:, -1])

    written = io.BytesIO()
    axes = {"dynamic_axes": {"x": {0: "n"}}} if is_dynamic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, x = Net().eval(), torch.zeros(1, STEPS, FEATURES)
        torch.onnx.export(net, (x,), written, dynamo=False, input_names=["x"], **axes)
    compare(written.getvalue(), random(1, STEPS, FEATURES))


def test_lstm_becomes_integer_c(tmp_path: Path) -> None:
    constants = lstm_constants(2) | {"shape": np.array([STEPS, 1, 2 * UNITS]), "G": random(2 * UNITS, 3)}
    nodes = [
        BEFORE,
        lstm("s", "B", direction="bidirectional"),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["b"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["b", "G"], ["y"]),
    ]
    graph = compare(model(nodes, constants), random(1, STEPS, FEATURES))
    data = random(40, STEPS, FEATURES)
    quantized = prepare_for_deployment(quantize(graph, data))
    expected = float_reference.run(graph, {"x": data}).output
    host = generate(plan(quantized), tmp_path).host()
    assert len(expected) == len(data)
    for sample in np.random.default_rng(1).integers(-128, 128, (4, STEPS, FEATURES)).astype(np.int8):
        wanted = reference.run(quantized, {"x": sample}).output
        np.testing.assert_array_equal(host.run({"x": sample})[quantized.outputs[0]], wanted)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_exported_again_it_computes_the_same(direction: str) -> None:
    nodes = [BEFORE, lstm("s", "B", "", "h", "c", direction=direction)]
    graph = import_onnx(model(nodes, lstm_constants(), ("Y", "Y_h", "Y_c")), "net")
    sample = random(STEPS, FEATURES)
    expected = float_reference.run(graph, {"x": sample}).outputs
    again = import_onnx(to_onnx(graph), "net")
    found = float_reference.run(again, {"x": sample}).outputs
    for before, after in zip(graph.outputs, again.outputs, strict=True):
        np.testing.assert_array_equal(found[after].reshape(-1), expected[before].reshape(-1))
    for value, wanted in zip(session(to_onnx(graph)).run(None, {"x": sample[None]}), expected.values(), strict=True):
        np.testing.assert_allclose(value.reshape(-1), wanted.reshape(-1), atol=1e-5)


def test_integer_and_clipped_lstm_have_no_onnx_form() -> None:
    graph = import_onnx(model([BEFORE, lstm("s", "B")], lstm_constants(), ("Y",)), "net")
    with pytest.raises(UnsupportedOpError, match="integer LSTM") as caught:
        to_onnx(quantize(graph, random(8, STEPS, FEATURES)))
    assert caught.value.code == "TC-M307"
    (op,) = (op for op in graph.ops if isinstance(op, o.LSTM))
    clipped = graph.with_ops([replace(op, cell_clip=1.0) if other is op else other for other in graph.ops])
    with pytest.raises(UnsupportedOpError, match="clipped"):
        to_onnx(clipped)


@pytest.mark.parametrize(
    ("settings", "inputs", "words"),
    [
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, ("B",), "other functions than sigmoid and tanh"),
        ({"clip": 3.0}, ("B",), "a clip"),
        ({"input_forget": 1}, ("B",), "coupled input and forget gates"),
        ({}, ("B", "", "", "", "P"), "peephole weights"),
        ({}, ("B", "short"), "3.*of 7 steps"),
        ({}, ("B", "", "Y0", ""), "initial state is computed"),
    ],
)
def test_what_the_lstm_is_not_is_refused(settings: dict[str, Any], inputs: tuple[str, ...], words: str) -> None:
    constants = lstm_constants() | {"P": random(1, 3 * UNITS), "short": np.array([3], np.int32)}
    first = lstm("s", outputs=("", "Y0", ""))
    node = lstm("s", *inputs, **settings, name="rnn")
    with pytest.raises(ModelError, match=words) as caught:
        import_onnx(model([BEFORE, first, node], constants, ("Y",)), "net")
    assert caught.value.code == "TC-M304"
    assert caught.value.where == "rnn (LSTM)"
    assert caught.value.fix


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_other_recurrent_layers_are_refused(kind: str) -> None:
    node = helper.make_node(kind, ["s", "W", "R"], ["y"], hidden_size=UNITS)
    with pytest.raises(ModelError, match="not supported") as caught:
        import_onnx(model([BEFORE, node], lstm_constants()), "net")
    assert "LSTM" in (caught.value.fix or "")


def test_computing_with_time_in_front_is_refused() -> None:
    nodes = [BEFORE, helper.make_node("MaxPool", ["s"], ["y"], kernel_shape=[2])]
    with pytest.raises(ModelError, match="batch axis is not the first") as caught:
        import_onnx(model(nodes, {}), "net")
    assert caught.value.code == "TC-M303"


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="W is") as caught:
        import_onnx(model([BEFORE, lstm("s")], lstm_constants(inputs=4), ("Y",)), "net")
    assert caught.value.code == "TC-M306"


def test_integers_are_indices_or_nothing() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(ModelError, match="INT64") as caught:
        import_onnx(model([node], {}, x=("x", TensorProto.INT64, (1, 4))), "net")
    assert caught.value.code == "TC-M305"
