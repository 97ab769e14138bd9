"""Names and text from a model as C can take them: identifiers, comments, string literals."""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_KEYWORDS = _set(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const consteval "
    "constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do double "
    "dynamic_cast else enum explicit export extern false float for friend goto if inline int long main mutable "
    "namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast "
    "requires restrict return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while "
    "xor xor_eq linux unix near far errno null int8_t int16_t int32_t uint8_t uint16_t uint32_t size_t"
)
_HEADERS = _set(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar arm_acle memory new queue "
    "stack vector map set list array tuple"
)
MAX_IDENTIFIER = 40
MAX_COMMENT = 160


def _words(text: str) -> str:
    """Letters, digits and single underscores only; may be empty."""
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]+", "_", text)).strip("_")[:MAX_IDENTIFIER].strip("_")


def identifier(text: str, fallback: str = "t") -> str:
    """A valid C and C++ identifier close to `text`: never empty, reserved or beginning with a digit or underscore."""
    name = _words(text) or fallback
    if name[0].isdigit() or name.lower() in _KEYWORDS:
        name = f"{fallback}_{name}"
    return name


def prefix_for(model: str) -> str:
    """The prefix of all a model exports, lower case; never a standard header's name nor the library's own `tc`."""
    name = identifier(model.lower(), "model")
    if name in _HEADERS or name.split("_")[0] in ("tc", "std"):
        name = f"model_{name}"
    return name


class Names:
    """Hands out identifiers that differ from one another even when written in capitals."""

    def __init__(self, taken: tuple[str, ...] = ()) -> None:
        self._taken = {name.upper() for name in taken}

    def fresh(self, text: str, fallback: str = "t") -> str:
        """`identifier(text)`, numbered when it was handed out before."""
        base = identifier(text, fallback)
        name, number = base, 2
        while name.upper() in self._taken:
            name = f"{base}_{number}"
            number += 1
        self._taken.add(name.upper())
        return name


def comment_text(text: object) -> str:
    """Text that is safe inside a block comment: printable ASCII on one line, no comment marks, bounded length."""
    shown = "".join(c if " " <= c <= "~" and c != "\\" else f"<{ord(c):x}>" for c in str(text))
    shown = shown.replace("*/", "*<2f>").replace("/*", "/<2a>").replace("??", "?<3f>")
    return shown if len(shown) <= MAX_COMMENT else shown[: MAX_COMMENT - 3] + "..."


def string_text(text: object) -> str:
    """The inside of a C string literal: everything but plain letters, digits and spacing marks as octal."""
    data = str(text).encode()
    plain = " .,:;_+-/()[]="
    return "".join(chr(b) if (chr(b).isalnum() and b < 128) or chr(b) in plain else f"\\{b:03o}" for b in data)
