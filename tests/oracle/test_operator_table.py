"""The README's operator table is what the command that makes it finds now; onnx's own node tests hold."""

from __future__ import annotations

import collections
import warnings

import pytest

from tests.bench import onnx_backend, operators


def test_readme_has_the_table_that_the_oracles_give() -> None:
    text = operators.README.read_text(encoding="utf-8")
    assert operators.with_table(text, operators.table()) == text, "run python -m tests.bench.operators --write"


@pytest.mark.slow
def test_onnx_node_tests_pass_or_are_refused() -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    with warnings.catch_warnings():
        # The library's own test generators divide by zero and take logarithms of it.
        warnings.simplefilter("ignore")
        for name, model, inputs, outputs in onnx_backend.node_cases():
            result, why = onnx_backend.outcome(model, inputs, outputs)
            outcomes[result] += 1
            assert result in ("passed", "refused"), f"{name}: {why}"
    assert outcomes["passed"] >= 240
