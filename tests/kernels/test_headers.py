"""Every kernel header compiles without a warning, alone and with all others, as C99, C11 and C++; the catalogue names
what is there; and the driver sees what it is for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import driver as d
from tests.kernels import harness as h
from tinycompress.execute.reference import REFERENCE
from tinycompress.ir import ops as o
from tinycompress.kernels import KERNELS, PORTABLE

ZIG = (sys.executable, "-m", "ziglang")
COMPILERS = {
    "gcc-c11": ("gcc", "-std=c11"),
    "gcc-c99": ("gcc", "-std=c99"),
    "g++": ("g++", "-x", "c++", "-std=c++17"),
    "zig-c11": (*ZIG, "cc", "-std=c11"),
    "zig-c99": (*ZIG, "cc", "-std=c99"),
    "zig-c++": (*ZIG, "c++", "-x", "c++", "-std=c++17"),
    "cortex-m7-gcc": ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-ffreestanding", "-std=c11"),
    "cortex-m7-zig": (*ZIG, "cc", "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7", "-std=c11"),
}
SYSTEM_HEADERS = {"stdint.h", "stddef.h", "stdbool.h", "arm_acle.h"}
HOOKS = "tc_hooks.h"
"""Provided by the build that defines TC_HOOKS."""
VARIANTS = {v.name: v for variants in KERNELS.values() for v in variants}


def includes(header: str) -> list[str]:
    text = (d.KERNEL_DIRECTORY / header).read_text()
    return re.findall(r'^#include [<"]([^">]+)[">]', text, re.MULTILINE)


@pytest.mark.parametrize("define", ["", "-DTC_ROUNDING_SINGLE"], ids=["double", "single"])
@pytest.mark.parametrize("compiler", list(COMPILERS))
def test_headers_compile_without_a_warning(compiler: str, define: str, tmp_path: Path) -> None:
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for name in d.headers():
        (tmp_path / f"{Path(name).stem}.c").write_text(f'#include "{name}"\n')
    (tmp_path / "all.c").write_text("".join(f'#include "{name}"\n' for name in d.headers()))
    flags = [*d.WARNINGS, "-Os", *([define] if define else []), f"-I{d.KERNEL_DIRECTORY}", "-c"]
    done = subprocess.run(
        [*command, *flags, *sorted(p.name for p in tmp_path.glob("*.c"))], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("header", d.headers())
def test_headers_say_their_licence_and_include_nothing_foreign(header: str) -> None:
    text = (d.KERNEL_DIRECTORY / header).read_text()
    assert text.startswith("/* SPDX-License-Identifier: MIT-0\n")
    guard = Path(header).stem.upper() + "_H"
    assert f"#ifndef {guard}\n#define {guard}\n" in text
    assert set(includes(header)) <= {HOOKS, *SYSTEM_HEADERS, *d.headers()}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_catalogue_names_a_function_of_its_header(name: str) -> None:
    variant = VARIANTS[name]
    assert variant.function in d.kernel_functions(variant.header)


def test_one_name_is_one_kernel() -> None:
    for variants in KERNELS.values():
        assert all(VARIANTS[v.name] is v for v in variants)


def test_every_integer_operator_has_a_portable_kernel() -> None:
    assert set(PORTABLE) == set(REFERENCE)
    assert all(v.tier == "portable" for variants in PORTABLE.values() for v in variants)


def test_a_byte_read_outside_a_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    graph = h.conv_graph(rng)
    variant = PORTABLE[o.Conv2D][0]
    values = {"x": h.fill(rng, graph.tensors["x"])}
    monkeypatch.setattr(h, "rows_of", lambda array: [r.tobytes()[:-1] for r in array])
    if d.compiler()[0] != "gcc":
        pytest.skip("address sanitizing needs gcc")
    with pytest.raises(d.KernelCrash, match="heap-buffer-overflow"):
        h.run(variant, graph.ops[0], graph, values)


def test_a_byte_written_outside_a_row_is_seen() -> None:
    rng = np.random.default_rng(2)
    graph = h.conv_graph(rng)
    variant = PORTABLE[o.Conv2D][0]
    packed = variant.pack(graph.ops[0], graph, graph.rounding)
    rows = tuple(h.rows_of(h.fill(rng, graph.tensors["x"])))[:3]
    width = graph.tensors["y"].shape[1] * graph.tensors["y"].shape[2]
    assert len(d.call(variant, packed, graph.rounding, d.Call(1, rows, (width,), 0))[0]) == width
    with pytest.raises(d.KernelCrash, match="wrote behind an output row"):
        d.call(variant, packed, graph.rounding, d.Call(1, rows, (width - 3,), 0))
