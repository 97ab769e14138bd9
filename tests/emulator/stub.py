"""The stub model: its binding, data, expected outputs, and what its firmware is built with."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinycompress.build import Binding, BoundTensor, Firmware

STUB = Path(__file__).parent / "stub_model"
WEIGHT = tuple((i + 1) * (-1) ** i for i in range(16))
BIAS = bytes((1, 2, 0xFD, 4))


def stub_binding(size: int = 4000) -> Binding:
    """Binding of the stub model with `size` elements of data."""
    return Binding(
        prefix="stub",
        header="stub.h",
        inputs=(BoundTensor("data", "int8_t", size), BoundTensor("bias", "int8_t", 4)),
        outputs=(BoundTensor("mixed", "int8_t", size), BoundTensor("total", "int32_t", 1)),
        arena_bytes=size,
        arena_align=8,
        layer_count=2,
        model_hash="5717b",
        rounding="double",
        state_bytes=4,
        state_reset="stub_reset",
    )


def stub_program(size: int, target: Path) -> Path:
    """The stub model's sources with `size` elements of data."""
    shutil.copytree(STUB, target)
    header = target / "stub.h"
    header.write_text(header.read_text().replace("#define STUB_DATA 4000", f"#define STUB_DATA {size}"))
    return target


def stub_data(size: int = 4000) -> bytes:
    """Every byte value, zeros and 0xFF runs included: what framing must survive."""
    return (bytes(range(256)) + bytes(300) + b"\xff" * 300)[:size].ljust(size, b"\x5a")


def stub_mixed(data: bytes) -> bytes:
    """What the stub model computes from `data` and BIAS."""
    bias = [b - 256 if b > 127 else b for b in BIAS]
    return bytes((3 * d + bias[i % 4] + WEIGHT[i % 16]) & 0xFF for i, d in enumerate(data))


def need(*, toolchain: str = "zig", engine: str = "unicorn") -> None:
    """Skip where a second toolchain or an emulator is not installed."""
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    if engine == "qemu" and shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    if engine == "unicorn" and importlib.util.find_spec("unicorn") is None:
        pytest.skip("unicorn is not installed (extra `emulator`)")


@dataclass(frozen=True)
class StubBuild:
    """What a stub firmware is built with."""

    board: str = "stm32f746"
    toolchain: str = "zig"
    hooks: bool = False


Builder = Callable[[StubBuild], Firmware]
