"""The ONNX front end: what it makes of files, and what it says of those it refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.oracle.onnx_oracle import as_input, as_source, session
from tinycompress.errors import ModelError, UnsafeModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.frontends import load_file
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import DType

Array = Any
F = np.float32


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model(
    nodes: list[Any], constants: dict[str, Array], shape: tuple[Any, ...] = (1, 4, 9, 7), opset: int = 17
) -> onnx.ModelProto:
    """A model from `x` to `y`; node outputs need no declared shapes."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def compare(built: onnx.ModelProto, shape: tuple[int, ...] = (4, 9, 7)) -> Any:
    """Imports the model and compares it with onnxruntime on noise; returns the graph."""
    data = built.SerializeToString()
    graph = import_onnx(data, "net")
    sample = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    (expected,) = session(data).run(None, {"x": sample[np.newaxis]})
    name = graph.input_names[0]
    found = float_reference.run(graph, {name: as_input(graph, name, sample)}).output
    np.testing.assert_allclose(as_source(graph, found), expected[0], rtol=1e-3, atol=1e-4)
    return graph


def refused(built: onnx.ModelProto) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_onnx(built.SerializeToString(), "net")
    return caught.value


WINDOWS = (
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"kernel_shape": [2, 4], "auto_pad": "SAME_LOWER", "strides": [1, 1]},
    {"kernel_shape": [3, 2], "auto_pad": "VALID"},
    {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1], "strides": [2, 1]},
)


@pytest.mark.parametrize("window", WINDOWS)
def test_convolution_padding(window: dict[str, Any]) -> None:
    kernel = window["kernel_shape"]
    compare(model([helper.make_node("Conv", ["x", "w"], ["y"], **window)], {"w": weights(6, 4, *kernel)}))


@pytest.mark.parametrize("window", [*WINDOWS, {**WINDOWS[3], "ceil_mode": 1}])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pooling(kind: str, window: dict[str, Any]) -> None:
    compare(model([helper.make_node(kind, ["x"], ["y"], **window)], {}))


