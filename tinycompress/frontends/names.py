"""Names from files become safe, unique identifiers; the user's own name stays in `source`."""

from __future__ import annotations

import re

from tinycompress.ir.ops import Op

LONGEST_NAME = 40
LONGEST_SOURCE = 200

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


def safe_name(text: str, fallback: str = "x") -> str:
    """`text` as an identifier of letters, digits and single underscores, at most LONGEST_NAME characters.

    The start of a long path is dropped rather than its end, which is where names differ.
    """
    words = _UNSAFE.sub("_", text).strip("_")[-LONGEST_NAME:].strip("_")
    if not words:
        return fallback
    return f"{fallback}{words}" if words[0].isdigit() else words


def source_name(text: str) -> str:
    """A user's name for comments and messages: printable ASCII only, at most LONGEST_SOURCE characters."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text[: LONGEST_SOURCE + 1])
    return printable if len(printable) <= LONGEST_SOURCE else printable[: LONGEST_SOURCE - 3] + "..."


def user_names(op: Op) -> str:
    """The nodes of the user's file that an operator came from, for messages."""
    return ", ".join(dict.fromkeys(op.source)) or op.name


class NameScope:
    """Hands out names that are not yet taken, compared without case (C files and Windows paths fold it)."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_2`, `wanted_3` …, whichever is free first."""
        name, key = wanted, wanted.lower()
        count = self._last.get(key, 1)
        while name.lower() in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        # Where the search ended, so that ten thousand equal names cost no more than different ones.
        self._last[key] = count
        self._taken.add(name.lower())
        return name
