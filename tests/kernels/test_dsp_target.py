"""The assembly of the DSP kernels, built by both toolchains and run under QEMU, against the reference."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.kernels import dsp_cases, int16_cases
from tests.kernels import dsp_image as image
from tinycompress.kernels import DSP


@pytest.mark.parametrize("family", [dsp_cases, int16_cases])
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_every_kernel_is_exact_on_the_target(toolchain: str, family: ModuleType, tmp_path: Path) -> None:
    reason = image.missing_tool(toolchain)
    if reason is not None:
        pytest.skip(reason)
    cases = family.all_cases()
    unsupported = [c.name for c in cases if not c.variant.supports(c.op, c.graph)]
    assert unsupported == []
    outcomes = image.run(image.build(cases, toolchain, tmp_path))
    assert [c.name for c in cases if c.name not in outcomes or not outcomes[c.name].is_exact] == []
    for case in cases:
        assert case.variant.instructions is not None
        estimate = case.variant.instructions(case.op, case.graph)
        counted = outcomes[case.name].instructions
        assert 0.5 * counted < estimate < 1.5 * counted or counted < 2000, (
            f"{case.name}: estimated {estimate}, counted {counted}"
        )


def test_every_dsp_variant_is_among_the_cases() -> None:
    cases = [*dsp_cases.all_cases(), *int16_cases.all_cases()]
    assert {v.name for variants in DSP.values() for v in variants} == {c.variant.name for c in cases}
