"""Tables fit the terminal: what goes, what is shortened, and what never is."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import command, environment, tinycompress
from tinycompress.cli.tables import shortened, table_lines

HEADER = ("#", "layer", "output", "kernel", "MACs", "live", "")
ROWS = (
    ("0", "short", "25x5x64", "conv2d_packed_s8_dsp", "320,000", "11,252", "#####"),
    (
        "1",
        "a_layer_with_a_rather_long_name_at_its_end_7",
        "25x5x64",
        "depthwise3x3_s8_dsp",
        "72,000",
        "16,224",
        "########",
    ),
)
RIGHT = (0, 4, 5)


def lines(columns: int | None) -> list[str]:
    return table_lines((HEADER, *ROWS), RIGHT, (3, 2), columns)


def test_a_table_that_fits_is_as_it_would_be_without_a_limit() -> None:
    whole = lines(None)
    assert lines(max(map(len, whole))) == whole
    assert whole[2].split() == list(ROWS[1])


@pytest.mark.parametrize("columns", [100, 80, 72, 60, 50, 40])
def test_numbers_stay_whole_and_lines_short(columns: int) -> None:
    made = lines(columns)
    assert all(len(line) <= columns for line in made), made
    assert len(made) == 3
    for line, row in zip(made[1:], ROWS, strict=True):
        assert row[0] in line.split()
        assert row[4] in line.split()
        assert row[5] in line.split()
        assert "#####" not in line


def test_names_keep_both_ends_and_columns_go_in_order() -> None:
    assert shortened("conv_2d_block_17_expand", 12) == "conv_2…xpand"
    assert [len(shortened("x" * 30, n)) for n in (1, 2, 3, 12)] == [1, 2, 3, 12]
    assert "kernel" in lines(80)[0]
    assert "kernel" not in lines(50)[0]
    assert "output" in lines(50)[0]
    assert "output" not in lines(40)[0]
    assert "a_layer_wi…_its_end_7" in lines(50)[2]


def test_what_users_type_is_never_shortened() -> None:
    boards = table_lines((("board", "name"), ("nucleo_f746zg", "A board with a name")), (), (1,), 30, whole=(0,))
    assert boards[1].startswith("nucleo_f746zg  A board")


def test_sentences_are_wrapped_and_lose_nothing() -> None:
    row = ("flash", "55,710 B of 1.00 MB: 36,923 B weights + 599 B other constants + 18,188 B code", "exact")
    made = table_lines((("result", "on unicorn", "number"), row), (), (), 50)
    assert len(made) > 2
    assert all(len(line) <= 50 for line in made)
    assert sorted(" ".join(made[1:]).split()) == sorted(" ".join(row).split())


def test_only_a_terminal_has_a_width(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command("ops"), stdout=theirs, check=True, cwd=tmp_path, env=environment(COLUMNS="60"))
        shown = os.read(ours, 1 << 20).decode().splitlines()
    finally:
        os.close(ours)
        os.close(theirs)
    assert max(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in shown) <= 60
    assert max(map(len, tinycompress("ops", cwd=tmp_path, COLUMNS="60").stdout.splitlines())) > 100
