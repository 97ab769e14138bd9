"""Counted instructions of single kernels on layers of the MLPerf Tiny networks, beside CMSIS-NN's where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.kernels import dsp_image as image
from tests.kernels import harness as h
from tests.kernels.attention_graphs import layer_norm_graph, matmul_graph
from tests.kernels.dsp_cases import Case, add, conv2d, depthwise, fully_connected
from tests.kernels.int16_cases import conv2d as int16_conv2d
from tinycompress.cost.macs import macs
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.ir.quant_params import FIXED_OUTPUTS
from tinycompress.kernels import DSP, KERNELS

CMSIS_NN = {"pointwise": 1_051_253, "depthwise": 594_597, "first-rgb": 3_100_000, "first-spectrum": 1_120_000,
            "fc-640": 160_391, "add": 1_339_228, "conv-16": 5_505_000, "conv-64": 4_157_000}  # fmt: skip
"""Instructions of the same layer in CMSIS-NN (GCC -O3, best flags), counted under QEMU."""


def layers() -> list[Case]:
    """The layers, each with the kernel that a large flash allows."""
    kernels = {variant.name: variant for variants in DSP.values() for variant in variants}
    direct, winograd = kernels["conv2d_s8_dsp"], kernels["conv2d_winograd_s8_dsp"]
    same, down, small = (1, 1, 1, 1), (0, 0, 1, 1), 2.0**-10
    return [
        conv2d(direct, "pointwise", (25, 5, 64), 64, (1, 1)),
        conv2d(kernels["conv2d_packed_s8_dsp"], "pointwise-packed", (25, 5, 64), 64, (1, 1)),
        depthwise(kernels["depthwise3x3_s8_dsp"], "depthwise", (25, 5, 64)),
        depthwise(kernels["depthwise3x3_stride2_s8_dsp"], "depthwise-stride2", (24, 24, 32), stride=2, padding=down),
        conv2d(direct, "first-rgb", (96, 96, 3), 8, (3, 3), stride=(2, 2), padding=down),
        conv2d(direct, "first-spectrum", (49, 10, 1), 64, (10, 4), stride=(2, 2), padding=(4, 1, 5, 1)),
        conv2d(winograd, "conv-16", (32, 32, 16), 16, (3, 3), padding=same, scale=small, spread=1.5),
        conv2d(winograd, "conv-32", (16, 16, 32), 32, (3, 3), padding=same, scale=small, spread=1.5, kind="small"),
        conv2d(winograd, "conv-64", (8, 8, 64), 64, (3, 3), padding=same, scale=small, spread=1.5, kind="small"),
        conv2d(
            kernels["conv2d_polyphase_s8_dsp"],
            "conv-16-stride2",
            (32, 32, 16),
            32,
            (3, 3),
            stride=(2, 2),
            padding=down,
            scale=small,
            spread=1.5,
        ),
        fully_connected(kernels["fully_connected_s8_dsp"], "fc-640", (640,), 128),
        fully_connected(kernels["fully_connected_packed_s8_dsp"], "fc-640-packed", (640,), 128),
        add("add", (32, 32, 16), (0.7, 1.1)),
        *_both_tiers(),
    ]


def _both_tiers() -> list[Case]:
    """Attention of 49 steps, and a convolution of int16: every kernel of it, the portable one last."""
    rng = np.random.default_rng(0)
    softmax = o.Softmax(name="op", inputs=("x",), outputs=("y",))
    graphs = {
        "scores": matmul_graph(rng, (4, 49, 8), 49, is_transposed=True),
        "weighted-sums": matmul_graph(rng, (4, 49, 49), 8, is_transposed=True),
        "layer-norm": layer_norm_graph(rng, (49, 64)),
        "softmax": h.one_op_graph(
            softmax, [h.quantized("x", (49, 49), 0.05, 3)], [FIXED_OUTPUTS[o.Softmax]], Rounding.DOUBLE
        ),
    }
    cases = []
    for name, graph in graphs.items():
        (op,) = graph.ops
        values = {n: h.fill(rng, graph.tensors[n]) for n in graph.input_names}
        found = (v for v in KERNELS[type(op)] if v.supports(op, graph))
        cases += [Case(f"{name}-{v.name}", v, graph, values) for v in found]
    wide = (v for v in KERNELS[o.Conv2D] if "s16" in v.name)
    cases += [int16_conv2d(v, f"int16-{v.name}", (12, 12, 16), 16, (3, 3), padding=(1, 1, 1, 1)) for v in wide]
    return cases


@pytest.mark.bench
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_kernel_counts(toolchain: str, tmp_path: Path) -> None:
    reason = image.missing_tool(toolchain)
    if reason is not None:
        pytest.skip(reason)
    cases = layers()
    outcomes = image.run(image.build(cases, toolchain, tmp_path))
    print(
        f"\n{'layer':32} {'kernel':30} {'counted':>10} {'per MAC':>8} {'per value':>9} {'CMSIS-NN':>10}   ({toolchain})"
    )
    for case in cases:
        counted = outcomes[case.name].instructions
        peer = CMSIS_NN.get(case.name)
        products, values = macs(case.graph), case.graph.tensors[case.op.outputs[0]].elements
        ratio = f"{counted / products:8.3f}" if products else f"{'':8}"
        print(f"{case.name:32} {case.variant.name:30} {counted:10,} {ratio} {counted / values:9.1f} {peer or '':>10}")
        assert outcomes[case.name].is_exact
        assert peer is None or counted < peer
