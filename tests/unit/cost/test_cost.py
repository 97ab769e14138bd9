"""The cost model: equal to the plan on integers, soft between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.unit.plan.networks import Net, mixed, recurrent, residual
from tinycompress.cost.macs import macs
from tinycompress.cost.model import CostModel, latency_ms
from tinycompress.cost.scalar import largest, round_up
from tinycompress.cost.soft_shapes import soft_shapes
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan import plan

NETWORKS = [residual, mixed, recurrent]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("has_dsp", [False, True])
def test_integer_costs_equal_the_plan(network: Callable[[], QuantGraph], has_dsp: bool) -> None:
    graph = network()
    made = plan(graph, has_dsp=has_dsp)
    found = CostModel(graph, has_dsp=has_dsp).resources()
    assert found.arena_bytes == made.arena_lower_bound_bytes
    assert found.weights_bytes == made.weights_bytes
    assert found.ram_bytes == made.arena_bytes + made.state_bytes
    assert found.macs == macs(graph)
    assert sorted(found.live_bytes) == sorted(
        {s.layer: n for s, n in zip(made.steps, made.live_bytes, strict=True)}.values()
    )
    assert isinstance(found.flash_bytes, int)


def _thinned(widths: dict[str, int]) -> QuantGraph:
    """A residual network with the given channels behind each convolution group."""
    net = Net("thin")
    x = net.input(12, 12, 3)
    a = net.conv(x, widths["a"], name="stem")
    b = net.conv(net.conv(a, widths["b"], name="inner"), widths["a"], name="outer")
    c = net.depthwise(net.conv(net.add(a, b), widths["c"], kernel=1, padding=0, name="point"), stride=2)
    return net.build(net.dense(net.flatten(net.average(c, 6, 6)), 5, name="head"))


@pytest.mark.parametrize("widths", [(8, 8, 16), (5, 9, 7), (16, 4, 12), (1, 1, 1)])
def test_channels_price_the_pruned_network(widths: tuple[int, int, int]) -> None:
    """Pricing the wide graph at fewer channels equals planning the physically smaller graph."""
    names = dict(zip("abc", widths, strict=True))
    wide = _thinned({"a": 16, "b": 16, "c": 32})
    small = _thinned(names)
    channels = {"stem_out": names["a"], "outer_out": names["a"], "inner_out": names["b"], "point_out": names["c"]}
    found = CostModel(wide, has_dsp=False).resources(channels)
    made = plan(small, has_dsp=False)
    assert found.arena_bytes == made.arena_lower_bound_bytes
    assert found.weights_bytes == made.weights_bytes
    assert found.macs == macs(small)
    assert found.instructions == sum(layer.instructions for layer in made.layers)


def test_soft_costs_meet_the_integers_and_carry_gradients() -> None:
    graph = _thinned({"a": 16, "b": 16, "c": 32})
    model = CostModel(graph, has_dsp=False)
    count = torch.tensor(12.0, requires_grad=True)
    channels = {"stem_out": count, "outer_out": count}
    at = model.resources(channels)
    assert at.arena_bytes.item() == model.resources({"stem_out": 12, "outer_out": 12}).arena_bytes
    for value in (at.arena_bytes, at.weights_bytes, at.macs, at.instructions):
        (gradient,) = torch.autograd.grad(value, count, retain_graph=True)
        assert gradient > 0
    between = model.resources({"inner_out": torch.tensor(11.5, requires_grad=True)})
    low, high = (model.resources({"inner_out": n}).weights_bytes for n in (11, 12))
    assert between.weights_bytes.item() == pytest.approx((low + high) / 2)


def test_only_the_peak_layer_gets_a_memory_gradient() -> None:
    graph = _thinned({"a": 16, "b": 16, "c": 32})
    model = CostModel(graph, has_dsp=False)
    channels = {n: torch.tensor(float(w), requires_grad=True) for n, w in (("inner_out", 16), ("point_out", 32))}
    found = model.resources(channels)
    found.arena_bytes.backward()
    touched = {name for name, value in channels.items() if value.grad is not None and value.grad.item() > 0}
    assert touched == {"point_out"} if found.peak_layer.startswith(("point", "dw")) else {"inner_out"}


def test_soft_shapes_on_integers_are_the_shapes() -> None:
    for network in NETWORKS:
        graph = network()
        shapes = soft_shapes(graph, {})
        assert {n: tuple(s) for n, s in shapes.items()} == {n: t.shape for n, t in graph.tensors.items()}


def test_rounding_up_keeps_ints_and_gradients() -> None:
    assert round_up(13, 4) == 16
    x = torch.tensor(13.5, requires_grad=True)
    y = round_up(x, 4)
    y.backward()
    assert (y.item(), x.grad.item() if x.grad is not None else None) == (16.0, 1.0)
    assert largest([3, x, 5]) is x


def test_latency_is_instructions_at_the_clock() -> None:
    assert latency_ms(10_000_000, 216e6) == pytest.approx(40.28, abs=0.01)
