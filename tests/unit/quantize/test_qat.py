"""Fake quantization has the published gradients, and what was trained is what the integers compute."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tinycompress.errors import ModelError, QualityError
from tinycompress.execute import reference
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, Preprocess, QuantGraph
from tinycompress.ir.store import graph_sha256
from tinycompress.ir.tensor import DType
from tinycompress.quantize.evaluate import accuracy
from tinycompress.quantize.ptq import quantize
from tinycompress.quantize.qat import (
    METHODS,
    QatQuantizer,
    QatTraining,
    convert,
    fake_quantize,
    prepare_qat,
    scale_gradient,
    train_qat,
)


def test_fake_quantize_rounds_and_clamps_on_the_grid() -> None:
    x = torch.tensor([-100.0, -0.26, 0.0, 0.24, 0.26, 100.0])
    found = fake_quantize(x, torch.tensor(0.5), 2)
    torch.testing.assert_close(found, torch.tensor([-65.0, -0.5, 0.0, 0.0, 0.5, 62.5]))


def test_lsq_gradients_have_their_closed_form() -> None:
    x = torch.tensor([0.3, 1.4, -2.6, 80.0, -90.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(x, scale, 10).sum().backward()
    inside = sum(round(v / 0.5) - v / 0.5 for v in (0.3, 1.4, -2.6))
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(inside + (127 - 10) + (-128 - 10), abs=1e-4)
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 0, 0]


def test_scale_gradient_is_balanced_by_size_and_range() -> None:
    scale = torch.tensor([0.5, 0.25], requires_grad=True)
    same = scale_gradient(scale, 400, 127)
    torch.testing.assert_close(same, scale)
    same.sum().backward()
    assert scale.grad is not None
    torch.testing.assert_close(scale.grad, torch.full((2,), (400 * 127) ** -0.5))


class Net(nn.Module):
    """Every sharing rule: residual, join, pools, gate, flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.side = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(12 * 16, 3)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(self.side(x)) + x
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(x, 2)], 1)
        return self.head(x.flatten(1))


