"""Removing dead channels keeps every output byte."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinycompress.execute import reference
from tinycompress.frontends import load_file
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph, verify
from tinycompress.passes import prepare_for_deployment, prepare_for_quantization
from tinycompress.passes.channel_ranges import channel_bounds
from tinycompress.passes.remove_dead_channels import remove_dead_channels
from tinycompress.quantize.ptq import quantize


def macs(graph: Graph) -> int:
    weighted = [op for op in graph.ops if isinstance(op, (o.Conv2D, o.DepthwiseConv2D, o.FullyConnected))]
    return sum(graph.tensor(op.weights).elements * math.prod(graph.tensor(op.output).shape[:-1]) for op in weighted)


def assert_same_bytes(before: QuantGraph, after: QuantGraph, samples: int = 40) -> None:
    verify(after)
    rng = np.random.default_rng(0)
    x = {
        n: np.concatenate([
            rng.integers(-128, 128, (samples, *before.tensor(n).shape)),
            np.full((1, *before.tensor(n).shape), -128),
            np.full((1, *before.tensor(n).shape), 127),
        ]).astype(np.int8)
        for n in before.input_names
    }  # fmt: skip
    expected = reference.run(before, x, keep_tensors=False).outputs
    found = reference.run(after, x, keep_tensors=False).outputs
    assert before.outputs == after.outputs
    for name in before.outputs:
        np.testing.assert_array_equal(found[name], expected[name])


Q = QParams.per_tensor(0.05, 3)


class Builder:
    """Small integer graphs by hand; every activation has scale 0.05 and zero point 3."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.tensors = {"x": Tensor("x", shape, DType.INT8, Q)}
        self.ops: list[o.Op] = []

    def constant(self, name: str, data: np.ndarray, axis: int | None = None) -> str:
        size = data.shape[axis] if axis is not None else 1
        bits = 32 if data.dtype == np.int32 else 8
        qparams = QParams((0.02,) * size, (0,) * size, axis, bits)
        self.tensors[name] = Tensor(name, data.shape, DType(str(data.dtype)), qparams, data)
        return name

    def add(self, kind: type[o.Op], *inputs: str, **fields) -> str:
        name = f"t{len(self.ops)}"
        op = kind(name=f"op_{name}", inputs=inputs, outputs=(name,), **fields)
        self.tensors[name] = Tensor(name, infer(op, self.tensors)[0], DType.INT8, Q)
        self.ops.append(op)
        return name

    def conv(self, x: str, weights: np.ndarray, bias: list[int] | None = None, **fields) -> str:
        w = self.constant(f"w{len(self.ops)}", weights.astype(np.int8), 0)
        b = None if bias is None else self.constant(f"b{len(self.ops)}", np.asarray(bias, dtype=np.int32), 0)
        return self.add(o.Conv2D, x, weights=w, bias=b, **fields)

    def graph(self, *outputs: str) -> QuantGraph:
        return to_quant_graph(Graph("hand", (GraphInput("x"),), outputs, self.tensors, tuple(self.ops)))


def random_weights(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, shape)


def test_a_zero_filter_folds_into_the_next_bias() -> None:
    b = Builder((5, 5, 2))
    w = random_weights(4, 3, 3, 2)
    w[1] = 0
    y = b.conv(b.conv("x", w, [5, 2000, -7, 11], padding=(1, 1, 1, 1)), random_weights(3, 1, 1, 4))
    graph = b.graph(y)
    after = remove_dead_channels(graph)
    assert after.tensor("t0").shape == (5, 5, 3)
    assert after.ops[1].bias is not None  # type: ignore[attr-defined]
    assert_same_bytes(graph, after)
    assert after.notes == ("removed 1 of 7 convolution channels that no output depends on",)


def test_a_constant_beside_padding_stays_unless_it_is_the_zero_point() -> None:
    for bias, left in ((2000, 4), (0, 3)):
        b = Builder((5, 5, 2))
        w = random_weights(4, 3, 3, 2)
        w[1] = 0
        y = b.conv(b.conv("x", w, [5, bias, -7, 11]), random_weights(3, 3, 3, 4), padding=(1, 1, 1, 1))
        graph = b.graph(y)
        after = remove_dead_channels(graph)
        assert after.tensor("t0").shape[-1] == left
        assert_same_bytes(graph, after)


def test_a_channel_held_by_its_clamp_is_constant() -> None:
    b = Builder((4, 4, 2))
    w = random_weights(3, 1, 1, 2)
    y = b.conv(b.conv("x", w, [0, -(10**6), 10**6], activation=o.RELU6), random_weights(2, 1, 1, 3))
    graph = b.graph(y)
    after = remove_dead_channels(graph)
    assert after.tensor("t0").shape[-1] == 1
    assert_same_bytes(graph, after)


def test_a_channel_nobody_weighs_goes_with_all_that_makes_it() -> None:
    b = Builder((6, 6, 2))
    first = b.conv("x", random_weights(4, 3, 3, 2))
    dw = b.add(
        o.DepthwiseConv2D, first, weights=b.constant("d", random_weights(3, 3, 4).astype(np.int8), 2),
        padding=(1, 1, 1, 1),
    )  # fmt: skip
    pooled = b.add(o.MaxPool2D, dw, kernel=(2, 2), stride=(2, 2))
    last = random_weights(3, 1, 1, 4)
    last[..., 2] = 0
    graph = b.graph(b.conv(pooled, last))
    after = remove_dead_channels(graph)
    assert [after.tensor(n).shape[-1] for n in (first, dw, pooled)] == [3, 3, 3]
    assert_same_bytes(graph, after)


