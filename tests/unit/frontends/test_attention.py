"""Attention from PyTorch and ONNX: the float graph equals torch, and its int8 form stays close."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

import tinycompress as tc
from tests.oracle.onnx_oracle import run_onnx
from tests.oracle.tflm_oracle import Tflm
from tests.unit.frontends.tflite_made import File
from tinycompress.cost.model import CostModel
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import QParams
from tinycompress.passes import prepare_for_quantization

WIDTH, HEADS, STEPS = 24, 3, 10


def heads(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)


class Fused(nn.Module):
    """Queries, keys and values as three parts of one projection, by torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(part) for part in self.qkv(x).chunk(3, -1))
        return self.out(self.attend(q, k, v).transpose(1, 2).reshape(x.shape))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v)


class Written(Fused):
    """The same in single operators."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.softmax(q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5, -1) @ v


class Split(Fused):
    """Queries, keys and values taken apart in front of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).reshape(x.shape[0], -1, 3, HEADS, WIDTH // HEADS)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(self.attend(q, k, v).transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    """torch's own layer: time comes first inside, and heads merge with the batch."""

    def __init__(self, *, with_weights: bool = False) -> None:
        super().__init__()
        self.with_weights = with_weights
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=self.with_weights)[0]


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.inner = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return self.head((x + self.inner(self.after(x))).mean(1))


def module(attention: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Block(attention()).eval()


def encoder(*, norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True, norm_first=norm_first)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fused": Fused,
    "written": Written,
    "split": Split,
    "layer": Layer,
    "layer with weights": partial(Layer, with_weights=True),
    "encoder": partial(encoder, norm_first=False),
    "encoder norm first": partial(encoder, norm_first=True),
}


def sequences(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, STEPS, WIDTH)).astype(np.float32)


def onnx_of(net: nn.Module) -> Graph:
    written = io.BytesIO()
    torch.onnx.export(net, (torch.zeros(1, STEPS, WIDTH),), written, opset_version=18, dynamo=False)
    return import_onnx(written.getvalue(), "net")


def compare(graph: Graph, net: nn.Module) -> None:
    x = sequences(4)
    (name,) = graph.input_names
    assert graph.tensors[name].shape == (STEPS, WIDTH)
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(float_reference.run(graph, {name: x}).output, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_attention_equals_torch(kind: str) -> None:
    net = module(NETWORKS[kind])
    compare(import_module(net, (STEPS, WIDTH)), net)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_attention_from_onnx_equals_torch(kind: str) -> None:
    net = module(NETWORKS[kind])
    compare(onnx_of(net), net)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("read", [partial(import_module, input_shape=(STEPS, WIDTH)), onnx_of])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_scores_are_scaled_inside_the_softmax(kind: str, read: Callable[[nn.Module], Graph]) -> None:
    """No operator of its own, and no transposes but those between tokens and heads."""
    net = module(NETWORKS[kind])
    graph = prepare_for_quantization(read(net))
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("MatMul") == 2
    assert kinds.count("Mul") == 0
    assert kinds.count("Transpose") == 4
    (beta,) = (op.beta for op in graph.ops if isinstance(op, o.Softmax))
    assert abs(beta - (WIDTH / HEADS) ** -0.5) < 1e-6
    compare(graph, net)


def test_attention_is_quantized_and_runs_as_c(tmp_path: Path) -> None:
    """int8 near float, the generated C equal to the reference."""
    graph = import_module(module(Fused), (STEPS, WIDTH))
    quantized = tc.quantize(graph, sequences(64))
    (name,) = quantized.input_names
    x = sequences(80)[64:]
    q = quantize_values(x, quantized.tensors[name].quantization, quantized.tensors[name].dtype)
    result = reference.run(quantized, {name: q})
    (output,) = quantized.outputs
    real = float_reference.run(graph, {name: x}).output
    error = dequantize_values(result.output, quantized.tensors[output].quantization) - real
    assert np.sqrt((error**2).mean()) < 0.05 * real.std()
    host = tc.generate(tc.plan(quantized, "stm32f746"), tmp_path / "c").host()
    for sample, expected in zip(q, result.output, strict=True):
        np.testing.assert_array_equal(host.run(sample)[output], expected)


def test_an_output_without_a_batch_is_refused() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x).reshape(-1)

    with pytest.raises(ModelError, match="has no batch axis of 1") as caught:
        import_module(Flat(), (STEPS, WIDTH))
    assert caught.value.code == "TC-M102"


