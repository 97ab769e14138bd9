"""The serial link to a measuring firmware, and what stands behind the port: a board or an emulator."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycompress.device.emulator import emulate
    from tinycompress.device.session import Measured, Session, open_session

_HOMES = {"Measured": "session", "Session": "session", "emulate": "emulator", "open_session": "session"}

__all__ = ["Measured", "Session", "emulate", "open_session"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
