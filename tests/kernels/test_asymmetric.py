"""Weights with a zero point: the portable kernels against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels import harness as h
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.kernels import KERNELS
from tinycompress.kernels.catalogue import KernelVariant, candidates

CASES = {
    "convolution": lambda rng, r: h.conv_graph(rng, padding=(1, 2, 0, 1), per_channel=False, rounding=r),
    "strided": lambda rng, r: h.conv_graph(
        rng, shape=(9, 8, 3), kernel=(2, 4), stride=(2, 3), padding=(1, 1, 1, 3), per_channel=False, rounding=r
    ),
    "groups": lambda rng, r: h.conv_graph(
        rng, shape=(5, 6, 6), out_channels=4, groups=2, dilation=(2, 1), per_channel=False, rounding=r
    ),
    "depthwise": lambda rng, r: h.depthwise_graph(
        rng, multiplier=2, stride=(2, 1), padding=(1, 1, 1, 1), per_channel=False, rounding=r
    ),
    "vector": lambda rng, r: h.fully_connected_graph(rng, rounding=r),
    "vectors": lambda rng, r: h.fully_connected_graph(rng, shape=(3, 4, 7), rounding=r),
}


def chosen(graph: QuantGraph) -> KernelVariant:
    return candidates(graph.ops[0], graph, KERNELS, has_dsp=True)[0]


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("zero_point", [-128, -3, 127])
@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_the_reference(name: str, zero_point: int, rounding: Rounding) -> None:
    rng = np.random.default_rng(zero_point + 200)
    graph = h.with_weights_zero_point(CASES[name](rng, rounding), zero_point)
    variant = chosen(graph)
    assert variant.name.endswith("_asymmetric")
    h.check(variant, graph, rng)


@pytest.mark.parametrize("name", CASES)
def test_symmetric_weights_stay_with_the_faster_kernels(name: str) -> None:
    graph = CASES[name](np.random.default_rng(0), Rounding.DOUBLE)
    assert not chosen(graph).name.endswith("_asymmetric")
