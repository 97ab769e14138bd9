"""Compilers behind one interface: zig's clang (from pip, the default) and arm-none-eabi-gcc for the target; zig, gcc or
clang for the host.

Commands run in the source's own directory with relative names, so that objects hold no path of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinycompress import assets
from tinycompress.boards import Board
from tinycompress.errors import ToolchainError

COMPILE_TIMEOUT_S = 300
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
COMMON_FLAGS = (
    "-std=c11",
    "-O2",
    "-g0",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    *WARNINGS,
)
TOOLCHAINS = ("zig", "gcc")
ENOUGH_DISK_BYTES = 1 << 20
"""With less free space a compiler's failure is put down to that: zig then fails without a word."""

_ZIG_CPUS = {("cortex-m7", "fpv5-sp-d16"): "cortex_m7+fp_armv8d16sp"}


@dataclass(frozen=True)
class Toolchain:
    """A C compiler for the target. `cpu_flags` select core and ABI; `stack_flags` make it write frame sizes."""

    name: str
    command: tuple[str, ...]
    cpu_flags: tuple[str, ...]
    stack_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    version: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag that shapes the code, for provenance."""
        return (*self.cpu_flags, *COMMON_FLAGS)

    def compile(
        self, source: Path, target: Path, *, includes: Sequence[Path] = (), defines: Sequence[str] = ()
    ) -> None:
        """Compile one C file to an object. Raises ToolchainError TC-T103 with the compiler's output."""
        command = [*self.command, *self.flags, *self.stack_flags, "-c", source.name, "-o", str(target.resolve())]
        command += [f"-I{path.resolve()}" for path in includes] + [f"-D{define}" for define in defines]
        run_compiler(command, source.parent, code="TC-T103", what=f"{source.name} does not compile with {self.name}")

    def link(self, objects: Sequence[Path], script: Path, target: Path) -> None:
        """Link objects of one directory. Raises ToolchainError TC-T104, or TC-T105 when a memory overflows."""
        names = [str(path.relative_to(target.parent)) for path in objects]
        command = [*self.command, *self.cpu_flags, *self.link_flags, "-nostdlib", "-Wl,--gc-sections"]
        command += ["-Wl,-e,tc_reset", "-Wl,-T," + script.name, *names, "-o", target.name]
        run_compiler(command, target.parent, code="TC-T104", what=f"{target.name} does not link with {self.name}")


def run_compiler(command: Sequence[str], directory: Path, *, code: str, what: str) -> None:
    """Run a compiler; ToolchainError `code` with its output on failure, TC-T108 when it hangs."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolchainError("TC-T108", f"{command[0]} did not end within {COMPILE_TIMEOUT_S} s") from error
    except OSError as error:
        raise ToolchainError("TC-T102", f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        if "overflowed" in output or "will not fit in region" in output:
            code, what = "TC-T105", "the firmware does not fit the board's memory"
        free = shutil.disk_usage(directory).free
        if free < ENOUGH_DISK_BYTES:
            raise ToolchainError(
                code, f"{what}; the disk has {free} B left", where=str(directory), fix="free some space"
            )
        raise ToolchainError(code, f"{what}:\n{output[-4000:]}")


def target_toolchain(name: str, board: Board) -> Toolchain:
    """The toolchain `name` (``zig`` or ``gcc``) set up for the board's core.

    Raises ToolchainError: TC-T101 zig is not installed, TC-T102 arm-none-eabi-gcc is not on the path, TC-T106 unknown
    name, TC-T107 a core this tool has no flags for.
    """
    if name not in TOOLCHAINS:
        raise ToolchainError("TC-T106", f"there is no toolchain {name!r}", fix=f"choose from {', '.join(TOOLCHAINS)}")
    if (board.core, board.fpu) not in _ZIG_CPUS:
        raise ToolchainError("TC-T107", f"no compiler flags are known for core {board.core!r} with FPU {board.fpu!r}")
    if name == "zig":
        zig = zig_command()
        return Toolchain(
            name="zig",
            command=zig,
            cpu_flags=("-target", "thumb-freestanding-eabihf", f"-mcpu={_ZIG_CPUS[board.core, board.fpu]}"),
            stack_flags=("-fstack-size-section",),
            link_flags=(),
            version=compiler_version(zig),
        )
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        raise ToolchainError(
            "TC-T102",
            "arm-none-eabi-gcc is not on the path",
            fix="install gcc-arm-none-eabi, or use the default toolchain zig",
        )
    return Toolchain(
        name="gcc",
        command=(gcc,),
        cpu_flags=(f"-mcpu={board.core}", "-mthumb", "-mfloat-abi=hard", f"-mfpu={board.fpu}"),
        stack_flags=("-fstack-usage",),
        link_flags=("-Wl,--no-warn-rwx-segments",),
        version=compiler_version((gcc,)),
    )


@cache
def zig_command() -> tuple[str, ...]:
    """``zig cc`` of the ``ziglang`` package. Raises ToolchainError TC-T101 when it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise ToolchainError("TC-T101", "the ziglang package is not installed", fix="pip install ziglang")
    return (str(Path(spec.origin).parent / "zig"), "cc")


def is_zig(command: Sequence[str]) -> bool:
    """Whether a compiler command is ``zig cc``."""
    return command[-1] == "cc" and Path(command[0]).stem == "zig"


@cache
def compiler_version(command: tuple[str, ...]) -> str:
    """First line of ``--version``, with zig's own version before clang's."""
    versions = []
    if is_zig(command):
        versions.append("zig " + _first_line((command[0], "version")))
    versions.append(_first_line((*command, "--version")))
    return ", ".join(versions)


def _first_line(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
    return done.stdout.partition("\n")[0].strip()


def _environment() -> dict[str, str]:
    """Everybody's environment, and zig's cache in ours. Raises ToolchainError TC-T112 when it cannot be written."""
    zig_cache = assets.cache_directory() / "zig"
    try:
        zig_cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=zig_cache).close()
    except OSError as error:  # zig itself waits for ever
        fix = "set TINYCOMPRESS_CACHE to a directory that can be written"
        raise ToolchainError(
            "TC-T112", f"the cache cannot be written: {error}", where=str(zig_cache), fix=fix
        ) from error
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(zig_cache), "ZIG_LOCAL_CACHE_DIR": str(zig_cache), "LC_ALL": "C"}
