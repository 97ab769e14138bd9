"""Generated C as a program of this machine, under the sanitizers it has: every tensor of every sample."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycompress import assets
from tinycompress.build.host import host_compiler
from tinycompress.build.toolchain import is_zig, run_compiler
from tinycompress.emit.program import Program
from tinycompress.emit.render import render
from tinycompress.errors import MismatchError
from tinycompress.ir.tensor import Array

RUN_TIMEOUT_S = 600.0
_STRICT = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-DTC_HOOKS=1")
_CHECKS = ("-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
Trace = dict[tuple[int, int], bytes]


@dataclass(frozen=True)
class Simulation:
    """`outputs` by name `(n, …)`; `traces[sample][(tensor, row)]`; `checks` says what watched the run."""

    outputs: dict[str, Array]
    traces: list[Trace]
    compiler: str
    checks: str


def simulate(program: Program, samples: dict[str, Array], folder: Path) -> Simulation:
    """Compile `program` and a driver in `folder` with address and undefined-behaviour sanitizers, run all samples.

    zig has only the latter's runtime, so the system's gcc or clang is taken when there is one. Raises ToolchainError
    TC-T150 when it does not compile, MismatchError TC-V102 with the sanitizer's words when one objects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = host_compiler()
    has_address = not is_zig(command)
    sanitizers = "address,undefined" if has_address else "undefined"
    _write_driver(program, folder)
    includes = [f"-I{program.directory.resolve()}", f"-I{assets.directory('firmware')}"]
    sources = ["simulate.c", *(str(p.resolve()) for p in program.sources)]
    build = [*command, *_STRICT, f"-fsanitize={sanitizers}", *_CHECKS, *includes, *sources, "-o", "simulate"]
    run_compiler(build, folder, code="TC-T150", what="the generated C does not compile for this machine")
    _write_samples(program, samples, folder / "samples.bin")
    ran = subprocess.run(
        ["./simulate", "samples.bin", "records.bin"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
    )
    if ran.returncode != 0:
        words = "\n".join(ran.stderr.strip().splitlines()[:12]) or f"exit status {ran.returncode}"
        raise MismatchError("TC-V102", f"the generated C misbehaves on this machine: {words}", where=str(folder))
    count = len(next(iter(samples.values())))
    outputs, traces = _read_records(program, folder / "records.bin", count)
    checks = "address and undefined-behaviour sanitizers" if has_address else "undefined-behaviour sanitizer"
    return Simulation(outputs, traces, " ".join(Path(part).name for part in command), checks)


def _write_driver(program: Program, folder: Path) -> None:
    (folder / "simulate.c").write_text(render("simulate.c.j2", p=program), encoding="utf-8")


def _write_samples(program: Program, samples: dict[str, Array], path: Path) -> None:
    names = program.plan.graph.input_names
    with path.open("wb") as file:
        for index in range(len(samples[names[0]])):
            for name in names:
                file.write(np.ascontiguousarray(samples[name][index]).tobytes())


def _read_records(program: Program, path: Path, count: int) -> tuple[dict[str, Array], list[Trace]]:
    graph = program.plan.graph
    outputs: dict[str, list[Array]] = {name: [] for name in graph.outputs}
    traces: list[Trace] = [{} for _ in range(count)]
    data = memoryview(path.read_bytes())
    offset = sample = 0
    while offset < len(data):
        tensor, row, size = struct.unpack_from("<iii", data, offset)
        payload = bytes(data[offset + 12 : offset + 12 + size])
        offset += 12 + size
        if tensor >= 0:
            traces[sample][(tensor, row)] = payload
            continue
        name = graph.outputs[-1 - tensor]
        shape, dtype = graph.tensors[name].shape, graph.tensors[name].dtype
        outputs[name].append(np.frombuffer(payload, dtype.numpy).reshape(shape))
        sample += -1 - tensor == len(graph.outputs) - 1
    return {name: np.stack(rows) for name, rows in outputs.items()}, traces
