"""The generated C as a program under sanitizers: it gives the reference's bytes, and one byte too many is seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.unit.plan.networks import mixed, residual
from tinycompress.build.host import host_compiler
from tinycompress.build.toolchain import is_zig
from tinycompress.emit import Program, generate
from tinycompress.emit.simulate import simulate
from tinycompress.errors import MismatchError, ToolchainError
from tinycompress.execute import reference
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array
from tinycompress.plan import plan


def random_samples(graph: QuantGraph, count: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {n: rng.integers(-128, 128, (count, *graph.tensors[n].shape)).astype(np.int8) for n in graph.input_names}


def test_every_row_and_output_is_the_reference_s(tmp_path: Path) -> None:
    graph = mixed()
    program = generate(plan(graph), tmp_path / "c")
    samples = random_samples(graph)
    done = simulate(program, samples, tmp_path / "simulate")
    expected = reference.run(graph, samples)
    for name, values in done.outputs.items():
        np.testing.assert_array_equal(values, expected.outputs[name])
    for sample, trace in enumerate(done.traces):
        for number, name in enumerate(program.plan.trace_tensors):
            rows = b"".join(data for (tensor, _), data in sorted(trace.items()) if tensor == number)
            assert rows == expected.tensors[name][sample].tobytes(), name


def edited(program: Program, old: str, new: str) -> Program:
    source = program.directory / f"{program.prefix}.c"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new, 1))
    return program


def test_an_arena_that_is_too_small_is_seen(tmp_path: Path) -> None:
    if is_zig(host_compiler()):
        pytest.skip("address sanitizing needs the system's compiler")
    graph = residual()
    made = plan(graph)
    program = generate(dataclasses.replace(made, arena_bytes=made.arena_bytes - 64), tmp_path / "c")
    with pytest.raises(MismatchError, match=r"(?s)TC-V102.*heap-buffer-overflow"):
        simulate(program, random_samples(graph), tmp_path / "simulate")


def test_c_that_does_not_compile_says_so(tmp_path: Path) -> None:
    graph = residual()
    program = edited(generate(plan(graph), tmp_path / "c"), "#include", "#include <no_such_header.h>\n#include")
    with pytest.raises(ToolchainError, match=r"(?s)TC-T150.*no_such_header"):
        simulate(program, random_samples(graph), tmp_path / "simulate")
    with pytest.raises(ToolchainError, match=r"(?s)TC-T150.*no_such_header"):
        program.host()


def test_without_a_system_compiler_zig_s_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_zig(host_compiler())
    monkeypatch.setenv("CC", "some-cc -m64")
    assert host_compiler() == ("some-cc", "-m64")
