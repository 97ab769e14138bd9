"""Float passes keep the outputs and leave the operators they promise."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinycompress.execute import float_reference
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput
from tinycompress.ir.ops import Activation
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.ir.verify import verify
from tinycompress.passes import prepare_for_quantization, prepare_for_training
from tinycompress.passes.clean_shapes import clean_shapes
from tinycompress.passes.fold_affine import fold_affine
from tinycompress.passes.fold_constants import fold_constants
from tinycompress.passes.fuse_activation import compose, fuse_activation
from tinycompress.passes.fuse_pad import fuse_pad
from tinycompress.passes.mean_to_pool import mean_to_pool
from tinycompress.passes.remove_dead_code import remove_dead_code
from tinycompress.passes.remove_dropout import remove_dropout
from tinycompress.zoo import ZOO


def chain(shape: tuple[int, ...], *steps: tuple[type[o.Op], dict], constants=None, outputs=None) -> Graph:
    """Operators in a row, `t0 → t1 → …`; a step's `inputs` overrides its operands."""
    tensors = {"t0": Tensor("t0", shape, DType.FLOAT32)}
    for name, value in (constants or {}).items():
        data = np.asarray(value, dtype=np.float32)
        tensors[name] = Tensor(name, data.shape, DType.FLOAT32, data=data)
    ops = []
    for i, (kind, fields) in enumerate(steps):
        inputs = fields.pop("inputs", (f"t{i}",))
        op = kind(name=f"op{i}", inputs=inputs, outputs=(f"t{i + 1}",), **fields)
        tensors[f"t{i + 1}"] = Tensor(f"t{i + 1}", infer(op, tensors)[0], DType.FLOAT32)
        ops.append(op)
    graph = Graph("chain", (GraphInput("t0"),), tuple(outputs or (f"t{len(steps)}",)), tensors, tuple(ops))
    return verify(graph)


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def assert_same(before: Graph, after: Graph) -> None:
    verify(after)
    rng = np.random.default_rng(0)
    x = {n: rng.normal(size=(3, *before.tensor(n).shape)).astype(np.float32) for n in before.input_names}
    expected = float_reference.run(before, x).outputs
    found = float_reference.run(after, x).outputs
    assert before.outputs == after.outputs
    for name in before.outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


NORM = {"g": values(4) + 2, "b": values(4), "m": values(4), "v": values(4) ** 2 + 0.5}
BATCH_NORM = (o.BatchNorm, {"gamma": "g", "beta": "b", "mean": "m", "variance": "v"})


def norm() -> tuple[type[o.Op], dict]:
    return BATCH_NORM[0], dict(BATCH_NORM[1])


@pytest.mark.parametrize(
    ("steps", "shape", "weights", "left"),
    [
        ([(o.Conv2D, {"weights": "w"})], (5, 5, 3), values(4, 3, 3, 3), ["Conv2D"]),
        ([(o.DepthwiseConv2D, {"weights": "w", "multiplier": 2})], (5, 5, 2), values(3, 3, 4), ["DepthwiseConv2D"]),
        ([(o.FullyConnected, {"weights": "w"})], (7,), values(4, 7), ["FullyConnected"]),
        ([(o.Conv2D, {"weights": "w", "activation": o.RELU})], (5, 5, 3), values(4, 1, 1, 3),
         ["Conv2D", "DepthwiseConv2D"]),
        ([(o.FullyConnected, {"weights": "w", "activation": o.RELU})], (7,), values(4, 7),
         ["FullyConnected", "Reshape", "DepthwiseConv2D", "Reshape"]),
    ],
)  # fmt: skip
def test_batch_norm_folds_or_becomes_depthwise(steps, shape, weights, left) -> None:
    graph = chain(shape, *[(k, dict(f)) for k, f in steps], norm(), constants={"w": weights, **NORM})
    after = fold_affine(graph)
    assert kinds(after) == left
    assert_same(graph, after)


def test_scales_and_shifts_behind_a_convolution_fold() -> None:
    graph = chain(
        (5, 5, 3),
        (o.Conv2D, {"weights": "w", "bias": "bias"}),
        (o.Mul, {"inputs": ("t1", "k")}),
        (o.Add, {"inputs": ("c", "t2")}),
        (o.Sub, {"inputs": ("t3", "k")}),
        (o.Sub, {"inputs": ("one", "t4"), "activation": o.RELU6}),
        constants={"w": values(4, 3, 3, 3), "bias": values(4), "k": values(4), "c": values(1, 1, 4), "one": [1.0]},
    )
    after = fold_affine(graph)
    assert kinds(after) == ["Conv2D"]
    assert after.ops[0].activation == o.RELU6  # type: ignore[attr-defined]
    assert_same(graph, after)


