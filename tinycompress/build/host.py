"""The C compiler of the machine this runs on."""

from __future__ import annotations

import os
import shutil

from tinycompress.build.toolchain import zig_command

_SYSTEM_COMPILERS = ("cc", "gcc", "clang")


def host_compiler() -> tuple[str, ...]:
    """``$CC``, the system's, else zig's from PyPI. Raises ToolchainError TC-T101 when there is none."""
    named = os.environ.get("CC", "").split()
    if named:
        return tuple(named)
    found = next(filter(None, map(shutil.which, _SYSTEM_COMPILERS)), None)
    return (found,) if found else zig_command()
