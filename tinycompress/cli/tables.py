"""Tables as lines of text, fitted to the terminal: decoration goes first, then text is shortened, then columns go."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

LEAST = 12
"""Characters that a column of text keeps."""
_GAP = "  "


def table_lines(
    table: Sequence[Sequence[str]],
    right: Sequence[int],
    spare: Sequence[int] = (),
    columns: int | None = None,
    *,
    whole: Sequence[int] = (),
) -> list[str]:
    """`table`, its header first, as aligned lines; columns in `right` hold numbers and are right-aligned.

    Wider than `columns` it loses its bars (a column without title); its text is wrapped at spaces, names are shortened
    in the middle; where that is not enough, the `spare` columns go, the first one first. Numbers are never cut, nor is
    what stands in `whole` columns.
    """
    widths = {i: max(len(row[i]) for row in table) for i in range(len(table[0]))}
    text = [i for i in widths if i not in (*right, *whole)]
    if columns is not None and _total(widths) > columns:
        widths = {i: width for i, width in widths.items() if table[0][i]}
        for column in spare:
            if _total({i: min(width, LEAST) if i in text else width for i, width in widths.items()}) <= columns:
                break
            del widths[column]
        _narrow(widths, [i for i in text if i in widths], columns)
    return [line for row in table for line in _row_lines(row, widths, right)]


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _narrow(widths: dict[int, int], text: Sequence[int], columns: int) -> None:
    """Takes from the widest of the `text` columns until the table fits, or all are down to LEAST."""
    while _total(widths) > columns and any(widths[i] > LEAST for i in text):
        widths[max(text, key=lambda i: widths[i])] -= 1


def _row_lines(row: Sequence[str], widths: dict[int, int], right: Sequence[int]) -> list[str]:
    cells = {i: _broken(row[i], width) for i, width in widths.items()}
    lines = []
    for number in range(max(map(len, cells.values()))):
        parts = [cells[i][number] if number < len(cells[i]) else "" for i in widths]
        padded = (p.rjust(w) if i in right else p.ljust(w) for (i, w), p in zip(widths.items(), parts, strict=True))
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _broken(cell: str, width: int) -> list[str]:
    """`cell` in lines of at most `width`: broken at spaces, longer words without their middle."""
    if len(cell) <= width:
        return [cell]
    words = " ".join(shortened(word, width) for word in cell.split(" "))
    return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)


def shortened(word: str, width: int) -> str:
    """`word` in at most `width` characters, its middle replaced by an ellipsis: both ends of a name tell it apart."""
    if len(word) <= width:
        return word
    tail = (width - 1) // 2
    return f"{word[: width - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{word[len(word) - tail :]}"
