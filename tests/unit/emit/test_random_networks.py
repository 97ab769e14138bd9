"""Random networks through both schedules: planned, checked, generated, compiled, equal to the reference everywhere."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.emit.test_exactness import assert_exact
from tests.unit.plan.networks import Net
from tinycompress.emit import generate
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.plan import plan


def random_network(seed: int) -> QuantGraph:
    """Convolutions of any stride and padding, depthwise, joins, tables, concats, pools and a dense head."""
    generator = random.Random(seed)
    net = Net(f"random{seed}", seed)
    names = [net.input(generator.randint(6, 13), generator.randint(5, 11), generator.choice((1, 2, 3, 4, 8)))]
    for _ in range(generator.randint(3, 8)):
        x = generator.choice(names[-3:])
        height, width, channels = net.tensors[x].shape
        same = [n for n in names if net.tensors[n].shape == (height, width, channels) and n != x]
        beside = [n for n in names if net.tensors[n].shape[:2] == (height, width)]
        kind = generator.choice(("conv", "conv", "point", "depthwise", "add", "table", "concat", "pool"))
        if kind == "add" and same:
            names.append(net.add(x, generator.choice(same)))
        elif kind == "table":
            names.append(net.table(x))
        elif kind == "concat":
            names.append(net.concat(x, generator.choice(beside)))
        elif kind == "depthwise":
            names.append(net.depthwise(x, stride=generator.choice((1, 2))))
        elif kind == "pool" and min(height, width) >= 3:
            names.append(net.average(x, 3, generator.choice((1, 2))))
        elif kind == "point":
            outputs = generator.choice((3, 4, 8, 16))
            names.append(net.conv(x, outputs, 1, generator.choice((1, 2)), 0, activation=o.RELU))
        else:
            kernel = generator.choice([k for k in (1, 3, 3, 5) if k <= min(height, width)])
            outputs = generator.choice((2, 4, 5, 8))
            names.append(net.conv(x, outputs, kernel, generator.choice((1, 2)), generator.randint(0, kernel // 2)))
    height, width, _ = net.tensors[names[-1]].shape
    head = net.average(names[-1], height, 1) if height == width else names[-1]
    net.dense(net.flatten(head), 6)
    read = {n for op in net.ops for n in op.inputs}
    outputs = [op.outputs[0] for op in net.ops if op.outputs[0] not in read]
    return net.build(*outputs, rounding=generator.choice(list(Rounding)))


@pytest.mark.parametrize("seed", range(14))
def test_random_network(tmp_path: Path, seed: int) -> None:
    graph = random_network(seed)
    has_dsp = seed % 2 == 0
    layers = plan(graph, has_dsp=has_dsp)
    streamed = plan(graph, has_dsp=has_dsp, schedule="streamed")
    assert streamed.arena_bytes <= layers.arena_bytes
    assert_exact(generate(layers, tmp_path / "layers").host(), graph, 4)
    assert_exact(generate(streamed, tmp_path / "streamed").host(), graph, 4)
