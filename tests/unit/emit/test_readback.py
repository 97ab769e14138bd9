"""Generated text that differs from its plan is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.plan.networks import residual
from tinycompress.emit import generate
from tinycompress.emit.library import name_library
from tinycompress.emit.readback import read_back
from tinycompress.plan import plan
from tinycompress.plan.check import PlanFault
from tinycompress.plan.planner import Schedule

MUTATIONS: dict[str, list[tuple[str, str]]] = {
    "layers": [
        (r"(static const tc_tensor residual_stem_out = \{)(\d+)", r"\g<1>4\g<2>"),
        (r"(for \(int32_t y = 0; y < residual_stem_out.rows; )\+\+y", r"\g<1>y += 2"),
        (r"tc_conv2d_s8\(&residual_stem_params", "tc_conv3d_s8(&residual_stem_params"),
        (r"tc_rows_in\(in, arena, &residual_stem_out", "tc_rows_in(in, arena, &residual_x0"),
    ],
    "streamed": [
        (r"(residual_stem_out_words\[12\] = \{\s*)(\d+)u", r"\g<1>1\g<2>u"),
        (r"(residual_program\[\d+\] = \{\s*(?:/\*.*?\*/)\s*)0", r"\g<1>1"),
        (r"(_SCRATCH_\w+ = )(\d+)", r"\g<1>8\g<2>"),
    ],
}


@pytest.mark.parametrize(("schedule", "index"), [(s, i) for s, all_of in MUTATIONS.items() for i in range(len(all_of))])
def test_a_changed_table_call_or_program_is_refused(tmp_path: Path, schedule: Schedule, index: int) -> None:
    made = plan(residual(), has_dsp=False, schedule=schedule)
    program = generate(made, tmp_path)
    text = (tmp_path / "residual.c").read_text()
    naming = name_library(made)
    read_back(text, made, naming)
    pattern, replacement = MUTATIONS[schedule][index]
    broken = re.sub(pattern, replacement, text, count=1, flags=re.DOTALL)
    assert broken != text
    with pytest.raises(PlanFault):
        read_back(broken, made, naming)
    assert program.prefix == "residual"
