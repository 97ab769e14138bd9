"""Options and fixtures shared by all tests."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files instead of comparing")
    parser.addoption("--board", default=None, help="board id for tests/hil")
    parser.addoption("--port", default=None, help="serial port of the board for tests/hil")
    parser.addoption(
        "--fuzz-runs", type=int, default=None, help="mutants per fuzz test (default: a small fixed number)"
    )


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data and third-party models, from TINYCOMPRESS_DATA; the test is skipped where it is not set."""
    value = os.environ.get("TINYCOMPRESS_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("TINYCOMPRESS_DATA does not name the folder with real data and third-party models")
    return Path(value)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares text with tests/golden/<name>, or rewrites it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != expected:
            diff = difflib.unified_diff(expected.splitlines(), text.splitlines(), "golden", "now", lineterm="")
            pytest.fail(f"{name} differs (make golden rewrites it when that was meant):\n" + "\n".join(diff))

    return compare
