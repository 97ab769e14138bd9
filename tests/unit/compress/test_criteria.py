"""Importances of channels, and what each method removes by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.compress.networks import Net, chain, resnet
from tests.unit.compress.test_training import CPU, blobs
from tinycompress.compress.groups import find_groups
from tinycompress.compress.network import Network
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.criteria import CRITERIA, score
from tinycompress.compress.prune.ranked_hook import ranked_widths
from tinycompress.compress.recipe import DistillSettings
from tinycompress.compress.train import Objective
from tinycompress.ir.graph import Graph


def with_constant(graph: Graph, name: str, data: np.ndarray) -> Graph:
    tensors = dict(graph.tensors)
    tensors[name] = tensors[name].with_data(data.astype(np.float32))
    return replace(graph, tensors=tensors)


def test_taylor_gate_gradients_have_the_closed_form() -> None:
    """L = ½(Σ z_i a_i)² with a = (3, 1): squared gate gradients are 144 and 16."""
    net = Net((1,))
    graph = net.graph(net.fc(net.fc("x", 2), 1))
    graph = with_constant(graph, "fc0_w", np.array([[3.0], [1.0]]))
    graph = with_constant(graph, "fc0_b", np.zeros(2))
    graph = with_constant(graph, "fc1_w", np.ones((1, 2)))
    graph = with_constant(graph, "fc1_b", np.zeros(1))
    network = Network(graph, CPU)
    gate = torch.ones(2, requires_grad=True)
    network.set_gates({"fc0": gate})
    output = network.module(torch.ones(1, 1))
    (0.5 * output**2).sum().backward()
    assert gate.grad is not None
    assert (gate.grad**2).tolist() == pytest.approx([144.0, 16.0])


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_scores_every_channel(name: str) -> None:
    graph = resnet()
    groups = find_groups(graph)
    gradients = {g.name: np.ones(g.size) for g in groups.prunable}
    found = score(name, graph, groups, gradients, np.random.default_rng(0))
    assert {g: len(s) for g, s in found.items()} == groups.widths()
    assert all((s >= 0).all() and np.isfinite(s).all() for s in found.values())


@pytest.mark.parametrize("name", ["l1", "l2", "conv_bn"])
def test_a_zero_filter_is_the_least_important(name: str) -> None:
    graph = chain()
    weights = graph.tensors["conv0_w"].constant.copy()
    weights[3] = 0.0
    graph = with_constant(graph, "conv0_w", weights)
    found = score(name, graph, find_groups(graph), {}, np.random.default_rng(0))
    assert int(found["conv0"].argmin()) == 3
    assert found["conv0"][3] == 0.0


def test_norms_average_over_the_members_of_a_group() -> None:
    graph = resnet()
    first, second = (np.abs(graph.tensors[w].constant).mean(axis=(1, 2, 3)) for w in ("conv0_w", "conv6_w"))
    found = score("l1", graph, find_groups(graph), {}, np.random.default_rng(0))
    np.testing.assert_allclose(found["conv0"], (first + second) / 2, rtol=1e-6)


def test_one_list_over_all_groups_loses_its_lowest_entries() -> None:
    graph = chain((4, 4, 4))
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    scores = {g.name: np.arange(1.0, 5.0) * 10**i for i, g in enumerate(groups.prunable)}
    names = list(scores)
    one_less = model.evaluate({names[0]: 3})
    widths = ranked_widths(scores, {"flash_bytes": one_less["flash_bytes"]}, model.evaluate, dict.fromkeys(names, 1))
    assert widths == {names[0]: 3, names[1]: 4, names[2]: 4}
    tight = {"flash_bytes": model.evaluate(dict.fromkeys(names, 1))["flash_bytes"]}
    assert ranked_widths(scores, tight, model.evaluate, dict.fromkeys(names, 1)) == dict.fromkeys(names, 1)


def test_teacher_and_student_see_the_same_tensor() -> None:
    seen: list[torch.Tensor] = []
    network = Network(chain(), CPU)
    network.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task = blobs()
    for settings in (DistillSettings(), DistillSettings(recipe="patient")):
        objective = Objective(task, network, settings)
        inputs = torch.randn(3, 8, 8, 2)
        student = torch.randn(3, 4)
        loss = objective(student, inputs, torch.tensor([0, 1, 2]))
        assert seen.pop() is inputs
        if settings.recipe == "patient":
            other = objective(student, inputs, torch.tensor([2, 1, 0]))
            assert loss == other, "labels are not used"
