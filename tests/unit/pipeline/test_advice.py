"""A missed budget names the command that comes next, in the words the user typed."""

from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from tinycompress.boards import board
from tinycompress.config import Config, load_config
from tinycompress.errors import BudgetError
from tinycompress.pipeline.advice import advice, compress_command

TYPED = {"": "my net.py:make", "--weights": "w.pt", "--ram": "1KB", "--trust-model": True}


def pipeline(config: Config) -> Any:
    return SimpleNamespace(config=config, board=board("stm32f746"), imported=object())


def told(code: str, settings: dict[str, Any] | None = None, typed: dict[str, str | bool] | None = None) -> str:
    config = load_config(None, settings, {}).saying(TYPED if typed is None else typed)
    return advice(BudgetError(code, "too large", fix="own"), pipeline(config)) or ""


def test_what_was_typed_is_repeated_and_what_lacks_is_asked_for() -> None:
    command = compress_command(Config().saying(TYPED), {"--ram": "2560"})
    words = ["tinycompress", "compress", "my net.py:make", "--weights", "w.pt", "--ram", "2560", "--trust-model"]
    assert shlex.split(command) == [*words, "--data", "DATA"]
    assert compress_command(Config().saying({"--recipe": "r.toml", "--data": "d.npz"}), {}) == (
        "tinycompress compress --recipe r.toml --data d.npz"
    )
    assert compress_command(load_config(None, {"model.source": "n.onnx", "data.source": "d"}, {}), {}) == (
        "tinycompress compress n.onnx"
    )


def test_the_boards_memory_becomes_the_budget_where_it_was_the_limit() -> None:
    chip = board("stm32f746")
    assert f"--ram {chip.ram_bytes - chip.stack_bytes}`" in told("TC-B101", typed={"": "n.onnx", "--data": "d"})
    assert f"--flash {chip.flash_bytes}" in told("TC-B102", typed={"": "n.onnx"})
    assert "--ram 1KB" in told("TC-B101", {"budget.ram_bytes": "1KB"})
    assert told("TC-B101", {"plan.schedule": "layers"}).startswith("let it stream (`--schedule auto`), or compress")


@pytest.mark.parametrize(("code", "flag"), [("TC-B112", "--flash"), ("TC-B111", "--latency-ms"), ("TC-B113", "macs")])
def test_a_compressed_network_gets_slack_and_not_a_second_compression(code: str, flag: str) -> None:
    assert flag in told(code, {"compress.seed": 1})
    assert "tinycompress compress" not in told(code, {"compress.seed": 1})


def test_the_nearest_budget_is_a_command_where_flags_can_say_it() -> None:
    error = BudgetError("TC-B201", "too small", fix="own")
    error.known = {"nearest": {"ram_bytes": 2560, "flash_bytes": 8539}}
    config = load_config(None, {"compress.seed": 1}, {}).saying({"": "n.onnx", "--ram": "1KB"})
    assert "compress n.onnx --ram 2560 --flash 8539 --data DATA`" in (advice(error, pipeline(config)) or "")
    error.known = {"nearest": {"macs": 10}}
    assert advice(error, pipeline(config)) == "own"
