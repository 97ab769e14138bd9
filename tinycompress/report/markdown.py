"""A document as Markdown; names from a model cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinycompress.report.document import Section
from tinycompress.report.text import visible

_SPECIAL = re.compile(r"([\\`*\[\]|<>&])")


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The document with GitHub's tables."""
    parts = [f"# {_text(title)}"]
    for section in sections:
        parts.append(f"## {_text(section.title)}")
        if section.header:
            rule = ["---:" if i in section.right else "---" for i in range(len(section.header))]
            rows = [[_text(cell) for cell in row] for row in (section.header, *section.rows)]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])))
        parts += [_text(line) for line in section.lines]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(text))