@pytest.fixture(scope="module")
def task() -> tuple[Graph, np.ndarray, np.ndarray]:
    """A float graph trained a little on three kinds of stripes."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    rows, columns = np.mgrid[0:8, 0:8]
    waves = np.stack([np.sin(rows * 1.5), np.sin(columns * 1.5), np.sin((rows + columns) * 1.5)])
    images = (waves[labels] + rng.normal(size=(600, 8, 8)) * 0.8).astype(np.float32)[..., None]
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    x, y = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return import_module(net, (1, 8, 8), "stripes"), images, labels


def integer_outputs(graph: QuantGraph, images: np.ndarray) -> np.ndarray:
    name = graph.input_names[0]
    x = quantize_values(images, graph.tensor(name).quantization, DType.INT8)
    out = reference.run(graph, {name: x}, keep_tensors=False).outputs[graph.outputs[0]]
    return dequantize_values(out, graph.tensor(graph.outputs[0]).quantization)


@pytest.mark.parametrize("method", METHODS)
def test_untrained_conversion_matches_the_module(task, method: str) -> None:
    graph, images, _ = task
    module = prepare_qat(graph, images[:100], method=method).eval()
    with torch.no_grad():
        simulated = module(torch.from_numpy(images)).numpy()
    converted = convert(module)
    scale = converted.tensor(converted.outputs[0]).quantization.tensor_scale
    assert np.abs(integer_outputs(converted, images) - simulated).max() <= 4 * scale


def test_untrained_lsq_is_post_training_quantization(task) -> None:
    graph, images, _ = task
    converted = convert(prepare_qat(graph, images[:100], method="lsq"))
    calibrated = quantize(graph, images[:100])
    for name, tensor in calibrated.tensors.items():
        other = converted.tensor(name)
        assert other.qparams == tensor.qparams
        if tensor.is_constant:
            np.testing.assert_array_equal(other.constant, tensor.constant)


@pytest.mark.parametrize("method", METHODS)
def test_training_keeps_integers_and_simulation_together(task, method: str) -> None:
    graph, images, labels = task
    module = prepare_qat(graph, images[:100], method=method)
    losses: list[float] = []

    def loss(output, inputs, targets):
        return F.cross_entropy(output, targets)

    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    train_qat(module, x, y, loss, epochs=4, learning_rate=1e-3, progress=lambda epoch, value: losses.append(value))
    assert losses[-1] < losses[0]
    converted = convert(module)
    with torch.no_grad():
        simulated = module(x).numpy()
    found = integer_outputs(converted, images)
    assert (found.argmax(1) == simulated.argmax(1)).mean() > 0.98
    assert accuracy(converted, images, labels) >= accuracy(quantize(graph, images[:100]), images, labels) - 0.01


@pytest.mark.parametrize("method", METHODS)
def test_frozen_scales_stay(task, method: str) -> None:
    graph, images, labels = task
    module = prepare_qat(graph, images[:100], method=method)
    quantizer = module.quant
    assert isinstance(quantizer, QatQuantizer)
    quantizer.freeze()
    before = quantizer.parameters_now()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    train_qat(module, x, y, lambda o, i, t: F.cross_entropy(o, t), epochs=1, learning_rate=1e-2)
    assert quantizer.parameters_now() == before


def test_training_is_repeatable(task) -> None:
    graph, images, labels = task
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    found = []
    for _ in range(2):
        module = prepare_qat(graph, images[:100])
        train_qat(module, x, y, lambda o, i, t: F.cross_entropy(o, t), epochs=1, seed=3)
        found.append(convert(module))
    for name, tensor in found[0].tensors.items():
        if tensor.is_constant:
            np.testing.assert_array_equal(found[1].tensor(name).constant, tensor.constant)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_training_is_the_uninterrupted_one(task, method: str, stop: int) -> None:
    """Stopped after `stop` of 4 epochs (the scales freeze after 3) and taken up in a module of its own."""
    graph, images, labels = task
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def start() -> QatTraining:
        return QatTraining(
            prepare_qat(graph, images[:100], method=method), x, y, lambda o, i, t: F.cross_entropy(o, t), epochs=4,
            learning_rate=1e-3, augment=lambda b, g: b + 0.1 * torch.randn(b.shape, generator=g),
        )  # fmt: skip

    straight, stopped, resumed = start(), start(), start()
    losses = [straight.epoch() for _ in range(4)]
    found = [stopped.epoch() for _ in range(stop)]
    kept = io.BytesIO()
    torch.save(stopped.state(), kept)
    kept.seek(0)
    resumed.load_state(torch.load(kept, weights_only=True))
    found += [resumed.epoch() for _ in range(4 - stop)]
    assert found == losses
    assert graph_sha256(convert(resumed.module)) == graph_sha256(convert(straight.module))


def test_documented_input_range_and_fixed_outputs_are_kept() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid())
    preprocess = Preprocess(scale=1 / 255, value_range=(0.0, 255.0))
    graph = import_module(net, (1, 8, 8), preprocess=preprocess)
    images = np.random.default_rng(0).uniform(0.2, 0.6, (50, 8, 8, 1)).astype(np.float32)
    module = prepare_qat(graph, images)
    x = torch.from_numpy(images)
    train_qat(module, x, torch.zeros(50), lambda o, i, t: o.mean(), epochs=1, batch=10)
    converted = convert(module)
    assert converted.tensor(converted.input_names[0]).quantization.tensor_scale == pytest.approx(1 / 255)
    assert converted.tensor(converted.outputs[0]).quantization.tensor_scale == 1 / 256


@pytest.mark.parametrize("method", METHODS)
def test_constants_follow_the_scale_of_their_group(method: str) -> None:
    class Floor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)
            self.register_buffer("floor", torch.tensor([-0.5, 0.1, 3.0]).view(3, 1, 1))

        def forward(self, x):
            return torch.maximum(self.conv(x), self.floor).flatten(1)

    images = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32)
    module = prepare_qat(import_module(Floor(), (1, 8, 8)), images, method=method)
    x = torch.from_numpy(images)
    train_qat(module, x, x, lambda o, i, t: o.square().mean(), epochs=2, batch=8, learning_rate=1e-2)
    converted = convert(module)
    shared = {converted.tensor(n).qparams for op in converted.ops if op.kind == "Maximum" for n in op.inputs}
    assert len(shared) == 1
    with torch.no_grad():
        simulated = module(x).numpy()
    assert np.abs(integer_outputs(converted, images) - simulated).max() <= 2 * next(iter(shared)).tensor_scale


def test_unknown_method_and_lost_training_are_errors(task) -> None:
    graph, images, labels = task
    with pytest.raises(ModelError) as caught:
        prepare_qat(graph, images[:10], method="lsqq")
    assert caught.value.code == "TC-M420"
    module = prepare_qat(graph, images[:100])
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    with pytest.raises(QualityError) as stopped:
        train_qat(module, x, y, lambda o, i, t: o.sum() * float("nan"), epochs=1)
    assert stopped.value.code == "TC-Q120"