def test_a_visible_or_shared_convolution_is_not_folded() -> None:
    shown = chain((5, 5, 3), (o.Conv2D, {"weights": "w"}), norm(), constants={"w": values(4, 1, 1, 3), **NORM},
                  outputs=("t1", "t2"))  # fmt: skip
    assert kinds(fold_affine(shown)) == ["Conv2D", "DepthwiseConv2D"]
    assert_same(shown, fold_affine(shown))
    shared = chain(
        (5, 5, 3), (o.Conv2D, {"weights": "w"}), norm(), (o.Add, {"inputs": ("t1", "t2")}),
        constants={"w": values(4, 1, 1, 3), **NORM},
    )  # fmt: skip
    assert kinds(fold_affine(shared)) == ["Conv2D", "DepthwiseConv2D", "Add"]
    assert_same(shared, fold_affine(shared))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (o.RELU, o.RELU6), (o.RELU6, o.RELU), (Activation(-2, 1), Activation(2, 3)),
        (Activation(2, 3), Activation(-2, 1)), (Activation(None, -1), o.RELU),
        (Activation(0.5, None), Activation(None, 0.2)), (o.NO_ACTIVATION, o.RELU),
    ],
)  # fmt: skip
def test_composed_clamps(first: Activation, second: Activation) -> None:
    x = np.linspace(-5, 8, 200, dtype=np.float32)
    expected = float_reference.activate(float_reference.activate(x, first), second)
    np.testing.assert_array_equal(float_reference.activate(x, compose(first, second)), expected)


def test_activations_fuse_through_reshape() -> None:
    graph = chain(
        (4, 4, 3),
        (o.Conv2D, {"weights": "w"}),
        (o.Clamp, {"activation": o.RELU}),
        (o.MaxPool2D, {"kernel": (2, 2), "stride": (2, 2)}),
        (o.Reshape, {"shape": (16,)}),
        (o.Clamp, {"activation": o.RELU6}),
        (o.Add, {"inputs": ("t5", "k")}),
        (o.Clamp, {"activation": Activation(None, 3.0)}),
        constants={"w": values(4, 1, 1, 3), "k": values(16)},
    )
    after = fuse_activation(graph)
    assert kinds(after) == ["Conv2D", "MaxPool2D", "Reshape", "Add"]
    assert_same(graph, after)


def test_a_clamp_on_an_input_or_a_shared_value_stays() -> None:
    graph = chain((4, 4, 3), (o.Clamp, {"activation": o.RELU}), (o.Add, {"inputs": ("t0", "t1")}))
    assert kinds(fuse_activation(graph)) == ["Clamp", "Add"]
    shared = chain((4, 4, 3), (o.Conv2D, {"weights": "w"}), (o.Clamp, {"activation": o.RELU}),
                   (o.Add, {"inputs": ("t1", "t2")}), constants={"w": values(4, 1, 1, 3)})  # fmt: skip
    assert kinds(fuse_activation(shared)) == ["Conv2D", "Clamp", "Add"]


PAD = {"amounts": ((1, 0), (2, 1), (0, 0))}


@pytest.mark.parametrize(
    ("before", "window", "count"),
    [
        ([], (o.Conv2D, {"weights": "w", "padding": (0, 1, 0, 1)}), 0),
        ([], (o.MaxPool2D, {"kernel": (3, 3), "stride": (2, 2)}), 1),
        ([(o.Conv2D, {"weights": "p", "activation": o.RELU})], (o.MaxPool2D, {"kernel": (3, 3), "stride": (2, 2)}), 0),
        ([(o.Conv2D, {"weights": "p", "activation": o.RELU})], (o.MaxPool2D, {"kernel": (2, 2), "stride": (2, 2)}), 1),
        ([(o.Conv2D, {"weights": "p", "activation": o.RELU})], (o.AveragePool2D, {"kernel": (3, 3), "stride": (1, 1)}),
         1),
    ],
)  # fmt: skip
def test_padding_fuses_where_it_is_exact(before, window, count: int) -> None:
    steps = [(k, dict(f)) for k, f in before]
    graph = chain((6, 6, 3), *steps, (o.Pad, dict(PAD)), (window[0], dict(window[1])),
                  constants={"w": values(4, 3, 3, 3), "p": values(3, 1, 1, 3)})  # fmt: skip
    after = fuse_pad(graph)
    assert Counter(kinds(after))["Pad"] == count
    assert_same(graph, after)


def test_pad_with_a_value_stays_before_a_convolution() -> None:
    graph = chain((6, 6, 3), (o.Pad, {**PAD, "value": 1.0}), (o.Conv2D, {"weights": "w"}),
                  constants={"w": values(4, 3, 3, 3)})  # fmt: skip
    assert kinds(fuse_pad(graph)) == ["Pad", "Conv2D"]


