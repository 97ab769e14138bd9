"""The zoo's architectures have the published sizes and import."""

from __future__ import annotations

import math

import pytest

from tinycompress.frontends.torch_export import import_module
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.zoo import ZOO


def macs_and_parameters(graph: Graph) -> tuple[int, int]:
    """Counted from shapes; parameters with one bias per output channel, as after batch-norm folding."""
    macs = parameters = 0
    for op in graph.ops:
        if isinstance(op, (o.Conv2D, o.DepthwiseConv2D, o.FullyConnected)):
            weights, out = graph.tensor(op.weights), graph.tensor(op.output)
            macs += weights.elements * math.prod(out.shape[:-1])
            parameters += weights.elements + out.shape[-1]
    return macs, parameters


@pytest.mark.parametrize("name", sorted(ZOO))
def test_network_has_the_published_size(name: str) -> None:
    network = ZOO[name]
    graph = import_module(network.build(), network.input_shape, name, network.preprocess)
    assert macs_and_parameters(graph) == (network.macs, network.parameters)
    assert graph.inputs[0].preprocess == network.preprocess
    assert not any(isinstance(op, o.Transpose) for op in graph.ops)
