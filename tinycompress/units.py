"""Sizes, counts and times as people read them. The only formatter of such numbers."""

from __future__ import annotations

import re

_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(B|KB|KiB|MB|MiB)?\s*$", re.IGNORECASE)
_SIZE_FACTORS = {"b": 1, "kb": 1024, "kib": 1024, "mb": 1024**2, "mib": 1024**2}


def format_bytes(count: int) -> str:
    """`21504` → ``'21.0 KB'`` (1 KB = 1024 B); below 1024 B the exact count."""
    if abs(count) < 1024:
        return f"{count} B"
    if abs(count) < 1024**2:
        return f"{count / 1024:.1f} KB"
    return f"{count / 1024**2:.2f} MB"


def format_count(count: float) -> str:
    """`12501632` → ``'12.50 M'``: MACs, parameters, instructions."""
    if abs(count) < 1e3:
        return f"{count:.0f}"
    if abs(count) < 1e6:
        return f"{count / 1e3:.1f} k"
    if abs(count) < 1e9:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e9:.2f} G"


def format_ms(milliseconds: float) -> str:
    """`12.345` → ``'12.35 ms'``."""
    if milliseconds < 0.1:
        return f"{milliseconds * 1e3:.1f} us"
    return f"{milliseconds:.2f} ms"


def format_resource(name: str, value: float) -> str:
    """A resource by its name: ``ram_bytes``, 21504 → ``'21.0 KB'``; ``latency_ms``, 3.2 → ``'3.20 ms'``."""
    if name.endswith("_bytes"):
        return format_bytes(round(value))
    return format_ms(value) if name.endswith("_ms") else format_count(value)


_RESOURCES = {
    "ram_bytes": "RAM",
    "flash_bytes": "flash",
    "weights_bytes": "weights",
    "macs": "MACs",
    "latency_ms": "latency",
    "min_accuracy": "accuracy",
}


def resource_name(key: str) -> str:
    """How people call a budget or resource, by its key in recipes: ``ram_bytes`` → ``'RAM'``."""
    return _RESOURCES.get(key, key)


def parse_bytes(text: str | int) -> int:
    """``'64KB'``, ``'1.5 MB'``, ``'4096'`` or an int → bytes (1 KB = 1024 B).

    Raises ValueError, naming the text, when it is not a non-negative size.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size; write bytes (65536) or a unit (64KB, 1MB)")
    return int(float(match[1]) * _SIZE_FACTORS[(match[2] or "B").lower()])
