"""Counted instructions of single kernels on layers of the MLPerf Tiny networks, beside CMSIS-NN's where it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import dsp_image as image
from tests.kernels.dsp_cases import Case, add, conv2d, depthwise, fully_connected
from tinycompress.ir import ops as o
from tinycompress.kernels import DSP

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
    ]


@pytest.mark.bench
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_kernel_counts(toolchain: str, tmp_path: Path) -> None:
    reason = image.missing_tool(toolchain)
    if reason is not None:
        pytest.skip(reason)
    cases = layers()
    outcomes = image.run(image.build(cases, toolchain, tmp_path))
    print(f"\n{'layer':20} {'kernel':30} {'counted':>10} {'per MAC':>8} {'CMSIS-NN':>10}   ({toolchain})")
    for case in cases:
        counted = outcomes[case.name].instructions
        peer = CMSIS_NN.get(case.name)
        macs = _macs(case)
        ratio = f"{counted / macs:8.3f}" if macs else f"{'':8}"
        print(f"{case.name:20} {case.variant.name:30} {counted:10,} {ratio} {peer or '':>10}")
        assert outcomes[case.name].is_exact
        assert peer is None or counted < peer


def _macs(case: Case) -> int:
    """Multiply-accumulates of a weighted layer, 0 for others."""
    op, tensors = case.op, case.graph.tensors
    if not isinstance(op, o.Conv2D | o.DepthwiseConv2D | o.FullyConnected):
        return 0
    weights, y = tensors[op.weights], tensors[op.output]
    outputs = weights.shape[2] if isinstance(op, o.DepthwiseConv2D) else weights.shape[0]
    return y.elements * weights.elements // outputs
