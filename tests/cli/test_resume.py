"""Runs that are killed, interrupted, crowded or repeated: they go on where they stopped and end with the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import command, environment, fails, tinycompress

KILLS = 5


def artifacts(run: Path, *stages: str) -> str:
    """SHA-256 over the names and bytes of all files of some stages."""
    digest = hashlib.sha256()
    for path in sorted(p for stage in stages for p in (run / stage).rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(run)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """A command in its own process group, as a shell starts it."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end_after(process: subprocess.Popen[str], seconds: float, sent: signal.Signals) -> tuple[int, str]:
    """Send a signal to the whole group, as a terminal does, unless it ended before; (status, stderr)."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, sent)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.slow
def test_a_killed_deployment_goes_on(model: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments; the same command then ends well, with the C and firmware of an undisturbed run."""
    arguments = ("deploy", model, "--emulate", "--samples", "3", "--run")
    began = time.monotonic()
    whole = tinycompress(*arguments, tmp_path / "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    took = time.monotonic() - began
    moments = random.Random(5)
    for _ in range(KILLS):
        process = start(*arguments, tmp_path / "killed", cwd=tmp_path)
        status, err = end_after(process, moments.uniform(0.2, 0.9) * took, signal.SIGKILL)
        assert status in (-signal.SIGKILL, 0), err
        assert "Traceback" not in err
    done = tinycompress(*arguments, tmp_path / "killed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stages = ("import", "quantize", "program", "firmware")
    assert artifacts(tmp_path / "killed", *stages) == artifacts(tmp_path / "whole", *stages)
    assert (tmp_path / "killed" / "report.json").read_text() == (tmp_path / "whole" / "report.json").read_text()
    left = sorted(p.name for p in (tmp_path / "killed").iterdir() if p.name.startswith(".tmp"))
    assert left == []


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    process = start("deploy", model, "--emulate", "--run", tmp_path / "run", cwd=tmp_path)
    while not (tmp_path / "run" / "program").exists() and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "goes on from the last finished stage" in err
    assert out == ""
    again = tinycompress("deploy", model, "--emulate", "--run", tmp_path / "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "import " not in again.stderr
    assert "quantize " not in again.stderr


RECIPE = """
[model]
source = "net.py:make"
input_shape = [1, 8, 8]

[data]
source = "data.npz"

[budget]
weights_bytes = 320

[compress]
threads = 1
initial = "random"
augment.noise = 0.1

[compress.teacher]
kind = "pruned"
rounds = 1
train = { epochs = 12, batch = 16 }

[compress.train]
epochs = 24
batch = 16

[compress.qat]
epochs = 12
batch = 16
"""

NETWORK = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3), torch.nn.BatchNorm2d(12), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(12, 3),
    )
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with a recipe, a network and 3 classes of 8x8 images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 480)
    x = rng.standard_normal((480, 1, 8, 8)).astype(np.float32) + y[:, None, None, None]
    np.savez(tmp_path / "data.npz", x=x, y=y)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "tinycompress.toml").write_text(RECIPE)
    return tmp_path


def kill_in_training(task: Path, stage: str, epoch: int, delay: float) -> None:
    """Runs the compression and kills it `delay` seconds after it stored the state of `epoch` of a stage's training."""
    process = start("compress", "--run", "killed", cwd=task)
    try:
        while process.poll() is None and not _reached(task, stage, epoch):
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err


def _reached(task: Path, stage: str, epoch: int) -> bool:
    kept = (task / "killed" / "compress.work").glob(f"*/.{stage}-training/epoch-*")
    return any(int(folder.name.rpartition("-")[2]) >= epoch for folder in kept)


@pytest.mark.slow
def test_a_killed_compression_goes_on(task: Path) -> None:
    """SIGKILL in the training of every stage, quantization-aware training included, at random moments.

    What comes out is byte for byte what an undisturbed run makes.
    """
    whole = tinycompress("compress", "--run", "whole", cwd=task)
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(3)
    stages = ("teacher", "teacher-1", "student", "student", "qat")
    first = (1, 1, 1, 13, 1)
    for stage, earliest in zip(stages, first, strict=True):
        kill_in_training(task, stage, moments.randint(earliest, earliest + 4), moments.uniform(0.0, 0.05))
        (work,) = (p for p in (task / "killed" / "compress.work").iterdir() if p.is_dir())
        assert (work / f".{stage}-training").exists(), f"the kill came after {stage}"
    done = tinycompress("compress", "--run", "killed", cwd=task)
    assert done.returncode == 0, done.stderr
    for stored in ("graph", "float"):
        assert artifacts(task / "killed", f"compress/{stored}") == artifacts(task / "whole", f"compress/{stored}")
    left = [p for p in (task / "killed").rglob("*") if p.name.startswith(".tmp") or p.name.endswith("-training")]
    assert left == []


def test_two_runs_do_not_share_a_directory(model: Path, tmp_path: Path) -> None:
    held = [sys.executable, "-c", "import sys; from pathlib import Path; from tinycompress.rundir import RunDir\n"
            "with RunDir.open(Path('run')): print('held', flush=True); sys.stdin.read()"]  # fmt: skip
    owner = subprocess.Popen(
        held, cwd=tmp_path, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    try:
        assert "--run DIR" in fails(tinycompress("quantize", model, "--run", "run", cwd=tmp_path), 2, "TC-C120")
    finally:
        owner.kill()
        owner.communicate()
    done = tinycompress("quantize", model, "--run", "run", cwd=tmp_path)
    assert done.returncode == 0, "a lock whose owner was killed holds nobody up"


def test_a_changed_setting_redoes_what_depends_on_it(model: Path, float_model: Path, tmp_path: Path) -> None:
    def stages(*flags: str) -> list[str]:
        done = tinycompress("quantize", float_model, "--run", "run", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return [line.split()[0] for line in done.stderr.splitlines()]

    assert stages("--calibration", "random") == ["import", "quantize"]
    assert stages("--calibration", "random") == []
    assert stages("--calibration", "random", "--seed", "1") == ["quantize"]
    assert stages("--calibration", "random", "--seed", "1", "--fresh") == ["import", "quantize"]


def test_a_damaged_stage_is_a_diagnostic_or_made_anew(model: Path, tmp_path: Path) -> None:
    assert tinycompress("quantize", model, "--run", "run", cwd=tmp_path).returncode == 0
    (tmp_path / "run" / "quantize" / "stage.json").write_text("{")
    assert tinycompress("quantize", model, "--run", "run", cwd=tmp_path).returncode == 0
    (tmp_path / "run" / "quantize" / "graph" / "graph.json").write_text("{")
    fails(tinycompress("quantize", model, "--run", "run", cwd=tmp_path), 3, "TC-M007")
    assert tinycompress("quantize", model, "--run", "run", "--fresh", cwd=tmp_path).returncode == 0
