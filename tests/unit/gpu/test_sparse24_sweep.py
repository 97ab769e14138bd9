"""The one command for machines with a GPU, rehearsed without one: every step by itself, the document after each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinycompress.errors import DeviceError
from tinycompress.gpu import program, sweep, timing
from tinycompress.gpu.networks import convolutional
from tinycompress.gpu.program import has_gpu
from tinycompress.gpu.sweep_report import sweep_lines

ROOT = Path(__file__).parents[3]

NEEDED = {"numpy", "jinja2", "markupsafe", "torch"}
OF_TORCH = {"torchgen", "functorch", "triton", "typing_extensions", "sympy", "mpmath", "networkx", "filelock", "fsspec"}
ONLY = """
import sys
from pathlib import Path

here = Path(__file__).parent
sys.path[:] = [p for p in sys.path if Path(p).name not in ("site-packages", "dist-packages")] + [str(here / "packages")]
"""
"""Everything that is installed goes from the path; what the command needs comes back."""


def hide(folder: Path) -> Path:
    """A folder for PYTHONPATH that leaves NEEDED and OF_TORCH of all installed packages."""
    script(folder / "sitecustomize.py", ONLY)
    packages = folder / "packages"
    packages.mkdir()
    for entry in Path(np.__file__).parents[1].iterdir():
        if entry.name.partition(".")[0] in NEEDED | OF_TORCH:
            (packages / entry.name).symlink_to(entry)
    return folder


NVIDIA_SMI = """#!/bin/sh
[ "$1" = -L ] && echo "GPU 0: pretended" || echo 999.1
"""
NVCC = """#!/bin/sh
[ "$1" = --version ] && { echo "release 13.0, V13.0.99"; exit 0; }
line="c++ -O1"
for word; do
    case "$word" in
    -gencode=*|-O3) ;;
    *.cu) line="$line -x c++ $word" ;;
    *) line="$line $word" ;;
    esac