def test_average_pool_counts_padding_when_asked() -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    graph = compare(model([node], {}))
    assert [op.kind for op in graph.ops] == ["Pad", "AveragePool2D"]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_convolutions_keep_channels_last_without_transposes(groups: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], group=groups, dilations=[2, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    graph = compare(model(nodes, {"w": weights(8, 4 // groups, 3, 3), "b": weights(8)}))
    kinds = [op.kind for op in graph.ops]
    assert kinds[0] == ("DepthwiseConv2D" if groups == 4 else "Conv2D")
    assert "Transpose" not in kinds


def test_flattened_image_permutes_the_weights_instead_of_the_data() -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1)]
    graph = compare(model(nodes, {"w": weights(5, 4 * 9 * 7), "b": weights(5)}))
    assert [op.kind for op in graph.ops] == ["Reshape", "FullyConnected"]


def test_exporters_reshape_pattern() -> None:
    """x.view(x.size(0), -1) as PyTorch writes it: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    constants = {
        "zero": np.asarray(0, np.int64),
        "axes": np.asarray([0], np.int64),
        "rest": np.asarray([-1], np.int64),
        "w": weights(252, 3),
        "b": weights(3),
    }
    compare(model(nodes, constants))


def test_convolution_over_time() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1]),
        helper.make_node("MaxPool", ["h"], ["y"], kernel_shape=[2], strides=[2]),
    ]
    graph = compare(model(nodes, {"w": weights(6, 5, 3)}, (1, 5, 12)), (5, 12))
    assert graph.tensors[graph.input_names[0]].shape == (12, 1, 5)


@pytest.mark.parametrize(
    ("mode", "transform", "rule"),
    [
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_floor"),
        ("linear", "half_pixel", "floor"),
        ("linear", "align_corners", "floor"),
        ("linear", "asymmetric", "floor"),
    ],
)
def test_resize(mode: str, transform: str, rule: str) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": rule}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    compare(model([node], {"sizes": np.asarray([1, 4, 18, 14], np.int64)}))


def test_sequence_of_nodes_with_old_opset_attributes() -> None:
    nodes = [
        helper.make_node("Clip", ["x"], ["a"], min=-0.5, max=0.7),
        helper.make_node("Pad", ["a"], ["b"], pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.25),
        helper.make_node("Slice", ["b"], ["c"], starts=[1], ends=[9], axes=[2]),
        helper.make_node("Squeeze", ["m"], ["y"], axes=[2, 3]),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3]),
    ]
    nodes[3], nodes[4] = nodes[4], nodes[3]
    compare(model(nodes, {}, opset=9))


# Nodes that become several operators


def ints(*values: int) -> Array:
    return np.asarray(values, np.int64)


COMPOSED: dict[str, tuple[str, dict[str, Any], list[Array]]] = {
    "reduce max": ("ReduceMax", {"axes": [2, 3], "keepdims": 0}, []),
    "reduce max of channels": ("ReduceMax", {"axes": [1]}, []),
    "reduce min": ("ReduceMin", {"axes": [-1], "keepdims": 0}, []),
    "norm": ("ReduceL2", {"axes": [1]}, []),
    "sum of squares": ("ReduceSumSquare", {"axes": [2, 3]}, []),
    "sum of magnitudes": ("ReduceL1", {"axes": [3], "keepdims": 0}, []),
    "colours turned round": ("Gather", {"axis": 1}, [ints(3, 2, 1, 0)]),
    "repeated": ("Tile", {}, [ints(1, 2, 1, 3)]),
    "blocks": ("SpaceToDepth", {"blocksize": 1}, []),
    "edge": ("Pad", {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 2, 1)]),
    "reflect": ("Pad", {"mode": "reflect"}, [ints(0, 0, 1, 2, 0, 0, 2, 1)]),
    "flipped": ("Slice", {}, [ints(-1), ints(-(2**63) + 1), ints(3), ints(-1)]),
    "every second, backwards": ("Slice", {}, [ints(7), ints(1), ints(2), ints(-2)]),
    "selu": ("Selu", {}, []),
    "celu": ("Celu", {"alpha": 0.7}, []),
    "power of four": ("Pow", {}, [np.asarray(4, F)]),
    "hard sigmoid": ("HardSigmoid", {"alpha": 0.3}, []),
    "slopes of the last axis": ("PRelu", {}, [weights(7)]),
    "slopes of each element": ("PRelu", {}, [weights(4, 9, 7)]),
    "product from the left": ("MatMul", {}, [weights(9, 9)]),
    "as another": ("CastLike", {}, [np.asarray(1, F)]),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_composed_nodes(case: str) -> None:
    kind, attributes, operands = COMPOSED[case]
    constants = {f"c{i}": v for i, v in enumerate(operands)}
    inputs = [*constants, "x"] if kind == "MatMul" else ["x", *constants]
    compare(model([helper.make_node(kind, inputs, ["y"], **attributes)], constants, opset=15))


def test_blocks_to_channels_and_back() -> None:
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["a"], blocksize=2),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("DepthToSpace", ["b"], ["y"], blocksize=2),
    ]
    compare(model(nodes, {"w": weights(8, 12, 3, 3)}, (1, 3, 8, 10)), (3, 8, 10))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4)])
def test_slopes_count_from_the_last_axis(shape: tuple[int, ...]) -> None:
    """Four slopes are four columns, also where there are as many channels."""
    node = helper.make_node("PRelu", ["x", "a"], ["y"])
    compare(model([node], {"a": weights(4)}, (1, *shape)), shape)


def test_transposed_convolution_in_groups() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=2, strides=[2, 2])
    compare(model([node], {"w": weights(4, 3, 2, 2), "b": weights(6)}))


@pytest.mark.parametrize("rule", ["floor", "ceil", "round_prefer_ceil"])
@pytest.mark.parametrize("transform", ["asymmetric", "half_pixel", "align_corners"])
def test_nearest_resizing_by_any_rule(rule: str, transform: str) -> None:
    attributes = {"mode": "nearest", "coordinate_transformation_mode": transform, "nearest_mode": rule}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    compare(model([node], {"sizes": np.asarray([1, 4, 13, 10], np.int64)}))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resizing_a_series(mode: str) -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    compare(model([node], {"scales": np.asarray([1, 1, 2], F)}, (1, 5, 12)), (5, 12))


def test_nodes_without_readers_do_not_matter() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("NonZero", ["r"], ["dead"]),
        helper.make_node("MaxPool", ["r"], ["p", "indices"], kernel_shape=[2, 2]),
        helper.make_node("Dropout", ["p"], ["y", "mask"]),
    ]
    compare(model(nodes, {}, opset=11))


def test_final_argmax_is_left_to_the_caller() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, name="choice"),
        helper.make_node("Cast", ["best"], ["y"], to=TensorProto.INT32),
    ]
    graph = import_onnx(model(nodes, {"w": weights(252, 5)}).SerializeToString(), "net")
    assert graph.outputs == ("logits",)
    assert any("choice (ArgMax) is left to the caller" in note for note in graph.notes)


# Refusals


def test_every_unsupported_node_is_named() -> None:
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "w", "w"], ["a"], name="norm"),
        helper.make_node("Relu", ["a"], ["b"], name="fine"),
        helper.make_node("Hardmax", ["b"], ["y"], name="pick"),
    ]
    error = refused(model(nodes, {"w": weights(7)}))
    assert isinstance(error, UnsupportedOpError)
    assert "norm (InstanceNormalization)" in str(error)
    assert "pick (Hardmax)" in str(error)
    assert "fine" not in str(error)
    assert error.fix is not None
    assert "BatchNorm" in error.fix


def test_batches_and_dynamic_shapes_are_refused() -> None:
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    assert refused(model(relu, {}, (8, 4, 9, 7))).code == "TC-M303"
    assert refused(model(relu, {}, (1, 4, "height", 7))).code == "TC-M303"
    assert import_onnx(model(relu, {}, ("batch", 4, 9, 7)).SerializeToString(), "net").ops


def test_working_across_the_batch_is_refused() -> None:
    merged = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]),
        helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=[2, 2]),
    ]
    assert refused(model(merged, {})).code == "TC-M303"
    assert refused(model([helper.make_node("Softmax", ["x"], ["y"], axis=0)], {})).code == "TC-M303"


def test_control_flow_is_refused() -> None:
    body = helper.make_graph([], "body", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
    error = refused(model([node], {}))
    assert isinstance(error, UnsafeModelError)
    assert error.code == "TC-M606"


def test_old_and_unknown_opsets_are_refused() -> None:
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    assert refused(model(relu, {}, opset=6)).code == "TC-M302"
    assert refused(model(relu, {}, opset=99)).code == "TC-M302"


def test_nan_weights_are_refused() -> None:
    bad = weights(6, 4, 3, 3)
    bad[2, 1] = np.nan
    assert refused(model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": bad})).code == "TC-M004"


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 40, b"hello", b"\x08\x07", b"version https://git-lfs.github.com/spec/v1"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        import_onnx(data, "net")
    assert caught.value.code == "TC-M301"


def test_values_used_before_they_are_made_are_refused() -> None:
    nodes = [helper.make_node("Relu", ["later"], ["y"]), helper.make_node("Relu", ["x"], ["later"])]
    assert refused(model(nodes, {})).code == "TC-M306"


def test_constants_that_grow_are_refused() -> None:
    """Forty nodes that each double a constant would ask for a terabyte."""
    nodes = [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    nodes.append(helper.make_node("Add", ["x", "c40"], ["y"]))
    assert refused(model(nodes, {"c0": weights(1000)})).code == "TC-M604"
    fill = helper.make_node("ConstantOfShape", ["shape"], ["c"])
    add = helper.make_node("Add", ["x", "c"], ["y"])
    assert refused(model([fill, add], {"shape": np.asarray([1 << 12, 1 << 12], np.int64)})).code == "TC-M604"


def test_long_files_take_seconds() -> None:
    """Nine thousand nodes of one name, all of which join their neighbours."""
    constants = {
        "s": np.asarray(0.05, np.float32), "z": np.asarray(0, np.int8),
        "q": np.random.default_rng(0).integers(-9, 9, (4, 4, 1, 1)).astype(np.int8), "b": weights(1, 4, 1, 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["h0"]),
    ]
    last = "h0"
    for i in range(1500):
        nodes += [
            helper.make_node("Conv", [last, "w"], [f"c{i}"], name="same"),
            helper.make_node("Add", ["b", f"c{i}"], [f"a{i}"], name="same"),
            helper.make_node("Relu", [f"a{i}"], [f"r{i}"], name="same"),
            helper.make_node("QuantizeLinear", [f"r{i}", "s", "z"], [f"q{i}"], name="same"),
            helper.make_node("DequantizeLinear", [f"q{i}", "s", "z"], [f"h{i + 1}"], name="same"),
        ]
        last = f"h{i + 1}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    started = time.process_time()
    graph = import_onnx(model(nodes, constants).SerializeToString(), "net")
    assert time.process_time() - started < 30
    assert [op.kind for op in graph.ops] == ["Conv2D"] * 1500
    assert all(isinstance(op, o.Conv2D) and op.bias is not None and op.activation == o.RELU for op in graph.ops)


# External data


def external(folder: Path, location: str, values: Array) -> Path:
    """A model whose weights lie at `location`."""
    built = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": values})
    tensor = built.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(values.nbytes))):
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(built.SerializeToString())
    return path


def test_external_data_is_refused_unless_asked_for(tmp_path: Path) -> None:
    values = weights(6, 4, 3, 3)
    path = external(tmp_path, "weights.bin", values)
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    with pytest.raises(UnsafeModelError, match="TC-M608"):
        load_file(path)
    graph = load_file(path, external_data=True)
    (op,) = graph.ops
    assert isinstance(op, o.Conv2D)
    np.testing.assert_array_equal(graph.tensors[op.weights].constant, values.transpose(0, 2, 3, 1))


def test_external_data_by_recipe_and_its_changes_are_seen(tmp_path: Path) -> None:
    from tinycompress.api import load
    from tinycompress.config import load_config
    from tinycompress.pipeline import Pipeline

    values = weights(6, 4, 3, 3)
    path = external(tmp_path, "weights.bin", values)
    keys = []
    for sign in (1, -1):
        (tmp_path / "weights.bin").unlink(missing_ok=True)
        (tmp_path / "weights.bin").write_bytes((sign * values).tobytes())
        config = load_config(None, {"model.source": str(path), "model.external_data": True})
        with Pipeline.open(config, tmp_path / "run") as pipeline:
            keys.append(pipeline._import_key)
            (op,) = pipeline.imported.ops
            assert isinstance(op, o.Conv2D)
            stored = pipeline.imported.tensors[op.weights].constant
        np.testing.assert_array_equal(stored, sign * values.transpose(0, 2, 3, 1))
    assert keys[0] != keys[1]
    assert load(path, external_data=True).ops
    with pytest.raises(UnsafeModelError, match=r"external_data = true"):
        load(path)


def test_external_data_stays_inside_the_models_folder(tmp_path: Path) -> None:
    values = weights(6, 4, 3, 3)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(values.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "folder").mkdir()
    for location in ("../secret.bin", str(secret), "link.bin", "linked/secret.bin", "folder", "", "a\x00b"):
        with pytest.raises(ModelError) as caught:
            load_file(external(folder, location, values), external_data=True)
        assert caught.value.code in ("TC-M608", "TC-M602"), location


def test_external_data_with_another_name_elsewhere_is_refused(tmp_path: Path) -> None:
    values = weights(6, 4, 3, 3)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(values.tobytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").hardlink_to(secret)
    with pytest.raises(UnsafeModelError, match=r"TC-M608.*hard link"):
        load_file(external(tmp_path / "model", "weights.bin", values), external_data=True)


def test_short_external_data_is_refused(tmp_path: Path) -> None:
    values = weights(6, 4, 3, 3)
    path = external(tmp_path, "weights.bin", values)
    (tmp_path / "weights.bin").write_bytes(values.tobytes()[:-4])
    with pytest.raises(ModelError, match="TC-M605"):
        load_file(path, external_data=True)


# Files that are made to harm


def test_a_small_file_cannot_ask_for_a_large_constant() -> None:
    """Gather joins two shapes: together they are what counts."""
    nodes = [
        helper.make_node("Gather", ["table", "indices"], ["w"]),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    wide = (1, 1, 1, 1, 1, 1 << 13)
    constants = {"table": np.zeros(wide, F), "indices": np.zeros(wide, np.int64)}
    began = time.monotonic()
    assert refused(model(nodes, constants)).code == "TC-M604"
    assert time.monotonic() - began < 5


def test_strings_of_a_file_cannot_drive_a_terminal() -> None:
    escape = "\x1b[2J\x07"
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["q"], name=f"pad{escape}", mode=f"edge{escape}"),
        helper.make_node("Strange", ["q"], ["r"], name=f"odd{escape}", domain=f"org{escape}"),
        helper.make_node(f"Kind{escape}", ["r"], ["y"]),
    ]
    built = model(nodes, {"p": np.zeros(8, np.int64)})
    built.graph.input[0].name = built.graph.node[0].input[0] = f"x{escape}"
    text = str(refused(built))
    assert "edge" in text
    assert "org" in text
    assert text.isprintable()


def test_every_refused_node_has_a_name_a_reason_and_a_fix() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], name="stage/cast", to=TensorProto.INT32),
        helper.make_node("TopK", ["i", "k"], ["v", "n"], name="stage/top"),
        helper.make_node("Identity", ["v"], ["y"]),
    ]
    error = refused(model(nodes, {"k": np.asarray([2], np.int64)}))
    assert "stage/cast (Cast): casts an activation to integers" in error.what
    assert "stage/top (TopK): TopK is not supported" in error.what
    assert "tinycompress ops" in str(error.fix)
    bad = refused(model([helper.make_node("Conv", ["x", "w"], ["y"], name="c")], {"w": weights(3, 5, 3, 3)}))
    assert (bad.where, bad.code) == ("c (Conv)", "TC-M306")
    assert bad.fix


@pytest.mark.parametrize("depth", [3, 400])
def test_nested_subgraphs_are_refused(depth: int) -> None:
    """Graph inside node inside graph, written by hand: protobuf's own writer stops at a depth."""

    def field(number: int, data: bytes) -> bytes:
        size, length = b"", len(data)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data

    graph = b""
    for _ in range(depth):
        attribute = field(1, b"body") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Identity") + field(5, attribute))
    data = field(7, graph + field(12, field(1, b"y"))) + field(8, b"\x10\x11")
    with pytest.raises(ModelError, match=r"TC-M(301|606)"):
        import_onnx(data, "net")


# QOperator


def test_qlinear_convolution_is_within_one_unit() -> None:
    generator = np.random.default_rng(0)
    constants = {
        "xs": np.float32(0.02), "xz": np.uint8(120), "ws": generator.uniform(0.01, 0.02, 6).astype(np.float32),
        "wz": np.zeros(6, np.int8), "ys": np.float32(0.05), "yz": np.uint8(130),
        "w": generator.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        "b": generator.integers(-500, 500, 6).astype(np.int32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["c"], pads=[1] * 4),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    data = model(nodes, {k: np.asarray(v) for k, v in constants.items()}).SerializeToString()
    graph = import_onnx(data, "net")
    assert isinstance(graph, QuantGraph)
    sample = generator.normal(size=(4, 9, 7)).astype(np.float32)
    (expected,) = session(data).run(None, {"x": sample[np.newaxis]})
    name = graph.input_names[0]
    integers = quantize_values(sample.transpose(1, 2, 0), graph.tensors[name].quantization, DType.INT8)
    found = reference.run(graph, {name: integers}).output
    output = graph.tensors[graph.outputs[0]].quantization
    wanted = np.rint(expected[0] / output.tensor_scale).transpose(1, 2, 0) + output.tensor_zero_point
    assert np.abs(found - wanted).max() <= 1
