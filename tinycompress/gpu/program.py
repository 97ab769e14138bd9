"""Compiling a generated CUDA program with nvcc, and running it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.build.toolchain import run_compiler
from tinycompress.errors import DeviceError, MismatchError, ToolchainError
from tinycompress.gpu.generate import GpuSource
from tinycompress.ir.tensor import Array

ARCHITECTURES = ("80", "90")
"""Compute capabilities whose machine code is embedded; the last one's PTX serves later GPUs."""
NVCC_FLAGS = ("-std=c++17", "-O3")
RUN_TIMEOUT_S = 300.0
ASK_TIMEOUT_S = 60
_EXIT_MISMATCH = 7


@dataclass(frozen=True)
class Run:
    """What a program printed and wrote. Times are medians in µs, None on a host."""

    facts: Mapping[str, Any]
    outputs: Mapping[str, Array]
    tensors: Mapping[str, Array]

    @property
    def network_us(self) -> float | None:
        value: float | None = self.facts["network_us"]
        return value

    @property
    def layer_us(self) -> dict[str, float | None]:
        """Median µs per operator; None on a host."""
        return {line["name"]: line["us"] for line in self.facts["layers"]}


def find_nvcc() -> Path | None:
    """The CUDA compiler: on the path, below $CUDA_HOME or $CUDA_PATH, where the toolkit installs it, or from pip."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    folders = [Path(home) for home in homes if home]
    folders += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    folders += [p for entry in sys.path for p in sorted(Path(entry or ".").glob("nvidia/cu*"), reverse=True)]
    found = filter(None, (shutil.which("nvcc", path=path) for path in (None, *(str(f / "bin") for f in folders))))
    first = next(found, None)
    return None if first is None else Path(first)


def nvcc_version() -> str | None:
    """Such as ``13.0.88``; None without nvcc."""
    nvcc = find_nvcc()
    words = _output([str(nvcc), "--version"]).rpartition(" V")[2].split() if nvcc else []
    return words[0] if words else None


def _output(command: list[str]) -> str:
    """What a short command prints; empty when it fails, hangs or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def compile_cuda(source: Path, target: Path, flags: Sequence[str] = ()) -> Path:
    """Builds `source` for all ARCHITECTURES. ToolchainError TC-T201 without nvcc, TC-T202 when it does not compile."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise ToolchainError("TC-T201", "nvcc is not here", fix="install the CUDA toolkit, 12.0 or later")
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    codes.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
    command = [str(nvcc), *NVCC_FLAGS, *codes, *flags, f"-I{source.parent.resolve()}", source.name]
    command += ["-o", str(target.resolve())]
    run_compiler(command, source.parent, code="TC-T202", what=f"{source.name} does not compile")
    return target


def has_gpu() -> bool:
    """Whether the driver lists a GPU, or made a device node."""
    return "GPU" in _output(["nvidia-smi", "-L"]) or any(Path("/dev").glob("nvidia[0-9]*"))


def driver_version() -> str | None:
    """Such as ``580.159.04``, as nvidia-smi says."""
    lines = _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).split()
    return lines[0] if lines else None


def run_program(
    binary: Path,
    source: GpuSource,
    inputs: Mapping[str, Array],
    work: Path,
    *,
    batch: int = 1,
    keep_tensors: bool = False,
    warmup: int = 50,
    repeat: int = 200,
    timeout_s: float = RUN_TIMEOUT_S,
) -> Run:
    """Runs int8 samples `(n, *shape)` per input through a compiled program; `work` holds its files.

    DeviceError TC-D401 when the GPU is missing, too old or fails; MismatchError TC-V401 when its tensor cores don't do
    what the packing assumes.
    """
    graph = source.graph
    work.mkdir(parents=True, exist_ok=True)
    dumps = work / "tensors"
    dumps.mkdir(exist_ok=True)
    (work / "in.bin").write_bytes(b"".join(np.ascontiguousarray(inputs[n]).tobytes() for n in graph.input_names))
    command = [str(binary.resolve()), "--input", "in.bin", "--output", "out.bin", "--batch", str(batch)]
    command += ["--warmup", str(warmup), "--repeat", str(repeat), *(["--tensors", "tensors"] if keep_tensors else [])]
    facts = run_checked(command, work, timeout_s)
    count = len(inputs[graph.input_names[0]])
    flat = np.fromfile(work / "out.bin", dtype=np.int8)
    sizes = [count * int(np.prod(graph.tensors[n].shape, dtype=np.int64)) for n in graph.outputs]
    pieces = np.split(flat, np.cumsum(sizes)[:-1])
    outputs = {n: p.reshape(count, *graph.tensors[n].shape) for n, p in zip(graph.outputs, pieces, strict=True)}
    tensors = {}
    if keep_tensors:
        for number, name in enumerate(source.tensors):
            data = np.fromfile(dumps / f"{number}.bin", dtype=np.int8)
            tensors[name] = data.reshape(count, *graph.tensors[name].shape)
    return Run(facts, outputs, tensors)


def run_checked(command: list[str], work: Path, timeout_s: float = RUN_TIMEOUT_S) -> dict[str, Any]:
    """The JSON object that a program prints; its exit code as a coded error (see `run_program`)."""
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, encoding="utf-8", check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        name = Path(command[0]).name
        raise DeviceError("TC-D401", f"it did not end within {timeout_s:.0f} s", where=name) from error
    message = done.stderr.strip() or f"exit code {done.returncode}"
    if done.returncode == _EXIT_MISMATCH:
        raise MismatchError("TC-V401", message, where=Path(command[0]).name)
    if done.returncode:
        raise DeviceError("TC-D401", message, where=Path(command[0]).name)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
