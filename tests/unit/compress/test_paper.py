"""The table of METHODS B1.1: values computed with the authors' own resource model."""

from __future__ import annotations

import pytest
import torch

from tests.unit.compress.networks import Net, chain, resnet
from tinycompress.compress.groups import find_groups
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.shrink import shrink
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph


def resources(graph: Graph, *, count_input: bool = True) -> dict[str, int]:
    return PaperModel(graph, find_groups(graph), count_input=count_input).evaluate({})


def valid_conv() -> Graph:
    net = Net((32, 32, 3))
    w = net.constant("w", 5, 3, 3, 3)
    x = net.append(o.Conv2D(name="c", inputs=("x",), outputs=("c_out",), weights=w))
    return net.graph(net.fc(net.flatten(x), 10))


def skip_over_two() -> Graph:
    net = Net((8, 8, 4))
    a = net.conv("x", 4)
    return net.graph(net.add(a, net.conv(net.conv(a, 4), 4)))


def two_branches() -> Graph:
    net = Net((8, 8, 4))
    a, b = net.conv("x", 4), net.conv("x", 4, 1)
    return net.graph(net.add(a, b))


def order_matters() -> Graph:
    net = Net((16, 16, 1))
    wide_a, wide_b = net.conv("x", 16), net.conv("x", 16)
    return net.graph(net.add(net.conv(wide_a, 1), net.conv(wide_b, 1)))


@pytest.mark.parametrize(
    ("graph", "without_input", "with_input", "size", "macs"),
    [
        (valid_conv(), 4510, 7572, 45150, 166500),
        (skip_over_two(), 768, 768, 444, 27904),
        (two_branches(), 512, 768, 168, 10496),
        (order_matters(), 4608, 4608, 610, 147712),
    ],
    ids=["conv-dense", "skip", "branches", "order"],
)
def test_published_table(graph: Graph, without_input: int, with_input: int, size: int, macs: int) -> None:
    assert resources(graph) == {"ram_bytes": with_input, "flash_bytes": size, "macs": macs}
    assert resources(graph, count_input=False)["ram_bytes"] == without_input


def test_resnet8_counts_additions_and_pooling() -> None:
    graph = resnet(size=32, widths=(16, 32, 64), classes=10)
    found = resources(graph)
    assert found["macs"] == 12_534_400
    assert found["flash_bytes"] == 77_706


@pytest.mark.parametrize("graph", [resnet(), chain()], ids=["resnet", "chain"])
def test_soft_widths_at_integers_are_the_shrunk_network(graph: Graph) -> None:
    groups = find_groups(graph)
    counts = {g.name: 1 + g.size // 2 for g in groups.prunable}
    soft = PaperModel(graph, groups).evaluate({g: torch.tensor(float(n)) for g, n in counts.items()})
    hard = PaperModel(graph, groups).evaluate(counts)
    smaller = shrink(graph, {g: range(n) for g, n in counts.items()})
    assert {k: int(v) for k, v in soft.items()} == hard
    assert hard["flash_bytes"] == resources(smaller)["flash_bytes"]
    assert hard["macs"] == resources(smaller)["macs"]
    assert hard["ram_bytes"] >= resources(smaller)["ram_bytes"]


def test_only_groups_live_at_the_peak_get_a_memory_gradient() -> None:
    graph = chain(widths=(3, 4, 12, 5), size=8)
    groups = find_groups(graph)
    leaves = {g.name: torch.tensor(float(g.size), requires_grad=True) for g in groups.prunable}
    model = PaperModel(graph, groups)
    model.evaluate(leaves)["ram_bytes"].backward()
    touched = {name for name, leaf in leaves.items() if leaf.grad is not None and leaf.grad != 0}
    steps = [float(s) for s in model.with_steps({})[1]]
    names = [g.name for g in groups.prunable]
    peak = steps.index(max(steps))
    assert touched == set(names[max(0, peak - 1) : peak + 1])
