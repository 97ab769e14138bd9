"""Kernels of int16 activations against the reference, in the sanitized driver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.kernels import harness as h
from tests.oracle.wide_graphs import WIDE_STEPS, wide_graph
from tinycompress.ir.graph import Rounding
from tinycompress.kernels import KERNELS
from tinycompress.kernels.catalogue import candidates

MOVING = ("Pad", "Concat", "Quantize")
"""Operators whose kernels are those of int8."""


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("kind", sorted(set(WIDE_STEPS) - set(MOVING)))
def test_kernel_equals_the_reference(kind: str, rounding: Rounding) -> None:
    covered = 0
    for seed in range(10):
        graph = replace(wide_graph(seed, (kind,), 1), rounding=rounding)
        for op in graph.ops:
            variants = candidates(op, graph, KERNELS, has_dsp=True)
            assert variants, f"{op.kind} has no kernel"
            assert all(v.name.endswith(("_s16", "_s16_dsp")) for v in variants)
            for variant in variants:
                h.check(variant, graph, np.random.default_rng(seed))
            covered += 1
    assert covered >= 4
