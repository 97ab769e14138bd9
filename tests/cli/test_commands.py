"""The command line as a user meets it: stdout, stderr, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Outcome, fails, tinycompress

COMMANDS = (
    *("deploy", "analyze", "compress", "quantize", "generate", "build", "flash", "measure", "profile", "simulate"),
    *("boards", "ops", "doctor", "explain", "report", "calibrate", "compare-gpu"),
)


def test_help_lists_the_commands(golden: Callable[[str, str], None]) -> None:
    done = tinycompress("--help")
    assert done.returncode == 0
    golden("cli/help.txt", done.stdout)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, golden: Callable[[str, str], None]) -> None:
    done = tinycompress(command, "--help")
    assert done.returncode == 0, done.stderr
    golden(f"cli/help-{command}.txt", done.stdout)


def test_help_explains_arguments_and_shows_no_markup() -> None:
    for name, words in (("analyze", "or a Python factory"), ("report", "Run directories"), ("explain", "id, e.g.")):
        shown = tinycompress(name, "--help").stdout
        assert words in " ".join(shown.split())
        assert "\\" not in shown
        assert shown.lower().count("arguments:") == 1


def test_nothing_is_coloured_in_a_pipe() -> None:
    done = tinycompress("boards")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_one_document() -> None:
    boards = json.loads(tinycompress("boards", "--json").stdout)
    assert {"stm32f746", "nucleo_f746zg"} <= {b["id"] for b in boards}


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["deploy", "nothing.onnx", "--board", "stm32f746"], 2, "TC-C105"),
        (["deploy", "x.tflite", "--board", "stm32f764"], 2, "TC-C201"),
        (["deploy", "--recipe", "none.toml"], 2, "TC-C101"),
        (["explain", "TC-X999"], 2, "TC-C130"),
        (["report", "nowhere"], 2, "TC-C110"),
    ],
)
def test_usage_errors(arguments: list[str], status: int, code: str, tmp_path: Path) -> None:
    fails(tinycompress(*arguments, cwd=tmp_path), status, code)


def test_an_unknown_board_names_the_nearest(tmp_path: Path) -> None:
    assert "'stm32f746'" in tinycompress("deploy", "x.tflite", "--board", "stm32f764", cwd=tmp_path).stderr


def test_a_mistyped_command_is_suggested_once() -> None:
    assert tinycompress("analyse", "x").stderr.count("'analyze'") == 1


def test_an_unknown_flag_is_a_usage_error() -> None:
    assert tinycompress("deploy", "--bord", "x").returncode == 2


def test_quantize_says_where_the_file_is(inside: Callable[..., Outcome], model: Path) -> None:
    status, out, _ = inside("quantize", model, "--output", "q.tflite")
    assert status == 0
    assert out.splitlines()[0].endswith(", in q.tflite")
    assert json.loads(inside("quantize", model, "--output", "q.tflite", "--json")[1])["output"] == "q.tflite"
