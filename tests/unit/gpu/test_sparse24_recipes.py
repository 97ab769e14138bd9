"""Ways to 2:4 weights: the surgeon's arithmetic, the straight-through gradient, and networks that come out 2:4."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.compress.networks import Net
from tests.unit.compress.test_training import blobs
from tinycompress.compress.network import initialise
from tinycompress.compress.recipe import TrainSettings
from tinycompress.compress.train import Trainer
from tinycompress.execute.float_reference import run
from tinycompress.gpu import exact_obs as obs
from tinycompress.gpu import masks as mk
from tinycompress.gpu import recipes as rc
from tinycompress.ir.graph import Graph
from tinycompress.quantize.ptq import quantize

torch.set_num_threads(1)


def small(seed: int = 0) -> Graph:
    net = Net((8, 8, 2), seed)
    x = net.block(net.block("x", 8), 8, stride=2)
    return initialise(net.graph(net.fc(net.flatten(x), 4)), seed)


def plan(epochs: int = 6) -> rc.TrainingPlan:
    return rc.TrainingPlan(blobs(), TrainSettings(epochs=epochs, batch=16, lr=0.02))


def test_sparse24_exact_obs_worked_example() -> None:
    h, w = np.array([[2.0, 1], [1, 2]]), np.array([[1.0, 0.5]])
    pruned, loss = obs.prune_rows(w, h, kept=1, group=2)
    assert pruned.tolist() == [[1.25, 0.0]]
    assert loss.tolist() == pytest.approx([0.1875])


def test_sparse24_exact_obs_with_identity_is_magnitude() -> None:
    w = np.random.default_rng(0).standard_normal((6, 16))
    pruned, _ = obs.prune_rows(w, np.eye(16))
    np.testing.assert_allclose(pruned, np.where(mk.magnitude_mask(w), w, 0.0))


@pytest.mark.parametrize("seed", range(5))
def test_sparse24_exact_obs_losses_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12))
    h, w = obs.hessian(x), rng.standard_normal((4, 12))
    pruned, loss = obs.prune_rows(w, h)
    assert mk.is_two_of_four(pruned)
    change = w - pruned
    np.testing.assert_allclose(loss, 0.5 * np.einsum("rk,kl,rl->r", change, h, change), rtol=1e-8)


def test_sparse24_exact_obs_beats_magnitude_on_correlated_inputs() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 32)) @ rng.standard_normal((32, 32))
    h, w = obs.hessian(x), rng.standard_normal((16, 32))
    pruned, loss = obs.prune_rows(w, h)
    lost = w - np.where(mk.magnitude_mask(w), w, 0.0)
    assert loss.sum() < 0.5 * 0.5 * np.einsum("rk,kl,rl->", lost, h, lost)
    assert np.count_nonzero(pruned) == 16 * 16


def test_sparse24_exact_obs_with_dead_inputs() -> None:
    x = np.random.default_rng(0).standard_normal((50, 8))
    x[:, [1, 6]] = 0.0
    pruned, loss = obs.prune_rows(np.ones((2, 8)), obs.hessian(x))
    assert np.isfinite(pruned).all()
    assert np.isfinite(loss).all()


def test_sparse24_masks_agree_between_numpy_and_torch() -> None:
    graph = small()
    masks = rc.torch_masks(graph, torch.device("cpu"))
    module = Trainer(graph, blobs(), TrainSettings(epochs=1), torch.device("cpu")).network.module
    assert set(masks) == {"conv3", "fc7"}
    for name, mask in masks.items():
        torch.testing.assert_close(rc.two_of_four(module.parameter(name)), mask)


def test_sparse24_straight_through_gradient() -> None:
    w = torch.tensor([[1.0, -3.0, 2.0, 0.5]], requires_grad=True)
    y = rc.SparseRefined.apply(w, rc.two_of_four(w), 0.1)  # type: ignore[no-untyped-call]
    assert y.tolist() == [[0.0, -3.0, 2.0, 0.0]]
    (y * torch.tensor([[1.0, 2.0, 3.0, 4.0]])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [pytest.approx([1.1, 2.0, 3.0, 4.05])]


@pytest.mark.parametrize("recipe", ["magnitude", "one-shot", "sr-ste", "exact-obs"])
@pytest.mark.parametrize("is_permuted", [False, True])
def test_sparse24_recipes_come_out_two_of_four(recipe: rc.Recipe, is_permuted: bool) -> None:
    graph = rc.sparsify(small(), recipe, plan(2), is_permuted=is_permuted)
    samples = blobs().train.inputs
    integer = quantize(graph, (samples,))
    for g in (graph, integer):
        eligible = [layer for layer in mk.find_layers(g) if layer.is_eligible]
        assert len(eligible) == 2
        assert all(mk.is_two_of_four(g.tensors[layer.weights].constant) for layer in eligible)
    first = graph.tensors[mk.find_layers(graph)[0].weights].constant
    assert np.count_nonzero(first) == first.size


@pytest.mark.parametrize("recipe", ["one-shot", "sr-ste"])
def test_sparse24_training_learns_under_the_mask(recipe: rc.Recipe) -> None:
    graph = rc.sparsify(small(), recipe, plan(12))
    task = blobs()
    outputs = run(graph, {"x": task.train.inputs}).output
    assert (outputs.argmax(axis=1) == task.train.targets).mean() > 0.9


def test_sparse24_dense_control_stays_dense() -> None:
    graph = rc.sparsify(small(), "dense", plan(1))
    assert not mk.is_two_of_four(graph.tensors["conv3_w"].constant)
