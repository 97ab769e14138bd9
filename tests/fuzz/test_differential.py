"""A few of the random graphs of `python -m tests.fuzz.differential`, and that it would see a difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import differential
from tests.kernels.dsp_image import missing_tool


def test_reference_equals_the_c_here_and_on_a_cortex_m7(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if (missing := missing_tool("zig")) is not None:
        pytest.skip(missing)
    found = differential.run_batch(range(int(request.config.getoption("--fuzz-runs") or 12)), tmp_path)
    assert found.differing == ()
    assert found.graphs >= 10
    assert len(found.kinds) >= 15


def test_reference_equals_the_c_of_int16_activations(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if (missing := missing_tool("zig")) is not None:
        pytest.skip(missing)
    found = differential.run_batch(range(int(request.config.getoption("--fuzz-runs") or 8)), tmp_path, is_wide=True)
    assert found.differing == ()
    assert found.graphs >= 6
    assert {"Conv2D", "DepthwiseConv2D", "FullyConnected"} <= set(found.kinds)


def test_one_changed_byte_is_seen(tmp_path: Path) -> None:
    case = differential.case_of(0, tmp_path)
    assert case is not None
    good = "\n".join(f"{case.seed} {sample} {tensor} {value}" for (sample, tensor), value in case.expected.items())
    assert differential.differences(good, [case], "host") == []
    for (sample, tensor), value in case.expected.items():
        wrong = replace(case, expected={**case.expected, (sample, tensor): value ^ 1})
        assert len(differential.differences(good, [wrong], "host")) == 1
    assert len(differential.differences("", [case], "host")) == len(case.expected)


def test_digests_depend_on_every_byte_and_row() -> None:
    values = np.random.default_rng(0).integers(-128, 128, (3, 4, 5)).astype(np.int8)
    first = differential.digest(values, 3)
    assert differential.digest(values[[1, 0, 2]], 3) != first
    for at in np.ndindex(values.shape):
        changed = values.copy()
        changed[at] ^= 1
        assert differential.digest(changed, 3) != first
