"""Prices at any widths are those of the network cut to these widths."""

from __future__ import annotations

import pytest
import torch

from tests.unit.compress.networks import chain, random_graph, resnet
from tinycompress.compress.deployed import Deployed
from tinycompress.compress.groups import find_groups
from tinycompress.compress.shrink import shrink
from tinycompress.ir.graph import Graph

NETWORKS = {"resnet": resnet(), "chain": chain(), **{f"random{seed}": random_graph(seed) for seed in range(14)}}


@pytest.mark.parametrize("name", NETWORKS)
def test_prices_at_integers_are_those_of_the_cut_network(name: str) -> None:
    graph: Graph = NETWORKS[name]
    groups = find_groups(graph)
    counts = {g.name: max(1, (g.size + 1) // 2) for g in groups.prunable}
    predicted = Deployed(graph, groups).evaluate(counts)
    smaller = shrink(graph, {g: range(n) for g, n in counts.items()}, groups)
    exact = Deployed(smaller, find_groups(smaller)).evaluate({})
    for key, value in exact.items():
        is_estimate = key in ("instructions", "latency_ms")
        assert predicted[key] == (pytest.approx(value, rel=0.02) if is_estimate else value), key


@pytest.mark.parametrize("name", ["resnet", "chain"])
def test_soft_prices_pass_through_the_integer_ones(name: str) -> None:
    graph = NETWORKS[name]
    groups = find_groups(graph)
    model = Deployed(graph, groups)
    counts = {g.name: g.size - 1 for g in groups.prunable}
    soft = {g: torch.tensor(float(n), requires_grad=True) for g, n in counts.items()}
    exact = model.evaluate(counts)
    for key, value in model.evaluate(soft).items():
        assert float(value.detach() if isinstance(value, torch.Tensor) else value) == pytest.approx(exact[key])


def test_the_smallest_kernels_never_need_more_flash_than_the_fastest() -> None:
    graph = NETWORKS["resnet"]
    groups = find_groups(graph)
    size = Deployed(graph, groups).evaluate({})
    speed = Deployed(graph, groups, prefer="speed").evaluate({})
    assert size["weights_bytes"] <= speed["weights_bytes"]
    assert size["instructions"] == speed["instructions"]
    assert "instructions" not in Deployed(graph, groups, has_work=False).evaluate({})