def test_residual_joins_and_flatten_agree_on_what_goes() -> None:
    b = Builder((4, 4, 3))
    w = random_weights(4, 1, 1, 3)
    w[2] = 0
    left = b.conv("x", w, [1, 2, 300, 4])
    v = random_weights(4, 3, 3, 3, seed=2)
    v[2] = 0
    v[3] = 0
    right = b.conv("x", v, [9, 9, 9, 9], padding=(1, 1, 1, 1))
    total = b.add(o.Add, left, right)
    both = b.add(o.Concat, total, right, axis=2)
    flat = b.add(o.Reshape, both, shape=(128,))
    y = b.add(o.FullyConnected, flat, weights=b.constant("f", random_weights(5, 128).astype(np.int8), 0))
    graph = b.graph(y)
    after = remove_dead_channels(graph)
    assert after.tensor(total).shape[-1] == 3
    assert after.tensor(both).shape[-1] < 8
    assert_same_bytes(graph, after)


def test_outputs_inputs_and_unknown_operators_keep_their_channels() -> None:
    b = Builder((4, 4, 2))
    w = random_weights(3, 1, 1, 2)
    w[1] = 0
    shown = b.conv("x", w, [1, 2, 3])
    graph = b.graph(b.add(o.Transpose, b.conv("x", w, [1, 2, 3]), perm=(2, 0, 1)), shown)
    assert remove_dead_channels(graph) is graph


def test_a_network_that_ignores_its_input_keeps_one_channel_everywhere() -> None:
    b = Builder((4, 4, 2))
    first = b.conv("x", np.zeros((3, 3, 3, 2)), [100, 200, 300])
    graph = b.graph(b.conv(first, random_weights(2, 1, 1, 3)))
    after = remove_dead_channels(graph)
    assert after.tensor(first).shape[-1] == 1
    assert_same_bytes(graph, after)


def test_bounds_hold_on_every_tensor() -> None:
    for seed in range(5):
        graph = random_quantized(seed)
        bounds = channel_bounds(graph)
        x = np.random.default_rng(seed).integers(-128, 128, (30, *graph.tensor(graph.input_names[0]).shape))
        tensors = reference.run(graph, {graph.input_names[0]: x.astype(np.int8)}).tensors
        for name, limit in bounds.items():
            values = tensors[name].reshape(-1, tensors[name].shape[-1])
            assert (values.min(axis=0) >= limit.low).all(), name
            assert (values.max(axis=0) <= limit.high).all(), name


class Pruned(nn.Module):
    """Random structure with filters that are zero or held down by their bias."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        width = int(rng.integers(3, 7))
        self.stem = nn.Conv2d(2, width, 3, padding=int(rng.integers(0, 2)))
        self.kind = int(rng.integers(0, 4))
        self.dw = nn.Conv2d(width, width * 2, 3, padding=1, groups=width)
        self.pw = nn.Conv2d(width * 2, width, 1)
        self.side = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, 4, int(rng.choice([1, 3])), padding=int(rng.integers(0, 2)))
        self.is_flat = bool(rng.integers(0, 2))
        with torch.no_grad():
            for layer in (self.stem, self.dw, self.pw, self.side):
                for c in range(layer.out_channels):
                    fate = rng.random()
                    if fate < 0.3:
                        layer.weight[c] = 0
                        if fate < 0.15:
                            layer.bias[c] = 0
                    elif fate < 0.4:
                        layer.bias[c] = -100
            self.last.weight[:, int(rng.integers(0, width))] = 0

    def forward(self, x):
        x = torch.relu(self.stem(x))
        if self.kind != 0:
            x = torch.relu(self.pw(nn.functional.relu6(self.dw(x)))) + x
        if self.kind == 2:
            x = torch.cat([x, self.side(x)], 1)[:, : self.last.in_channels]
        if self.kind == 3:
            x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = nn.functional.max_pool2d(nn.functional.hardswish(x), 2)
        x = self.last(x)
        return x.flatten(1) if self.is_flat else x.mean((2, 3))


def random_quantized(seed: int) -> QuantGraph:
    graph = prepare_for_quantization(import_module(Pruned(seed), (1, 2, 9, 9)))
    samples = np.random.default_rng(seed).normal(size=(16, *graph.tensor(graph.input_names[0]).shape))
    return quantize(graph, samples.astype(np.float32))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_random_pruned_networks_keep_their_bytes(seed: int) -> None:
    graph = random_quantized(seed)
    assert_same_bytes(graph, prepare_for_deployment(graph))


def model(data_dir: Path, name: str) -> QuantGraph:
    graph = load_file(data_dir / "models" / "mlperf_tiny" / name)
    assert isinstance(graph, QuantGraph)
    return graph


def test_half_of_visual_wake_words_is_dead(data_dir: Path) -> None:
    graph = model(data_dir, "vww_96_int8.tflite")
    after = prepare_for_deployment(graph)
    assert (macs(graph), macs(after)) == (7_489_664, 3_727_313)
    assert after.parameters < 0.15 * graph.parameters
    assert_same_bytes(graph, after, samples=20)


@pytest.mark.parametrize("name", ["kws_ref_model.tflite", "pretrainedResnet_quant.tflite", "ad01_int8.tflite"])
def test_live_networks_are_left_alone(data_dir: Path, name: str) -> None:
    graph = model(data_dir, name)
    assert remove_dead_channels(graph) is graph