def test_attention_refuses_masks() -> None:
    class Masked(Fused):
        def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    with pytest.raises(UnsupportedOpError, match="attention with a mask") as caught:
        import_module(module(Masked), (STEPS, WIDTH))
    assert caught.value.code == "TC-M101"


def test_float_attention_costs_what_its_plan_needs() -> None:
    """Softmax in place and normalisations by their kernels: the arena of the float network is the integer plan's."""
    graph = prepare_for_quantization(import_module(module(Fused), (STEPS, WIDTH)))
    made = tc.plan(tc.quantize(graph, sequences(64)), "stm32f746", schedule="layers")
    costs = CostModel(graph).resources()
    assert costs.arena_bytes == made.arena_lower_bound_bytes
    assert sorted(layer.kernel for layer in costs.layers) == sorted(layer.kernel.name for layer in made.layers)


@pytest.mark.parametrize("adjoint", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("lead", [(1,), (1, 3), (1, 2, 2)])
def test_batch_matmul_of_a_file_gives_tflm_bytes(lead: tuple[int, ...], adjoint: tuple[bool, bool]) -> None:
    """Any leading axes, either operand transposed."""
    rows, inner, columns = 5, 7, 4
    file = File()
    shapes = [(rows, inner), (inner, columns)]
    a, b = (file.activation((*lead, *(s[::-1] if t else s))) for s, t in zip(shapes, adjoint, strict=True))
    y = file.activation((*lead, rows, columns), qparams=QParams.per_tensor(0.05, -3))
    file.op("BATCH_MATMUL", [a, b], y, "BatchMatMulOptions", AdjX=adjoint[0], AdjY=adjoint[1])
    graph, oracle = file.graph([a, b], [y]), Tflm(file.bytes([a, b], [y]))
    assert isinstance(graph, QuantGraph)
    generator = np.random.default_rng(2)
    for _ in range(5):
        values = [generator.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.input_names]
        found = reference.run(graph, dict(zip(graph.input_names, values, strict=True))).output
        (expected,) = oracle.run(values)
        np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))


def test_batch_matmul_of_matrices_that_differ_in_number_is_refused() -> None:
    file = File()
    a, b = file.activation((1, 4, 5, 6)), file.activation((1, 1, 6, 3))
    y = file.activation((1, 4, 5, 3))
    file.op("BATCH_MATMUL", [a, b], y, "BatchMatMulOptions")
    with pytest.raises(UnsupportedOpError, match="leading axes differ") as caught:
        file.graph([a, b], [y])
    assert caught.value.code == "TC-M204"


@pytest.mark.parametrize("opset", [11, 13])
def test_a_softmax_without_axis_means_what_its_opset_says(opset: int) -> None:
    """Over heads in front of the batch: before opset 13 over all axes from the second, then over the last."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["moved"], perm=[1, 0, 2, 3]),
        helper.make_node("Softmax", ["moved"], ["shares"]),
        helper.make_node("Transpose", ["shares"], ["y"], perm=[1, 0, 2, 3]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 4, 5)) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    imported = import_onnx(data, "net")
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    (expected,) = run_onnx(data, {"x": x[0]})
    found = float_reference.run(imported, {imported.input_names[0]: x.transpose(0, 2, 3, 1)}).output
    np.testing.assert_allclose(np.sort(found.ravel()), np.sort(expected.ravel()), atol=1e-6)
