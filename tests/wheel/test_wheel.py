"""The built wheel, installed elsewhere with few packages, generates C from a stored graph without torch."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from tinycompress.ir.store import save
from tinycompress.quantize.ptq import quantize

ROOT = Path(__file__).parents[2]
LIGHT = ("numpy", "jinja2", "typer>=0.15,<0.21", "rich", "pydantic>=2.7")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment outside the checkout with the wheel and the light packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv/bin/pip"), "install", "-q", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *LIGHT], check=True, capture_output=True, text=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True, text=True)
    return folder


def stored_network(folder: Path) -> Path:
    """A quantized zoo network as a stored graph."""
    from tinycompress.api import load
    from tinycompress.zoo import mnist_small

    calibration = np.random.default_rng(0).random((8, 28, 28, 1), dtype=np.float32)
    return save(quantize(load(mnist_small()), calibration), folder / "graph")


def test_generate_without_torch(elsewhere: Path) -> None:
    graph = stored_network(elsewhere)
    command = [str(elsewhere / "venv/bin/tinycompress"), "generate", str(graph), "-o", str(elsewhere / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert {p.suffix for p in (elsewhere / "c").iterdir()} == {".c", ".h", ".txt"}
    listed = subprocess.run(
        [str(elsewhere / "venv/bin/pip"), "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "torch" not in listed


def test_boards_and_help_come_from_the_wheel(elsewhere: Path) -> None:
    for arguments in (["boards"], ["--help"], ["explain", "TC-M001"], ["doctor"]):
        command = [str(elsewhere / "venv/bin/tinycompress"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere)
        assert done.returncode == 0, done.stderr
    assert (
        "stm32f746"
        in subprocess.run(
            [str(elsewhere / "venv/bin/tinycompress"), "boards"],
            capture_output=True,
            text=True,
            check=True,
            cwd=elsewhere,
        ).stdout
    )


def test_an_editable_install_sees_template_edits_at_once() -> None:
    from tinycompress import assets

    assert assets.directory("codegen") == ROOT / "codegen"
