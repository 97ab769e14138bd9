"""Cross-layer equalization: the closed form, and the float function unchanged."""

from __future__ import annotations

import numpy as np

from tests.unit.quantize.small import Builder, samples, small_network
from tinycompress.execute import float_reference
from tinycompress.ir import ops as o
from tinycompress.quantize.equalize import equalize, find_pairs


def test_ranges_eight_and_a_half_meet_at_two() -> None:
    b = Builder()
    x = b.input("x", (1,))
    h = b.op(o.FullyConnected, x, weights=b.constant("w1", [[8.0]]), bias=b.constant("b1", [4.0]), activation=o.RELU)
    y = b.op(o.FullyConnected, h, weights=b.constant("w2", [[0.5]]))
    equal = equalize(b.graph(y))
    assert equal.tensors["w1"].constant.item() == 2.0
    assert equal.tensors["w2"].constant.item() == 2.0
    assert equal.tensors["b1"].constant.item() == 1.0


def test_output_is_unchanged_over_conv_depthwise_and_pointwise() -> None:
    b = Builder(5)
    x = b.input("x", (6, 6, 3))
    h = b.conv(x, 8, activation=o.RELU)
    d = b.depthwise(h, activation=o.RELU)
    graph = b.graph(b.conv(d, 4, 1))
    assert len(find_pairs(graph)) == 2
    equal = equalize(graph)
    data = {"x": samples(graph)}
    np.testing.assert_allclose(
        float_reference.run(equal, data).output, float_reference.run(graph, data).output, rtol=1e-4, atol=1e-5
    )
    ranges = [
        np.abs(equal.tensors[op.weights].constant).max(axis=(0, 1))
        for op in equal.ops
        if isinstance(op, o.DepthwiseConv2D)
    ]
    first = np.abs(equal.tensors["w0"].constant).max(axis=(1, 2, 3))
    np.testing.assert_allclose(first, ranges[0], rtol=0.01)


def test_clamped_and_branching_layers_are_left_alone() -> None:
    assert all(pair.second.activation is not None for pair in find_pairs(small_network()))
    b = Builder()
    x = b.input("x", (6, 6, 3))
    capped = b.conv(x, 8, activation=o.RELU6)
    graph = b.graph(b.conv(capped, 4, 1))
    assert find_pairs(graph) == ()
