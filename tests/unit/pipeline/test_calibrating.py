"""The fit of cycles per instruction, and its table."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from tinycompress.boards import Calibration, board
from tinycompress.cost.model import latency_ms
from tinycompress.pipeline.calibrating import as_toml, fit
from tinycompress.pipeline.compressing import _clock_of


def test_the_factor_is_of_the_whole_and_the_error_of_the_worst_layer() -> None:
    found = fit(900.0, 1000.0, [540, 350, 50], [600, 400, 5], "net")
    assert found.cycles_per_instruction == 0.9
    assert found.error == pytest.approx(0.0278, abs=1e-4)  # 350 / 400 = 0.875; the third layer is too small to count


def test_the_table_reads_back() -> None:
    found = fit(930.0, 1000.0, [930], [1000], 'a "quoted" \\ name')
    table = tomllib.loads(as_toml(found))["calibration"]
    assert table == {"cycles_per_instruction": 0.93, "error": 0.0, "source": 'a "quoted" \\ name'}


def test_compression_takes_the_boards_own_factor() -> None:
    shipped = board("stm32f746")
    assert _clock_of(shipped) == shipped.clock_hz
    slow = replace(shipped, calibration=Calibration(1.74, 0.1, "measured"))
    assert _clock_of(slow) == pytest.approx(shipped.clock_hz / 2)
    assert latency_ms(1e6, _clock_of(slow)) == pytest.approx(1.74e9 / shipped.clock_hz)
