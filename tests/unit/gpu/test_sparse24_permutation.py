"""Channel permutation: never keeps less, changes nothing the network computes, and has an exact inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.compress.networks import Net
from tinycompress.compress.groups import find_groups
from tinycompress.execute.float_reference import run
from tinycompress.gpu import masks as mk
from tinycompress.gpu import permute as pm
from tinycompress.ir.graph import Graph
from tinycompress.ir.store import graph_sha256
from tinycompress.ir.tensor import Array


def kept_magnitude(weights: Array) -> float:
    """Sum of |w| over what the magnitude mask keeps."""
    return float(np.abs(weights.astype(np.float64))[mk.magnitude_mask(weights)].sum())


def residual(seed: int = 0) -> Graph:
    """A stem, a residual block with a depthwise convolution, a concat, and a fully connected layer on the flattened."""
    net = Net((6, 6, 4), seed)
    stem = net.block("x", 16)
    inner = net.block(stem, 16)
    joined = net.relu(net.add(stem, net.bn(net.conv(inner, 16))))
    deep = net.relu(net.bn(net.depthwise(joined)))
    both = net.concat(deep, net.block(joined, 8))
    out = net.fc(net.flatten(both), 5)
    return net.graph(out)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_sparse24_permutation_never_lowers_kept_magnitude(seed: int, fours: int, rows: int) -> None:
    weights = np.random.default_rng(seed).standard_normal((rows, 4 * fours)) ** 3
    order = pm.search_permutation(weights)
    assert sorted(order.tolist()) == list(range(4 * fours))
    assert kept_magnitude(weights[:, order]) >= kept_magnitude(weights) * (1 - 1e-12)


def test_sparse24_permutation_finds_the_obvious_swap() -> None:
    """Four large columns in one four and none in the other: half of them must move."""
    weights = np.tile(np.array([9.0, 8, 7, 6, 0.1, 0.1, 0.1, 0.1]), (3, 1))
    order = pm.search_permutation(weights)
    assert kept_magnitude(weights[:, order]) == 3 * 30.0
    assert kept_magnitude(weights) == pytest.approx(3 * 17.2)


@pytest.mark.parametrize("seed", range(3))
def test_sparse24_any_permutation_computes_the_same(seed: int) -> None:
    graph = residual(seed)
    groups = find_groups(graph)
    rng = np.random.default_rng(seed)
    chosen = {g.name: rng.permutation(g.size) for g in groups.prunable if not pm.obstacle(graph, groups, g)}
    assert len(chosen) >= 3
    x = rng.standard_normal((2, 6, 6, 4)).astype(np.float32)
    moved = pm.permute(graph, chosen)
    np.testing.assert_allclose(run(moved, {"x": x}).output, run(graph, {"x": x}).output, rtol=2e-4, atol=2e-4)
    assert graph_sha256(moved) != graph_sha256(graph)
    back = pm.permute(moved, {name: np.argsort(order) for name, order in chosen.items()})
    assert graph_sha256(back) == graph_sha256(graph)


def test_sparse24_permutations_of_a_network_gain() -> None:
    graph = residual()
    found, gains = pm.find_permutations(graph)
    assert found
    assert all(g.after >= g.before for g in gains)
    moved = pm.permute(graph, found)

    def total(g: Graph) -> float:
        return sum(kept_magnitude(g.tensors[x.weights].constant) for x in mk.find_layers(g) if x.is_eligible)

    assert total(moved) > total(graph)
    assert total(moved) - total(graph) == pytest.approx(sum(g.after - g.before for g in gains), rel=1e-6)


def test_sparse24_frozen_groups_keep_their_order() -> None:
    graph = residual()
    groups = find_groups(graph)
    frozen = next(g for g in groups.all if g.frozen)
    with pytest.raises(ValueError, match="cannot be reordered"):
        pm.permute(graph, {frozen.name: np.arange(frozen.size)})


def test_sparse24_eligibility_says_why_not() -> None:
    net = Net((8, 8, 3))
    stem = net.block("x", 8)
    deep = net.depthwise(stem)
    grouped = net.conv(deep, 8, groups=2)
    out = net.fc(net.flatten(net.conv(grouped, 6, 1)), 10)
    layers = mk.find_layers(net.graph(out))
    assert [bool(layer.is_eligible) for layer in layers] == [False, False, False, True, True]
    assert layers[0].reason == "3 input channels are not a multiple of 4"
    assert layers[1].reason.startswith("depthwise")
    assert layers[2].reason.startswith("2 groups")
    assert (layers[3].rows, layers[3].columns, layers[3].pixels) == (6, 8, 64)
