"""Builds a generated library for the machine this runs on, as a shared object for ctypes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tinycompress import assets
from tinycompress.build.toolchain import WARNINGS, compiler_version, run_compiler, zig_command
from tinycompress.errors import ToolchainError

_SYSTEM_COMPILERS = ("gcc", "clang")


@dataclass(frozen=True)
class HostLibrary:
    """A shared object. `sanitizers` says which checks are really in it (``address``, ``undefined`` or none).

    A library with ``address`` loads only into a process that was started with `preload` in LD_PRELOAD (and
    ``ASAN_OPTIONS=detect_leaks=0``); an error then ends that process.
    """

    path: Path
    compiler: str
    sanitizers: tuple[str, ...]
    preload: tuple[Path, ...]


def build_host_library(
    program_dir: Path, target: Path, *, sanitize: bool = False, hooks: bool = False, compiler: str | None = None
) -> HostLibrary:
    """Compile every C file of `program_dir` into the shared object `target`.

    `compiler` is ``gcc``, ``clang`` or ``zig``. By default a sanitized build takes the system's gcc or clang when it
    can link AddressSanitizer, else zig, which has only UndefinedBehaviorSanitizer; a plain build takes zig. With
    `hooks` the library is compiled with TC_HOOKS and exports the variables ``tc_host_step_begin`` and
    ``tc_host_row_done`` (firmware/host/hooks.c). Raises ToolchainError TC-T103 when it does not compile.
    """
    name = compiler or (_sanitizing_compiler() if sanitize else "zig")
    command = _command(name)
    sanitizers: tuple[str, ...] = ()
    if sanitize:
        sanitizers = ("undefined",) if name == "zig" else ("address", "undefined")
    flags = ["-std=c11", "-O1" if sanitize else "-O2", "-g" if sanitize else "-g0", "-fPIC", "-shared", *WARNINGS]
    flags += ["-fno-sanitize=all"] if name == "zig" and not sanitize else []
    flags += [f"-fsanitize={','.join(sanitizers)}", "-fno-sanitize-recover=all"] if sanitizers else []
    sources = [path.name for path in sorted(program_dir.glob("*.c"))]
    if not sources:
        raise ToolchainError("TC-T109", "there is no C file in the program directory", where=str(program_dir))
    if hooks:
        firmware = assets.directory("firmware")
        flags += ["-DTC_HOOKS=1", f"-I{firmware}"]
        sources.append(str(firmware / "host" / "hooks.c"))
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"the library does not compile for the host with {name}"
    run_compiler([*command, *flags, *sources, "-o", str(target.resolve())], program_dir, code="TC-T103", what=what)
    preload = _address_runtime(command) if "address" in sanitizers else ()
    return HostLibrary(target, compiler_version(command), sanitizers, preload)


def _command(name: str) -> tuple[str, ...]:
    if name == "zig":
        return zig_command()
    path = shutil.which(name)
    if path is None:
        raise ToolchainError("TC-T102", f"{name} is not on the path", fix="use compiler zig, which pip installs")
    return (path,)


def _sanitizing_compiler() -> str:
    """A system compiler whose AddressSanitizer runtime exists, else zig."""
    for name in _SYSTEM_COMPILERS:
        path = shutil.which(name)
        if path is not None and _address_runtime((path,)):
            return name
    return "zig"


def _address_runtime(command: tuple[str, ...]) -> tuple[Path, ...]:
    names = ("libasan.so", "libclang_rt.asan-x86_64.so", "libclang_rt.asan.so")
    for name in names:
        done = subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True, timeout=60)
        path = Path(done.stdout.strip())
        if path.is_absolute() and path.exists():
            return (path.resolve(),)
    return ()
