from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.compress.networks import Net, chain, random_graph, resnet
from tinycompress.compress.coupling import INPUT
from tinycompress.compress.groups import find_groups
from tinycompress.compress.shrink import kept_mask, shrink
from tinycompress.errors import ConfigError
from tinycompress.execute.float_reference import run
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.verify import verify


def logits(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(graph, {"x": x}).tensors[graph.outputs[0]]


def dead_at_consumers(graph: Graph, keep: dict[str, list[int]]) -> Graph:
    """The unpruned graph with the input slices of removed channels zeroed in every consumer."""
    groups = find_groups(graph)
    mask = kept_mask(groups, keep)
    tensors = dict(graph.tensors)
    for slot in groups.slots:
        if slot.role == INPUT:
            shape = [1] * len(tensors[slot.constant].shape)
            shape[slot.axis] = -1
            value = tensors[slot.constant].constant * mask[slot.channels].astype(np.float32).reshape(shape)
            tensors[slot.constant] = tensors[slot.constant].with_data(value)
    return replace(graph, tensors=tensors)


@pytest.mark.parametrize("seed", range(60))
def test_removing_dead_channels_changes_nothing(seed: int) -> None:
    graph = random_graph(seed)
    groups = find_groups(graph)
    rng = np.random.default_rng(seed)
    keep = {g.name: sorted(rng.permutation(g.size)[: rng.integers(1, g.size + 1)].tolist()) for g in groups.prunable}
    smaller = verify(shrink(graph, keep, groups))
    x = rng.standard_normal((3, *graph.tensors["x"].shape)).astype(np.float32)
    expected = logits(dead_at_consumers(graph, keep), x)
    np.testing.assert_allclose(logits(smaller, x), expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
    if any(len(k) < groups.group(g).size for g, k in keep.items()):
        assert smaller.parameters < graph.parameters
    if all(getattr(op, "groups", 1) == 1 for op in graph.ops):
        left = {g.name: g.size for g in find_groups(smaller).prunable}
        assert left == {g: len(k) for g, k in keep.items() if len(k) > 1}


@pytest.mark.parametrize("seed", range(20))
def test_tensor_widths_are_the_shapes_after_shrinking(seed: int) -> None:
    graph = random_graph(seed)
    groups = find_groups(graph)
    keep = {g.name: range(max(1, g.size // 2)) for g in groups.prunable}
    smaller = shrink(graph, keep, groups)
    shapes = groups.shapes(graph, {g: len(k) for g, k in keep.items()})
    assert {n: tuple(shapes[n]) for n in smaller.tensors} == {n: t.shape for n, t in smaller.tensors.items()}


def test_residual_stages_share_one_width() -> None:
    groups = find_groups(resnet())
    names = {g.name: set(g.producers) for g in groups.prunable}
    assert names["conv0"] == {"conv0", "conv6"}
    assert sorted(g.size for g in groups.prunable) == [4, 4, 6, 6, 8, 8]


def test_flatten_repeats_each_channel_and_concat_offsets() -> None:
    net = Net((4, 4, 2))
    a, b = net.conv("x", 3), net.conv("x", 2)
    joined = net.concat(a, b)
    graph = net.graph(net.fc(net.flatten(joined), 4))
    groups = find_groups(graph)
    assert [g.size for g in groups.prunable] == [3, 2]
    smaller = shrink(graph, {"conv0": [0, 2], "conv1": [1]})
    assert smaller.tensor(smaller.ops[-1].constants()[0]).shape == (4, 16 * 3)
    assert groups.tensor_widths({"conv0": 2, "conv1": 1})["flat3_out"] == 48


def test_a_grouped_convolution_loses_whole_groups() -> None:
    net = Net((4, 4, 2))
    graph = net.graph(net.fc(net.mean(net.conv(net.conv("x", 6), 12, groups=3)), 4))
    (group,) = find_groups(graph).prunable
    assert group.size == 3
    smaller = shrink(graph, {group.name: [0, 2]})
    assert smaller.ops[1].groups == 2  # type: ignore[attr-defined]
    assert smaller.tensor("conv1_w").shape == (8, 3, 3, 2)


def test_frozen_groups_say_why() -> None:
    net = Net((4, 4, 2))
    a = net.conv("x", 3)
    b = net.append(
        o.Softmax(**net.names("softmax", a))  # type: ignore[arg-type]
    )
    graph = net.graph(net.fc(net.mean(b), 4))
    reasons = {g.name: g.frozen for g in find_groups(graph).all}
    assert reasons["conv0"] == "softmax1 (Softmax) normalises over channels"
    assert reasons["x"] == "it is the graph input 'x'"
    assert reasons["fc3"] == "it reaches the graph output 'fc3_out'"


def test_shrink_refuses_what_cannot_be_pruned() -> None:
    graph = chain()
    with pytest.raises(ConfigError, match=r"TC-C350.*graph output"):
        shrink(graph, {find_groups(graph).all[-1].name: [0]})
    with pytest.raises(ConfigError, match="no channel group 'conv99'"):
        shrink(graph, {"conv99": [0]})
    with pytest.raises(ConfigError, match="kept channels must be"):
        shrink(graph, {"conv0": []})