done
exec $line
"""
"""Compiles the same source for this machine: no GPU, no times, the same bytes."""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in document["steps"]}


def test_sparse24_sweep_needs_only_torch_numpy_and_jinja2(tmp_path: Path) -> None:
    """From the command line to the tables, with a pretended GPU and nvcc and everything else that pip brings hidden."""
    script(tmp_path / "bin" / "nvidia-smi", NVIDIA_SMI)
    script(tmp_path / "bin" / "nvcc", NVCC)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHONPATH": f"{hide(tmp_path / 'only')}:{ROOT}",
        "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    flags = ("--output", "out/sweep.json", "--sizes", "128", "--widths", "", "--networks", "ds_cnn", "--batches", "1")
    command = [sys.executable, "-m", "tinycompress.gpu.sweep", *flags]
    gone = [sys.executable, "-c", "import pydantic"]
    assert subprocess.run(gone, env=environment, capture_output=True, check=False).returncode != 0
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert set(outcomes(document).values()) == {"done"}
    assert [line["size"] for line in document["squares"]] == [128]
    (network,) = document["networks"]
    pointwise = [layer["shape"] for layer in network["layers"] if layer["is_sparse"]]
    assert pointwise == [[64, 64, 125]] * 4 + [[12, 64, 1]]
    assert {line["reason"] for line in document["peer"] + document["layers"]} == {"PyTorch sees no GPU"}
    assert [line["shape"] for line in document["layers"]] == [[64, 64, 125], [12, 64, 1]] * 2
    assert document["versions"]["nvcc"] == "13.0.99"
    assert document["versions"]["driver"] == "999.1"
    assert "driver 999.1" in done.stdout
    assert "generated kernels" in done.stderr


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> sweep.Sweep:
    monkeypatch.setattr(sweep, "require_gpu", lambda: None)
    monkeypatch.setattr(program, "find_nvcc", lambda: None)
    return sweep.Sweep(tmp_path / "sweep.json")


def run(one: sweep.Sweep) -> dict[str, str]:
    sweep.run_sweep(one, {"conv32": partial(convolutional, 32)}, (128,), (1,))
    stored = json.loads(one.output.read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(one.document))
    assert sweep_lines(stored)
    return outcomes(stored)


def test_sparse24_sweep_without_nvcc_leaves_the_peer(one: sweep.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"dtype": "fp16", "shape": [128] * 3, "backend": "cutlass", "dense_us": 3.0, "sparse_us": 2.0})
    worker = script(one.output.parent / "worker", f"#!/bin/sh\necho '{line}'\n")
    monkeypatch.setattr(sweep.sys, "executable", str(worker))
    found = run(one)
    assert [name for name, outcome in found.items() if outcome == "done"] == [
        "squares, PyTorch fp16",
        "squares, PyTorch int8",
    ]
    assert found["squares, generated kernels"].startswith("failed: TC-T201")
    assert found["network conv32"].startswith("failed: TC-T201")
    assert [line["sparse_us"] for line in one.document["peer"]] == [2.0, 2.0]
    assert one.exit_code == 5


@pytest.mark.parametrize(
    ("end", "words"), [("echo gone >&2; exit 3", "exit code 3; gone"), ("sleep 60", "it did not end within 0 s")]
)
def test_sparse24_sweep_keeps_what_a_peer_said_before_it_failed(
    one: sweep.Sweep, end: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"dtype": "fp16", "shape": [128] * 3, "backend": "cutlass", "reason": "PyTorch: not on this GPU"}
    line = json.dumps(found)
    worker = script(one.output.parent / "worker", f"#!/bin/sh\necho '{line}'\nprintf '{{\"cut off'\n{end}\n")
    monkeypatch.setattr(sweep.sys, "executable", str(worker))
    monkeypatch.setattr(sweep, "PEER_LIMIT_S", 0.3)
    assert words in run(one)["squares, PyTorch fp16"]
    assert len(one.document["peer"]) == 2
    assert one.exit_code == DeviceError.exit_code


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            "echo 'self-test: mma.sp.m16n8k64 differs' >&2; exit 7",
            "failed: TC-V401: self-test: mma.sp.m16n8k64 differs",
        ),
        ("echo 'cudaMalloc: out of memory' >&2; exit 6", "failed: TC-D401: cudaMalloc: out of memory"),
        ("kill -SEGV $$", "failed: TC-D401: exit code -11"),
        ("echo '{\"products\": [{'", "failed: JSONDecodeError"),
        ("sleep 60", "failed: TC-D401: it did not end within 0 s"),
    ],
)
def test_sparse24_sweep_goes_on_after_a_program_that_fails(
    one: sweep.Sweep, end: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every program fails in one way; every step says so, and the peer's results stay."""

    def compile_to_a_failure(_: Path, target: Path) -> Path:
        return script(target, f"#!/bin/sh\n{end}\n")

    line = json.dumps({"dtype": "fp16", "shape": [128] * 3, "backend": "cutlass", "dense_us": 3.0, "sparse_us": 2.0})
    worker = script(one.output.parent / "worker", f"#!/bin/sh\necho '{line}'\n")
    monkeypatch.setattr(sweep.sys, "executable", str(worker))
    for module in (sweep, timing):
        monkeypatch.setattr(module, "compile_cuda", compile_to_a_failure)
    monkeypatch.setattr(sweep, "SQUARES_LIMIT_S", 0.3)
    monkeypatch.setattr(sweep.Sweep, "run_limit_s", lambda _: 0.3)
    found = run(one)
    assert found["squares, generated kernels"].startswith(words)
    assert found["network conv32"].startswith(words)
    assert found["squares, PyTorch int8"] == "done"
    assert len(one.document["peer"]) == 2
    assert one.exit_code != 0


def test_sparse24_sweep_says_what_the_time_limit_left_out(one: sweep.Sweep) -> None:
    one.limit_s = 0.0
    assert set(run(one).values()) == {"left out: the time limit was reached"}
    assert one.exit_code == 0


@pytest.mark.skipif(has_gpu(), reason="this machine can measure times")
def test_sparse24_sweep_is_refused_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--output", str(tmp_path / "x.json")]) == DeviceError.exit_code
    assert "TC-D402" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_sparse24_sweep_refuses_a_float_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.gpu.test_sparse24_recipes import small
    from tinycompress.ir.store import save

    save(small(), tmp_path / "graph")
    assert sweep.main([str(tmp_path / "graph"), "--widths", "32"]) == 3
    assert "not an integer graph" in capsys.readouterr().err
