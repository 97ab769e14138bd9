"""Board files: what ships is sound; every mistake is named."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinycompress import assets, boards
from tinycompress.errors import ConfigError

TEXT = (assets.directory("boards") / "stm32f746.toml").read_text()


def test_what_ships() -> None:
    assert boards.boards() == ("nucleo_f746zg", "stm32f746")
    assert boards.boards(hidden=True) == ("mps2-an500", "nucleo_f746zg", "stm32f746")
    board = boards.board("stm32f746")
    assert (board.ram_bytes, board.flash_bytes) == (320 * 1024, 1024 * 1024)
    assert board.clock_hz == 216_000_000
    assert [m.name for m in board.ram] == ["dtcm", "sram"]
    assert board.uart.pins is not None
    assert (board.uart.pins.tx_port, board.uart.pins.tx_pin) == (0, 9)
    assert (board.uart.pins.rx_port, board.uart.pins.rx_pin) == (1, 7)


@pytest.mark.parametrize("name", boards.boards(hidden=True))
def test_a_board_survives_json(name: str) -> None:
    board = boards.board(name)
    table = json.loads(json.dumps(dataclasses.asdict(board)))
    assert boards.parse(table, Path("test")) == board


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert boards.board(str(path)).id == "mine"


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("clock_hz", "clok_hz", "TC-C203", "did you mean 'clock_hz'"),
        ('port = "stm32f7"\n', "", "TC-C203", "'port' is missing"),
        ("stack_bytes = 8192", 'stack_bytes = "8 KB"', "TC-C204", "must be int, not '8 KB'"),
        ("hse_bypass = false", "hse_bypass = 0", "TC-C204", "must be bool"),
        ("name =", "name ;", "TC-C202", "cannot be read"),
        ("pll_n = 432", "pll_n = 400", "TC-C205", "is not clock_hz"),
        ("pll_m = 25", "pll_m = 0", "TC-C205", "is not clock_hz"),
        ('code = "flash"', 'code = "sram"', "TC-C205", "not a flash memory"),
        ("stack_bytes = 8192", "stack_bytes = 100", "TC-C205", "stack_bytes"),
        ('tx = "PA9"', 'tx = "A9"', "TC-C205", "not a pin"),
        ('alias_of = "flash"', 'alias_of = "rom"', "TC-C205", "does not exist"),
        ('name = "sram"', 'name = "dtcm"', "TC-C205", "same name"),
        ("start = 0x0800_0000", "start = 0xFFFF_F000", "TC-C205", "address space"),
        ("error = 0.40", "error = -1.0", "TC-C205", "calibration"),
    ],
)
def test_mistakes(old: str, new: str, code: str, words: str, tmp_path: Path) -> None:
    assert TEXT.count(old) >= 1
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        boards.board(str(path))
    assert caught.value.code == code
    assert words in str(caught.value)


def test_unknown_board_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"TC-C201.*did you mean 'stm32f746'"):
        boards.board("STM32F764")
    with pytest.raises(ConfigError, match="known boards: nucleo_f746zg, stm32f746"):
        boards.board("zzz")


def test_reading_boards_imports_little() -> None:
    heavy = ["numpy", "torch", "pydantic", "jinja2", "onnx", "serial", "elftools"]
    code = f"import sys, tinycompress.boards as b; b.boards(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
