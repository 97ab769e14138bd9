"""A graph as a trainable module: same numbers as the float reference, live batch norm, gates, exact round trip."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tinycompress.execute import float_reference
from tinycompress.execute.torch_module import TORCH, GraphModule
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, State
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.ir.verify import verify
from tinycompress.passes import prepare_for_training
from tinycompress.zoo import ZOO


def single(op: o.Op, inputs: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray]) -> Graph:
    """A graph of one operator."""
    tensors = {n: Tensor(n, s, DType.FLOAT32) for n, s in inputs.items()}
    tensors |= {n: Tensor(n, v.shape, DType.FLOAT32, data=v.astype(np.float32)) for n, v in constants.items()}
    for name, shape in zip(op.outputs, infer(op, tensors), strict=True):
        tensors[name] = Tensor(name, shape, DType.FLOAT32)
    return verify(Graph("single", tuple(GraphInput(n) for n in inputs), op.outputs, tensors, (op,)))


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


OP = {"name": "op", "inputs": ("x",), "outputs": ("y",)}
IMAGE = {"x": (7, 8, 3)}
SINGLE = {
    "average pool, asymmetric": single(
        o.AveragePool2D(**OP, kernel=(3, 2), stride=(2, 2), padding=(0, 0, 1, 1)), IMAGE, {}
    ),
    "max pool, asymmetric": single(o.MaxPool2D(**OP, kernel=(3, 3), stride=(2, 2), padding=(0, 1, 2, 0)), IMAGE, {}),
    "max pool, wide padding": single(o.MaxPool2D(**OP, kernel=(3, 3), stride=(1, 1), padding=(2, 2, 2, 2)), IMAGE, {}),
    "convolution, asymmetric": single(
        o.Conv2D(**OP, weights="w", bias="b", stride=(2, 1), padding=(1, 0, 2, 1), activation=o.RELU6),
        IMAGE,
        {"w": values(4, 3, 2, 3), "b": values(4)},
    ),
    "transposed, cut": single(
        o.TransposeConv2D(**OP, weights="w", stride=(2, 2), padding=(1, 0, 0, 1)), IMAGE, {"w": values(4, 3, 3, 3)}
    ),
    "transposed, extended": single(
        o.TransposeConv2D(**OP, weights="w", bias="b", stride=(3, 2), output_padding=(2, 1), activation=o.RELU),
        IMAGE,
        {"w": values(4, 2, 2, 3), "b": values(4)},
    ),
    "nearest, corners": single(o.ResizeNearest(**OP, size=(5, 11), align_corners=True), IMAGE, {}),
    "nearest, centres": single(o.ResizeNearest(**OP, size=(5, 11), half_pixel_centers=True), IMAGE, {}),
    "bilinear": single(o.ResizeBilinear(**OP, size=(5, 11)), IMAGE, {}),
    "softmax with beta": single(o.Softmax(**OP, beta=2.0), {"x": (9,)}, {}),
    "join with a constant": single(
        o.Concat(name="op", inputs=("x", "k"), outputs=("y",), axis=2), IMAGE, {"k": values(7, 8, 2)}
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_operator_equals_float_reference(name: str) -> None:
    graph = SINGLE[name]
    x = values(5, *graph.tensor("x").shape, seed=1)
    expected = float_reference.run(graph, {"x": x}).outputs["y"]
    found = GraphModule(graph)(torch.tensor(x))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_every_operator_is_in_the_table() -> None:
    assert set(TORCH) == set(o.ALL_OPS)


def test_state_starts_at_zero_and_svdf_runs() -> None:
    tensors = {n: Tensor(n, s, DType.FLOAT32) for n, s in {"x": (6,), "s": (4, 3), "y": (2,), "t": (4, 3)}.items()}
    for name, data in {"f": values(4, 6), "w": values(4, 3, seed=1)}.items():
        tensors[name] = Tensor(name, data.shape, DType.FLOAT32, data=data)
    op = o.SVDF(name="op", inputs=("x", "s"), outputs=("y", "t"), feature_weights="f", time_weights="w", rank=2)
    graph = verify(Graph("svdf", (GraphInput("x"),), ("y",), tensors, (op,), (State("s", "t"),)))
    x = values(3, 6, seed=2)
    expected = float_reference.run(graph, {"x": x}).outputs["y"]
    np.testing.assert_allclose(GraphModule(graph)(torch.tensor(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def conv_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        nn.Linear(96, 3),
    )


def images(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 2, 9, 9, generator=torch.Generator().manual_seed(seed))


def test_trains_step_by_step_as_the_users_module() -> None:
    net = conv_net()
    module = GraphModule(prepare_for_training(import_module(net, (1, 2, 9, 9))))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (net, module)]
    for step in range(5):
        x = images(8, step)
        losses = []
        for model, optimizer, given in zip((net, module), optimizers, (x, x.permute(0, 2, 3, 1)), strict=True):
            model.train()
            optimizer.zero_grad()
            loss = model(given).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    x = images(4, 99)
    net.eval()
    module.eval()
    torch.testing.assert_close(module(x.permute(0, 2, 3, 1)), net(x), rtol=1e-3, atol=1e-4)
    trained = module.to_graph()
    result = float_reference.run(trained, {trained.input_names[0]: x.permute(0, 2, 3, 1).numpy()})
    np.testing.assert_allclose(result.outputs[trained.outputs[0]], net(x).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_round_trip_is_exact_for_the_zoo() -> None:
    network = ZOO["ds_cnn"]
    graph = import_module(network.build(), network.input_shape)
    back = GraphModule(graph).to_graph()
    assert back.ops == graph.ops
    assert all(np.array_equal(back.tensor(n).constant, t.constant) for n, t in graph.tensors.items() if t.is_constant)


def test_parameters_are_named_after_operators() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(2, 4, 3)
            self.pop = nn.Conv2d(4, 3, 1, bias=False)

        def forward(self, x):
            return self.pop(self.stem(x))

    module = GraphModule(import_module(Named(), (1, 2, 9, 9)))
    assert [n for n, _ in module.named_parameters()] == [
        "layers.stem.weights", "layers.stem.bias", "layers.pop_.weights",
    ]  # fmt: skip
    assert module.parameter("stem").shape == (4, 2, 3, 3)
    assert module.parameter("stem", "bias").shape == (4,)


def test_copies_are_independent() -> None:
    module = GraphModule(import_module(conv_net(), (1, 2, 9, 9)))
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.parameter(twin.graph.ops[0].name).zero_()
    assert module.parameter(module.graph.ops[0].name).abs().sum() > 0
