"""The C twins of the DSP kernels on the host, with sanitizers, against the reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import harness as h
from tests.kernels.test_convolutions import windows
from tinycompress.ir import ops as o
from tinycompress.kernels import DSP


@settings(max_examples=100, deadline=None, derandomize=True)
@given(window=windows(), inputs=st.integers(1, 9), outputs=st.integers(1, 7), seed=st.integers(0, 999))
def test_conv2d_equals_the_reference(window: dict[str, object], inputs: int, outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = window.pop("shape")  # type: ignore[misc]
    graph = h.conv_graph(rng, shape=(height, width, inputs), out_channels=outputs, **window)  # type: ignore[arg-type]
    for variant in DSP[o.Conv2D]:
        if variant.supports(graph.ops[0], graph):
            h.check(variant, graph, rng)
