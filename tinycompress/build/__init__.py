"""Compiles generated C for a target, and reads what came out. Imports neither torch nor the IR."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycompress.build.binding import Binding, BoundTensor
    from tinycompress.build.elf import Sizes
    from tinycompress.build.firmware import Firmware, Identity, build_firmware
    from tinycompress.build.stack import StackBound

_HOMES = {
    "Binding": "binding",
    "BoundTensor": "binding",
    "Firmware": "firmware",
    "Identity": "firmware",
    "Sizes": "elf",
    "StackBound": "stack",
    "build_firmware": "firmware",
}

__all__ = [
    "Binding",
    "BoundTensor",
    "Firmware",
    "Identity",
    "Sizes",
    "StackBound",
    "build_firmware",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
