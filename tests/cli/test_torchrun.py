"""`torchrun -m -- tinycompress compress`: one voice, one run directory, and one failure ends all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import environment

RECIPE = """
[model]
source = "net.py:make"
input_shape = [1, 8, 8]

[data]
source = "data.npz"

[task]
loss = "net.py:loss"

[budget]
weights_bytes = 320

[compress]
threads = 1
initial = "random"
train = { epochs = 4, batch = 16 }
teacher = { kind = "dense", train = { epochs = 2, batch = 16 } }
qat = { epochs = 2, batch = 16 }
"""

NETWORK = """
import os, torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3), torch.nn.BatchNorm2d(12), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(12, 3),
    )

def loss(output, target):
    if os.environ.get("FAILS") == os.environ["RANK"]:
        raise ValueError("this process has had enough")
    if os.environ.get("DIVERGES") == os.environ["RANK"]:
        return output.sum() * float("nan")
    return torch.nn.functional.cross_entropy(output, target)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with a recipe, a network and 3 classes of 8x8 images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    np.savez(
        tmp_path / "data.npz", x=rng.standard_normal((240, 1, 8, 8)).astype(np.float32) + y[:, None, None, None], y=y
    )
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "tinycompress.toml").write_text(RECIPE)
    return tmp_path


def together(task: Path, *flags: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A compression in two processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    return subprocess.run(
        [*torchrun, "tinycompress", "compress", "--run", "run", *flags],
        capture_output=True, text=True, check=False, cwd=task, env=environment(**settings), timeout=300,
    )  # fmt: skip


def test_two_processes_make_one_run(task: Path) -> None:
    done = together(task, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [s["name"] for s in summary["stages"]] == ["teacher", "student", "qat"]
    assert summary["int8"] > 0.5
    assert summary["resources"]["weights_bytes"] <= 320
    assert done.stderr.count("import     net.py:make") == 1
    assert sorted(p.name for p in task.iterdir() if p.is_dir() and p.name != "__pycache__") == ["run"]
    again = together(task, "--json")
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("flags", "settings", "said"),
    [
        (("--flash", "100"), {}, "error[TC-B201]"),
        ((), {"DIVERGES": "1"}, "error[TC-Q102]: the loss became nan at step 0 (epoch 1)"),
        ((), {"FAILS": "1"}, "ValueError: this process has had enough"),
    ],
    ids=["budget", "divergence", "second process"],
)
def test_a_failure_ends_all_and_is_said_once(
    task: Path, flags: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    done = together(task, *flags, **settings)
    assert done.returncode == 1
    assert done.stderr.count(said) == 1, done.stderr
    assert done.stdout == ""
