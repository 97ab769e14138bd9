"""The public API: names, laziness, and one way through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinycompress as tc


def test_names_resolve_and_are_sorted() -> None:
    assert list(tc.__all__) == sorted(tc.__all__)
    for name in tc.__all__:
        assert getattr(tc, name) is not None
    with pytest.raises(AttributeError):
        tc.nothing  # noqa: B018


def test_functions_win_over_sub_packages_of_their_name() -> None:
    import tinycompress.plan.planner
    import tinycompress.quantize.ptq  # noqa: F401

    assert callable(tc.plan)
    assert callable(tc.quantize)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, tinycompress; print([m for m in ('torch', 'numpy', 'pydantic', 'onnx') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_from_module_to_c(tmp_path: Path) -> None:
    from tinycompress.zoo import mnist_small

    graph = tc.load(mnist_small())
    calibration = np.random.default_rng(0).random((8, 28, 28, 1), dtype=np.float32)
    quantized = tc.quantize(graph, calibration)
    analysis = tc.analyze(quantized, "stm32f746")
    program = tc.generate(tc.plan(quantized, "stm32f746"), tmp_path / "c")
    assert analysis.fits
    assert analysis.arena_bytes == program.arena_bytes
    assert (tmp_path / "c" / program.header).exists()
