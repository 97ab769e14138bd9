"""Building: same bytes every time, sizes and stack as the ELF has them, errors with the compiler's own words."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.emulator.stub import STUB, need, stub_binding, stub_program
from tinycompress import boards
from tinycompress.build import Binding, BoundTensor, build_firmware
from tinycompress.build.elf import flash_image, segments, symbols
from tinycompress.build.placement import place
from tinycompress.build.stack import _branch, _lowering, bound
from tinycompress.build.toolchain import target_toolchain
from tinycompress.errors import ToolchainError

F746 = boards.board("stm32f746")


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_same_inputs_same_bytes(toolchain: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    first = build_firmware(STUB, stub_binding(), F746, toolchain, tmp_path / "a")
    moved = shutil.copytree(STUB, tmp_path / "elsewhere" / "program")
    second = build_firmware(moved, stub_binding(), F746, toolchain, tmp_path / "deep" / "b")
    assert first.elf.read_bytes() == second.elf.read_bytes()
    assert first.bin.read_bytes() == second.bin.read_bytes()
    assert first.build_id == second.build_id
    assert str(tmp_path).encode() not in first.elf.read_bytes()
    hooked = build_firmware(STUB, stub_binding(), F746, toolchain, tmp_path / "c", trace=True)
    assert hooked.build_id != first.build_id


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_sizes_and_places(toolchain: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    firmware = build_firmware(STUB, stub_binding(), F746, toolchain, tmp_path / "a")
    sizes, whole = firmware.library_sizes, firmware.firmware_sizes
    assert 100 < sizes.code_bytes < 3000
    assert sizes.rodata_bytes == 16
    assert sizes.ram_bytes == 0
    assert whole.flash_bytes == pytest.approx(firmware.bin.stat().st_size, abs=64)
    assert whole.ram_bytes > 8192 + 3 * 4000
    found = symbols(firmware.elf)
    assert found["tc_stack_start"].address == 0x20000000
    assert found["vectors"].address == 0x08000000
    start, data = segments(firmware.elf)[0]
    assert start == 0x08000000
    assert flash_image(firmware.elf).startswith(data)
    assert int.from_bytes(data[:4], "little") == 0x20000000 + F746.stack_bytes
    assert int.from_bytes(data[4:8], "little") == found["tc_reset"].address | 1


def test_firmware_fits_its_reserve(tmp_path: Path) -> None:
    """The placement reserves FIRMWARE_DATA_BYTES for what the linker puts into .data and .bss."""
    for toolchain in ("zig", "gcc"):
        need(toolchain=toolchain)
        firmware = build_firmware(STUB, stub_binding(), F746, toolchain, tmp_path / toolchain, profile=True)
        found = symbols(firmware.elf)
        assert found["tc_bss_end"].address - found["tc_data_start"].address <= 8192


# ---- placement


def binding(arena: int, io: int) -> Binding:
    return dataclasses.replace(stub_binding(), arena_bytes=arena, inputs=(BoundTensor("x", "int8_t", io),))


@pytest.mark.parametrize(
    ("arena", "io", "arena_in", "io_in", "data_in"),
    [
        (1000, 1000, "dtcm", "dtcm", "dtcm"),
        (45_000, 8_000, "dtcm", "dtcm", "sram"),
        (57_280, 1000, "dtcm", "sram", "sram"),
        (57_281, 30_000, "sram", "dtcm", "dtcm"),
    ],
)
def test_arena_goes_first_to_the_fastest_memory(arena: int, io: int, arena_in: str, io_in: str, data_in: str) -> None:
    where = place(F746, binding(arena, io))
    assert (where.stack, where.arena, where.io, where.data) == ("dtcm", arena_in, io_in, data_in)


def test_what_fits_nowhere() -> None:
    with pytest.raises(ToolchainError, match=r"TC-T110: the arena needs 300064 B .* dtcm 57344 B, sram 262144 B"):
        place(F746, binding(300_000, 10))
    with pytest.raises(ToolchainError, match="TC-T110: inputs and outputs"):
        place(F746, binding(250_000, 60_000))


def test_every_placement_links(tmp_path: Path) -> None:
    for size in (1000, 18_000, 57_280, 85_000):
        program = stub_program(size, tmp_path / str(size))
        firmware = build_firmware(program, stub_binding(size), F746, "zig", tmp_path / f"build{size}")
        found = symbols(firmware.elf)
        assert (found["guarded"].address < 0x20010000) == (size <= 57_280)


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "a-b"},
        {"header": 'x"y.h'},
        {"arena_align": 3},
        {"layer_count": 0},
        {"state_reset": ""},
        {"model_hash": ""},
        {"inputs": ()},
        {"inputs": (BoundTensor("x", "float", 1),)},
    ],
)
def test_bindings_that_cannot_be_c(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dataclasses.replace(stub_binding(), **changes)  # type: ignore[arg-type]


# ---- stack


CALLS = """
#include <stdint.h>
#include "stub.h"
void stub_reset(stub_state *s) { s->runs = 0u; }
extern int32_t leaf(volatile int32_t *x);
__attribute__((noinline)) int32_t leaf(volatile int32_t *x)
{
    volatile int32_t big[100];
    big[*x & 63] = *x;
    return big[*x & 31];
}
extern int32_t last(volatile int32_t *x);
__attribute__((noinline)) int32_t last(volatile int32_t *x)
{
    volatile int32_t big[300];
    big[*x & 63] = *x;
    return big[*x & 31];
}
extern int32_t middle(int32_t x);
__attribute__((noinline)) int32_t middle(int32_t x)
{
    volatile int32_t y[50];
    y[x & 31] = x;
    return leaf(y) + last(y);
}
BODY
"""
INVOKE = """
tc_status stub_invoke(const stub_inputs *in, const stub_outputs *out, stub_state *state, void *arena, size_t bytes)
{
    (void)in; (void)state; (void)arena; (void)bytes;
    *out->total = middle(1);
    return TC_OK;
}
"""
RECURSION = """
extern int32_t again(volatile int32_t *x);
__attribute__((noinline)) int32_t again(volatile int32_t *x)
{
    volatile int32_t y[4];
    y[0] = *x;
    return *x == 0 ? 1 : again(y) + y[0];
}
"""
POINTER = "extern int32_t (*volatile hook)(int32_t);\nint32_t (*volatile hook)(int32_t) = middle;\n"


def build_calls(folder: Path, toolchain: str, body: str) -> Path:
    program = shutil.copytree(STUB, folder / "program")
    (program / "stub.c").write_text(CALLS.replace("BODY", body))
    return build_firmware(program, stub_binding(), F746, toolchain, folder / "build").elf


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_stack_is_the_deepest_path(toolchain: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    elf = build_calls(tmp_path, toolchain, INVOKE)
    depth = bound(elf, "stub_invoke", elf.parent)
    assert depth.path == ("stub_invoke", "middle", "last")
    assert depth.bytes is not None
    assert 350 * 4 <= depth.bytes <= 350 * 4 + 100
    assert bound(elf, "leaf", elf.parent).bytes == pytest.approx(404, abs=8)
    assert bound(elf, "nothing", elf.parent).reason == "nothing is not in the firmware"


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("extra", "call", "words"),
    [(RECURSION, "again(in == NULL ? NULL : out->total)", "recursive"), (POINTER, "hook(1)", "through a pointer")],
)
def test_stack_without_a_bound_says_why(toolchain: str, extra: str, call: str, words: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    body = extra + INVOKE.replace("(void)in;", "").replace("middle(1)", f"(in != NULL) + {call}")
    elf = build_calls(tmp_path, toolchain, body)
    depth = bound(elf, "stub_invoke", elf.parent)
    assert depth.bytes is None
    assert words in str(depth.reason)


def test_stack_that_the_board_does_not_have(tmp_path: Path) -> None:
    board = dataclasses.replace(F746, stack_bytes=2048)
    program = shutil.copytree(STUB, tmp_path / "program")
    (program / "stub.c").write_text(CALLS.replace("BODY", INVOKE))
    with pytest.raises(ToolchainError, match=r"TC-T111: stub_invoke needs .*middle -> last"):
        build_firmware(program, stub_binding(), board, "zig", tmp_path / "build")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0xF000, 0xF801, ("call", 0x1006)),  # bl .+6
        (0xF7FF, 0xFFFE, ("call", 0x1000)),  # bl .
        (0xF000, 0xB801, ("jump", 0x1006)),  # b.w .+6
        (0xF43F, 0xAFFE, ("jump", 0x1000)),  # beq.w .
        (0xE7FE, 0, ("jump", 0x1000)),  # b .
        (0xD1FE, 0, ("jump", 0x1000)),  # bne .
        (0x4798, 0, ("indirect", 0)),  # blx r3
        (0x4718, 0, ("indirect", 0)),  # bx r3
        (0x4770, 0, ("", 0)),  # bx lr
        (0xF3BF, 0x8F4F, ("", 0)),  # dsb
        (0xDF00, 0, ("", 0)),  # svc
    ],
)
def test_branches(first: int, second: int, expected: tuple[str, int]) -> None:
    assert _branch(0x1000, first, second) == expected


ASSEMBLY = """
extern int32_t bare(void);
__attribute__((naked, noinline)) int32_t bare(void)
{
    __asm volatile("push {r4-r7, lr}\\n vpush {s16-s19}\\n sub sp, #24\\n sub.w sp, sp, #1024\\n"
                   "strd r0, r1, [sp, #-8]!\\n str r0, [sp, #-4]!\\n ldr r0, [sp], #4\\n"
                   "add sp, #32\\n add.w sp, sp, #1024\\n vpop {s16-s19}\\n pop {r4-r7, pc}" ::: "memory");
}
"""


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_stack_sees_what_assembly_pushes(toolchain: str, tmp_path: Path) -> None:
    """Compilers state a frame of 0 for naked functions."""
    need(toolchain=toolchain)
    body = ASSEMBLY + INVOKE.replace("middle(1)", "bare()")
    elf = build_calls(tmp_path, toolchain, body)
    assert bound(elf, "bare", elf.parent).bytes == 20 + 16 + 24 + 1024 + 8 + 4


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0xB510, 0, 8),  # push {r4, lr}
        (0xBD10, 0, -8),  # pop {r4, pc}
        (0xE92D, 0x4FF0, 36),  # push.w {r4-r11, lr}
        (0xE8BD, 0x8FF0, -36),  # pop.w {r4-r11, pc}
        (0xB084, 0, 16),  # sub sp, #16
        (0xB004, 0, -16),  # add sp, #16
        (0xF5AD, 0x7D00, 512),  # sub.w sp, sp, #512
        (0xF5AD, 0x6D80, 1024),  # sub.w sp, sp, #1024
        (0xF6AD, 0x0D04, 2052),  # subw sp, sp, #2052
        (0xF50D, 0x7D00, -512),  # add.w sp, sp, #512
        (0xF60D, 0x0D04, -2052),  # addw sp, sp, #2052
        (0xED2D, 0x8B10, 64),  # vpush {d8-d15}
        (0xECBD, 0x8B10, -64),  # vpop {d8-d15}
        (0xF84D, 0x4D04, 4),  # str r4, [sp, #-4]!
        (0xF85D, 0x4B04, -4),  # ldr r4, [sp], #4
        (0xF8CD, 0x4004, 0),  # str.w r4, [sp, #4]
        (0x4770, 0, 0),
    ],
)
def test_stack_pointer_moves(first: int, second: int, expected: int) -> None:
    assert _lowering(first, second) == expected


# ---- errors


def test_unknown_toolchain() -> None:
    with pytest.raises(ToolchainError, match=r"TC-T106.*zig, gcc"):
        target_toolchain("icc", F746)


def test_missing_gcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError, match=r"TC-T102.*use the default toolchain zig"):
        target_toolchain("gcc", F746)


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    chain = target_toolchain("zig", F746)
    monkeypatch.setenv("TINYCOMPRESS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ToolchainError, match=r"TC-T112.*set TINYCOMPRESS_CACHE"):
        chain.compile(STUB / "stub.c", tmp_path / "stub.o")


def test_core_without_flags() -> None:
    with pytest.raises(ToolchainError, match="TC-T107"):
        target_toolchain("zig", dataclasses.replace(F746, core="cortex-m3"))


def test_no_program(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="TC-T109"):
        build_firmware(tmp_path, stub_binding(), F746, "zig", tmp_path / "build")


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_code_that_does_not_compile_or_link(toolchain: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    program = shutil.copytree(STUB, tmp_path / "program")
    source = program / "stub.c"
    text = source.read_text()
    source.write_text(text.replace("return total;", "return totl;"))
    with pytest.raises(ToolchainError, match=r"(?s)TC-T103.*totl"):
        build_firmware(program, stub_binding(), F746, toolchain, tmp_path / "build")
    source.write_text(text.replace("return total;", "return total + (int)(from[0] * 0.5);"))
    with pytest.raises(ToolchainError, match=r"(?s)TC-T10[34]"):
        build_firmware(program, stub_binding(), F746, toolchain, tmp_path / "build")


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_flash_overflow(toolchain: str, tmp_path: Path) -> None:
    need(toolchain=toolchain)
    program = shutil.copytree(STUB, tmp_path / "program")
    source = program / "stub.c"
    source.write_text(
        source.read_text()
        .replace("weight[16] = {1,", "weight[1100000] = {1,")
        .replace("weight[i % 16]", "weight[i * 7]")
    )
    with pytest.raises(ToolchainError, match=r"(?s)TC-T105.*flash"):
        build_firmware(program, stub_binding(), F746, toolchain, tmp_path / "build")
