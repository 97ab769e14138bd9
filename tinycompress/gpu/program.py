"""Compiling a generated CUDA program, with nvcc for a GPU or with a C++ compiler for the host, and running it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.errors import DeviceError, MismatchError, ToolchainError
from tinycompress.gpu.generate import GpuSource
from tinycompress.ir.tensor import Array

ARCHITECTURES = ("80", "90")
"""Compute capabilities whose machine code is embedded; the last one's PTX serves later GPUs."""
NVCC_FLAGS = ("-std=c++17", "-O3", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror")
HOST_FLAGS = ("-x", "c++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZER_FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
COMPILE_TIMEOUT_S = 600
RUN_TIMEOUT_S = 600
_EXIT_DEVICE, _EXIT_MISMATCH = 6, 7


@dataclass(frozen=True)
class Run:
    """What a program printed and wrote. Times are medians in µs, None on a host."""

    facts: Mapping[str, Any]
    outputs: Mapping[str, Array]
    tensors: Mapping[str, Array]

    @property
    def network_us(self) -> float | None:
        value = self.facts["network_us"]
        return None if value is None else float(value)

    @property
    def layer_us(self) -> dict[str, float]:
        """Median µs per operator; empty on a host."""
        return {line["name"]: float(line["us"]) for line in self.facts["layers"] or ()}


def find_nvcc() -> Path | None:
    """The CUDA compiler on the path, or where the toolkit installs it."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    return None if found is None else Path(found)


def nvcc_version() -> str | None:
    """Such as ``13.0.88``; None without nvcc."""
    nvcc = find_nvcc()
    if nvcc is None:
        return None
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False, timeout=60)
    tail = done.stdout.rpartition(" V")[2].split()
    return tail[0] if tail else None


def compile_cuda(source: Path, target: Path) -> Path:
    """Builds `source` for all ARCHITECTURES. ToolchainError TC-T201 without nvcc, TC-T202 when it does not compile."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise ToolchainError(
            "TC-T201", "nvcc is not on the path", fix="install the CUDA toolkit 12.0 or later, or build for the host"
        )
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    codes.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
    return _compile([str(nvcc), *NVCC_FLAGS, *codes], source, target)


def compile_host(source: Path, target: Path, *, sanitize: bool = False) -> Path:
    """Builds `source` for this machine, where the tensor cores are emulated; with the system's c++, else zig's.

    Sanitizers need the system's compiler. ToolchainError TC-T202 when it does not compile.
    """
    system = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    command = [system] if system else [sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=all"]
    return _compile([*command, *HOST_FLAGS, *(SANITIZER_FLAGS if sanitize and system else ())], source, target)


def _compile(command: list[str], source: Path, target: Path) -> Path:
    folder = source.parent.resolve()
    line = [*command, f"-I{folder}", source.name, "-o", str(target.resolve())]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, timeout=COMPILE_TIMEOUT_S)
    if done.returncode:
        raise ToolchainError("TC-T202", f"{source.name} does not compile:\n{done.stderr.strip()}", where=command[0])
    return target


def has_gpu() -> bool:
    """Whether the driver lists a GPU; without nvidia-smi, whether it made a device node."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return any(Path("/dev").glob("nvidia[0-9]*"))
    done = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0 and "GPU" in done.stdout


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
    facts = run_checked(command, work)
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


def run_checked(command: list[str], work: Path) -> dict[str, Any]:
    """The JSON object that a program prints; its exit code as a coded error (see `run_program`)."""
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S)
    message = done.stderr.strip() or f"exit code {done.returncode}"
    if done.returncode == _EXIT_MISMATCH:
        raise MismatchError("TC-V401", message, where=Path(command[0]).name)
    if done.returncode:
        raise DeviceError("TC-D401", message, where=Path(command[0]).name)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
