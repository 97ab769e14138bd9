"""No holes between the rooms' tables, and every diagnostic has its text."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tinycompress.execute.torch_module import TORCH
from tinycompress.explain import texts
from tinycompress.ir.ops import ALL_OPS, Reshape
from tinycompress.ir.shapes import SHAPES
from tinycompress.operators import FLOAT_ONLY, support

PACKAGE = Path(__file__).parents[2] / "tinycompress"


def test_every_operator_is_in_every_table() -> None:
    assert set(SHAPES) == set(TORCH) == set(ALL_OPS)
    rows = {row.op: row for row in support()}
    for op in ALL_OPS:
        row = rows[op.__name__]
        assert row.float_reference, f"{row.op} has no float reference"
        if op not in FLOAT_ONLY:
            assert row.integer_reference, f"{row.op} has no integer reference"
            assert row.kernels or op is Reshape, f"{row.op} has no kernel"


def test_every_diagnostic_is_explained_and_raised() -> None:
    raised = set()
    for path in PACKAGE.rglob("*.py"):
        if "explain" not in path.parts:
            raised |= set(re.findall(r"TC-[A-Z]\d{3}", path.read_text(encoding="utf-8")))
    known = set(texts())
    assert raised - known == set(), "codes without a text"
    assert known - raised == set(), "texts without a code"


def test_every_diagnostic_of_settings_data_and_boards_has_a_fix() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and str(getattr(node.args[0], "value", "")).startswith("TC-C"):
                given = {keyword.arg for keyword in node.keywords}
                assert "fix" in given, f"{path.relative_to(PACKAGE)}:{node.lineno} says no fix"
