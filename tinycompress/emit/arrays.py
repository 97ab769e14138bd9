"""Numbers as C initialisers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinycompress.ir.tensor import Array

LINE_WIDTH = 112


def integer(value: int) -> str:
    """A C integer constant; the two most negative values are written so that no constant overflows."""
    if value in (-(2**31), -(2**63)):
        return f"({value + 1}{'LL' if value < -(2**31) else ''} - 1)"
    return str(value)


def wrapped(items: Iterable[str], indent: str = "    ") -> str:
    """Items joined by commas in lines of at most LINE_WIDTH characters."""
    lines: list[str] = []
    line = indent
    for item in items:
        if len(line) + len(item) + 2 > LINE_WIDTH and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    lines.append(line.rstrip(" "))
    return "\n".join(lines).rstrip(",")


def initialiser(data: Array) -> str:
    """The flattened array as wrapped C constants, without braces."""
    flat = np.ascontiguousarray(data).ravel()
    suffix = "u" if flat.dtype.kind == "u" and flat.dtype.itemsize >= 4 else ""
    return wrapped(f"{integer(v)}{suffix}" for v in flat.tolist())
