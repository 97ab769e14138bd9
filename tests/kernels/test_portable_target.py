"""The portable kernels, built for a Cortex-M7 by both toolchains and run under QEMU: exact, and about as estimated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import dsp_image as image
from tests.kernels.portable_cases import all_cases, copies, other_types
from tinycompress.kernels import PORTABLE

WEIGHTED = ("conv2d_s8", "depthwise_s8", "fully_connected_s8", "transpose_conv2d_s8")


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_portable_kernels_on_the_target(toolchain: str, tmp_path: Path) -> None:
    reason = image.missing_tool(toolchain)
    if reason is not None:
        pytest.skip(reason)
    cases = all_cases()
    outcomes = image.run(image.build(cases, toolchain, tmp_path))
    assert [c.name for c in cases if c.name not in outcomes or not outcomes[c.name].is_exact] == []
    for case in cases:
        assert case.variant.instructions is not None
        estimate = case.variant.instructions(case.op, case.graph)
        counted = outcomes[case.name].instructions
        factor = 1.8 if case.variant.name in WEIGHTED else 5.0  # copies depend on the toolchain's memcpy
        assert counted / factor < estimate < counted * factor, f"{case.name}: estimated {estimate}, counted {counted}"


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_kernels_of_other_types_on_the_target(toolchain: str, tmp_path: Path) -> None:
    reason = image.missing_tool(toolchain)
    if reason is not None:
        pytest.skip(reason)
    cases = [*other_types(), *copies()]
    outcomes = image.run(image.build(cases, toolchain, tmp_path))
    assert [c.name for c in cases if c.name not in outcomes or not outcomes[c.name].is_exact] == []


def test_every_portable_variant_is_among_the_cases() -> None:
    names = {v.name for variants in PORTABLE.values() for v in variants}
    missing = names - {c.variant.name for c in (*all_cases(), *other_types())}
    assert {n for n in missing if not n.endswith("_whole")} == set()