@pytest.mark.parametrize(
    ("shape", "axes", "keepdims", "left"),
    [
        ((5, 4, 3), (0, 1), True, ["AveragePool2D"]),
        ((5, 4, 3), (0, 1), False, ["AveragePool2D", "Reshape"]),
        ((5, 3), (0,), False, ["Reshape", "AveragePool2D", "Reshape"]),
        ((5, 4, 3), (2,), False, ["Mean"]),
    ],
)
def test_mean_over_the_image_is_a_pool(shape, axes, keepdims, left) -> None:
    graph = chain(shape, (o.Mean, {"axes": axes, "keepdims": keepdims}))
    after = mean_to_pool(graph)
    assert kinds(after) == left
    assert_same(graph, after)


def test_shape_operators_are_cleaned() -> None:
    graph = chain(
        (1, 4, 3),
        (o.Transpose, {"perm": (1, 0, 2)}),
        (o.Reshape, {"shape": (12,)}),
        (o.Reshape, {"shape": (4, 3)}),
        (o.Transpose, {"perm": (1, 0)}),
        (o.Transpose, {"perm": (1, 0)}),
        (o.Slice, {"begin": (0, 0), "end": (4, 3), "strides": (1, 1)}),
        (o.Concat, {"axis": 0}),
        (o.Pad, {"amounts": ((0, 0), (0, 0))}),
        (o.FullyConnected, {"weights": "w"}),
        constants={"w": values(2, 3)},
    )
    after = clean_shapes(clean_shapes(graph))
    assert kinds(after) == ["Reshape", "FullyConnected"]
    assert_same(graph, after)


def test_constants_fold_dead_code_and_dropout_go() -> None:
    graph = chain(
        (3,),
        (o.Add, {"inputs": ("a", "b"), "activation": o.RELU}),
        (o.Reshape, {"shape": (3, 1)}),
        (o.Transpose, {"perm": (1, 0)}),
        (o.Reshape, {"shape": (3,)}),
        (o.Mul, {"inputs": ("t0", "t4")}),
        (o.Dropout, {"rate": 0.5}),
        (o.Softmax, {"inputs": ("t5",)}),
        constants={"a": values(3), "b": values(1)},
        outputs=("t6",),
    )
    after = remove_dead_code(remove_dropout(fold_constants(graph)))
    assert kinds(after) == ["Mul"]
    assert_same(graph, after)


def test_dropout_after_dropout_goes() -> None:
    graph = chain((3,), (o.Dropout, {}), (o.Dropout, {}), (o.Softmax, {}), (o.Dropout, {}), (o.Dropout, {}))
    after = remove_dropout(graph)
    assert kinds(after) == ["Softmax"]
    assert_same(graph, after)


def test_dropout_between_input_and_output_stays() -> None:
    assert kinds(remove_dropout(chain((3,), (o.Dropout, {})))) == ["Dropout"]


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_v1_025", "ad_autoencoder"])
def test_zoo_is_folded_to_integer_operators(name: str) -> None:
    network = ZOO[name]
    graph = import_module(network.build(), network.input_shape)
    for after in (prepare_for_training(graph), prepare_for_quantization(graph)):
        assert_same(graph, after)
    left = Counter(kinds(after))
    assert not {"BatchNorm", "Clamp", "Dropout", "Pad", "Mean"} & left.keys()


class RandomNet(nn.Module):
    """A few random layers with the structures that passes look at."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        channels, layers = 3, []
        for _ in range(rng.integers(1, 5)):
            kind = rng.integers(0, 7)
            out = int(rng.integers(1, 6))
            if kind == 0:
                layers += [nn.ZeroPad2d(tuple(rng.integers(0, 2, 4).tolist())), nn.Conv2d(channels, out, 3, padding=1)]
                channels = out
            elif kind == 1:
                layers += [nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.Dropout(0.2)]
            elif kind == 2:
                layers.append(nn.BatchNorm2d(channels))
            elif kind == 3:
                layers.append(rng.choice([nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardtanh(-0.5, 0.7)]))
            elif kind == 4:
                layers.append(rng.choice([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(2, 1)]))
            elif kind == 5:
                layers.append(nn.Conv2d(channels, out, 1))
                channels = out
        self.body = nn.Sequential(*layers)
        self.side = nn.Conv2d(channels, channels, 1)
        self.is_flat = bool(rng.integers(0, 2))
        with torch.no_grad():
            size = self.body.eval()(torch.zeros(1, 3, 8, 8)).numel()
        self.head = nn.Linear(size if self.is_flat else channels, 4)

    def forward(self, x):
        x = self.body(x)
        x = torch.relu(self.side(x)) + x
        return self.head(x.flatten(1) if self.is_flat else x.mean((2, 3)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_random_networks_compute_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    net = RandomNet(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
    graph = import_module(net, (1, 3, 8, 8))
    for after in (prepare_for_training(graph), prepare_for_quantization(graph)):
        assert_same(graph, after)
    assert not {"BatchNorm", "Dropout", "Mean"} & set(kinds(after))
