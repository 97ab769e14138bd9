"""One small integer network for all tests of the command line, and one finished run of it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Outcome, onnx_network, tinycompress


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the networks below lie."""
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def float_model(folder: Path) -> Path:
    """A float ONNX network, 8x8x1 to 2 values."""
    return onnx_network(folder / "net.onnx")


@pytest.fixture(scope="session")
def model(float_model: Path, folder: Path) -> Path:
    """The same as int8 TFLite, made by the command line itself."""
    path = folder / "small.tflite"
    done = tinycompress("quantize", float_model, "--calibration", "random", "--output", path, cwd=folder)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def run(model: Path, folder: Path) -> Path:
    """The run directory of an emulated deployment."""
    done = tinycompress("deploy", model, "--emulate", "--json", "--run", folder / "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.json").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder / "run"


@pytest.fixture(scope="session")
def printed(run: Path) -> dict[str, Any]:
    """The JSON document which that deployment printed."""
    document: dict[str, Any] = json.loads((run.parent / "stdout.json").read_text())
    return document


@pytest.fixture
def inside(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """`inside(*arguments)` runs a command in this process and an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("TINYCOMPRESS_") and n != "TINYCOMPRESS_CACHE"]:
        monkeypatch.delenv(name)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # typer imports names that click calls old
        from tinycompress.cli.app import run as run_command

    def invoke(*arguments: str | Path) -> Outcome:
        status = run_command([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return invoke
