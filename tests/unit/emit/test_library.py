"""What the generated directory is: byte-identical each time, clean under two compilers, safe from a model's strings."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.plan.networks import Net, mixed, recurrent, residual
from tinycompress.build.host import host_compiler
from tinycompress.emit import Program, generate
from tinycompress.emit.arrays import integer, wrapped
from tinycompress.emit.names import Names, comment_text, identifier, prefix_for, string_text
from tinycompress.emit.params import struct_members
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import GraphInput, Preprocess, QuantGraph
from tinycompress.ir.inputs import to_source_layout
from tinycompress.plan import plan
from tinycompress.plan.planner import Schedule

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
ZIG = (sys.executable, "-m", "ziglang")
DIALECTS = {
    "gcc c99": ("gcc", "-std=c99"),
    "gcc c11": ("gcc", "-std=c11"),
    "gcc c++": ("g++", "-x", "c++", "-std=c++11"),
    "clang c99": (*ZIG, "cc", "-std=c99"),
    "clang c11": (*ZIG, "cc", "-std=c11", "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7"),
    "clang c++": (*ZIG, "c++", "-x", "c++", "-std=c++14"),
}


def compile_library(command: tuple[str, ...], program: Program, work: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for source in program.sources:
        done = subprocess.run(
            [*command, *WARNINGS, "-O2", "-c", str(source), "-o", str(work / f"{source.stem}.o")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("network", "schedule"), [(residual, "streamed"), (mixed, "layers"), (recurrent, "layers")])
def test_clean_under_both_compilers_as_c_and_cpp(
    tmp_path: Path, dialect: str, network: Callable[[], QuantGraph], schedule: Schedule
) -> None:
    compile_library(DIALECTS[dialect], generate(plan(network(), schedule=schedule), tmp_path), tmp_path)


def test_regeneration_is_byte_identical(tmp_path: Path) -> None:
    first, second = (generate(plan(mixed()), tmp_path / name, recipe_sha="77b0be21a9c3ff") for name in ("a", "b"))
    assert first.files == second.files
    for name in first.files:
        assert (first.directory / name).read_bytes() == (second.directory / name).read_bytes()


def test_kernels_are_copied_unmodified_and_all_includes_resolve(tmp_path: Path) -> None:
    program = generate(plan(residual()), tmp_path)
    kernels = Path(__file__).parents[3] / "codegen" / "kernels"
    for name in program.files:
        text = (tmp_path / name).read_text()
        if name.startswith("tc_"):
            assert text == (kernels / name).read_text()
        for included in re.findall(r'#include "([^"]+)"', text):
            assert included in program.files or included == "tc_hooks.h"
        assert "SPDX-License-Identifier: MIT-0" in text


def test_generated_text(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    program = generate(plan(recurrent(), has_dsp=False), tmp_path)
    for name in program.files:
        if not name.startswith("tc_"):
            golden(f"generated/{name}", (tmp_path / name).read_text())


def test_two_models_in_one_program(tmp_path: Path) -> None:
    programs = [generate(plan(network()), tmp_path / network.__name__) for network in (residual, mixed)]
    objects = []
    for program in programs:
        compile_library((*ZIG, "cc", "-fPIC"), program, program.directory)
        objects += [str(program.directory / f"{s.stem}.o") for s in program.sources]
    library = tmp_path / "both.so"
    subprocess.run([*ZIG, "cc", "-shared", *objects, "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    for program in programs:
        assert getattr(loaded, f"{program.prefix}_invoke")


HOSTILE = 'a*/ int main(void){} /*"\\\n??/é%s{{ 7*7 }}'


def test_hostile_names_stay_in_comments(tmp_path: Path) -> None:
    net = Net(HOSTILE)
    x = net.input(5, name=HOSTILE)
    for name in (HOSTILE + "2", "int", "while", "INT", "1st", "", "__init", "run", "invoke", "params", "weights"):
        x = net.dense(x, 5, name=name or "unnamed")
    graph = net.build(x)
    tensors = {n: replace(t, source=HOSTILE) for n, t in graph.tensors.items()}
    ops = tuple(replace(op, source=(HOSTILE,)) for op in graph.ops)
    program = generate(plan(replace(graph, tensors=tensors, ops=ops)), tmp_path)
    for dialect in ("gcc c99", "clang c++"):
        compile_library(DIALECTS[dialect], program, tmp_path)
    for name in program.files:
        text = (tmp_path / name).read_text()
        assert text.isascii()
        assert "int main" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def test_identifiers() -> None:
    assert [identifier(t) for t in ("a b", "1st", "int", "", "_x__y", "Ünï")] == [
        "a_b",
        "t_1st",
        "t_int",
        "t",
        "x_y",
        "n",
    ]
    assert [prefix_for(t) for t in ("KWS", "stdint", "tc", "tc_model", "3d", "")] == [
        "kws", "model_stdint", "model_tc", "model_tc_model", "model_3d", "model",
    ]  # fmt: skip
    names = Names(("run",))
    assert [names.fresh(t) for t in ("x", "X", "x", "run", "x_2")] == ["x", "X_2", "x_3", "run_2", "x_2_2"]


def test_text_filters() -> None:
    assert comment_text("a*/b/*c\n\\??/") == "a*<2f>b/<2a>c<a><5c>?<3f>/"
    assert len(comment_text("x" * 1000)) == 160
    assert string_text('a"b\\c') == "a\\042b\\134c"


def test_numbers() -> None:
    assert integer(-(2**31)) == "(-2147483647 - 1)"
    assert wrapped(["1", "2"]) == "    1, 2"
    assert max(map(len, wrapped(str(n) for n in range(500)).splitlines())) <= 113


def test_struct_members_follow_typedefs_and_comments() -> None:
    header = """typedef struct {
        int32_t a, b[3]; /* not; a member */
        const int8_t *w;
    } tc_x_params;
    typedef tc_x_params tc_y_params;"""
    members = struct_members(header, "tc_y_params")
    assert [(m.name, m.is_pointer) for m in members] == [("a", False), ("b", False), ("w", True)]


def test_status_codes(tmp_path: Path) -> None:
    program = generate(plan(residual()), tmp_path)
    host = program.host()
    arena = np.zeros(program.arena_bytes + 64, np.uint8)
    base = arena.ctypes.data + (-arena.ctypes.data % 16)
    x, y = np.zeros(432, np.int8), np.zeros(5, np.int8)
    run = getattr(host._library, f"{program.prefix}_run")
    pointers = (ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    size = ctypes.c_size_t(program.arena_bytes)
    assert run(*pointers, ctypes.c_void_p(base), size) == 0
    assert run(None, pointers[1], ctypes.c_void_p(base), size) == 1
    assert run(*pointers, None, size) == 1
    assert run(*pointers, ctypes.c_void_p(base), ctypes.c_size_t(program.arena_bytes - 1)) == 2
    assert run(*pointers, ctypes.c_void_p(base + 8), size) == 3


def test_input_and_output_in_place_in_the_arena(tmp_path: Path) -> None:
    program = generate(plan(residual()), tmp_path)
    host = program.host()
    x = np.random.default_rng(0).integers(-128, 128, (12, 12, 3)).astype(np.int8)
    (expected,) = host.run(x).values()
    arena = np.zeros(program.arena_bytes + 16, np.uint8)
    begin = -arena.ctypes.data % 16
    base = arena.ctypes.data + begin
    slot_in, slot_out = program.inputs[0].offset, program.outputs[0].offset
    arena[begin + slot_in :][: x.size] = x.ravel().view(np.uint8)
    run = getattr(host._library, f"{program.prefix}_run")
    pointers = [ctypes.c_void_p(base + at) for at in (slot_in, slot_out, 0)]
    assert run(*pointers, ctypes.c_size_t(program.arena_bytes)) == 0
    np.testing.assert_array_equal(arena[begin + slot_out :][: expected.size].view(np.int8), expected)


@pytest.mark.parametrize("layout", ["", "CHW", "HCW"])
def test_dequantize_output_gives_the_source_models_axes(tmp_path: Path, layout: str) -> None:
    net = Net("camera")
    graph = net.build(net.conv(net.input(4, 5, 3, scale=0.0173, zero_point=-7), 6))
    graph = replace(graph, output_layouts=(layout,) if layout else ())
    (name,) = graph.outputs
    tensor = graph.tensors[name]
    host = generate(plan(graph), tmp_path).host()
    given = np.random.default_rng(0).integers(-128, 128, tensor.shape).astype(np.int8)
    expected = to_source_layout(dequantize_values(given, tensor.quantization)[np.newaxis], layout)[0]
    made = np.zeros(expected.shape, np.float32)
    host._library.camera_dequantize_output(ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(made.ctypes.data))
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("network", [residual, mixed, recurrent])
def test_the_lines_in_the_header_compile_and_run(tmp_path: Path, network: Callable[[], QuantGraph]) -> None:
    program = generate(plan(network()), tmp_path)
    comment = (tmp_path / program.header).read_text().split("How to run it")[1].split("*/")[0]
    lines = [line.removeprefix(" *").strip() for line in comment.splitlines()[2:]]
    declared, body = "\n".join(lines).strip().split("\n\n")
    (tmp_path / "use.c").write_text(
        f'#include "{program.header}"\n{declared}\nint main(void) {{\n{body}\nelse {{ return 1; }}\nreturn 0; }}\n'
    )
    command = [*host_compiler(), "-std=c11", "-Wall", "-Wextra", "-Werror", str(tmp_path / "use.c")]
    subprocess.run([*command, *map(str, program.sources), "-o", str(tmp_path / "use")], check=True)
    subprocess.run([str(tmp_path / "use")], check=True)


def test_cmake_builds_the_library(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    generate(plan(residual()), tmp_path / "model")
    (tmp_path / "main.c").write_text(
        '#include "residual.h"\nint main(void) { return residual_run(NULL, NULL, NULL, 0) == TC_ERR_NULL ? 0 : 1; }\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\nadd_subdirectory(model)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE residual)\n"
    )
    for step in (["cmake", "-B", "build", "."], ["cmake", "--build", "build"], ["build/app"]):
        done = subprocess.run(step, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_quantize_input_applies_the_preprocessing_exactly(tmp_path: Path, layout: str) -> None:
    net = Net("camera")
    x = net.input(4, 5, 3, scale=0.0173, zero_point=-7)
    graph = net.build(net.dense(net.flatten(x), 2))
    preprocess = Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0, 255))
    graph = replace(graph, inputs=(GraphInput(x, layout, "uint8", preprocess),))
    host = generate(plan(graph), tmp_path).host()
    user = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.float32)
    user[0, 0] = np.nan
    real = user * np.float32(1 / 255) - np.array(preprocess.mean, np.float32)
    real = (real / np.array(preprocess.std, np.float32)).astype(np.float32)
    expected = quantize_values(np.nan_to_num(real, nan=-1e9), graph.tensors[x].quantization, graph.tensors[x].dtype)
    given = np.ascontiguousarray(user.transpose(2, 0, 1) if layout == "CHW" else user)
    made = np.zeros((4, 5, 3), np.int8)
    host._library.camera_quantize_input(ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(made.ctypes.data))
    np.testing.assert_array_equal(made, expected)
