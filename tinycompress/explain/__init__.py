"""The long text behind every diagnostic code: one module per room, each with an `EXPLAIN` table; collated here."""

from __future__ import annotations

import importlib
import pkgutil


def texts() -> dict[str, str]:
    """Every code's long text, from all modules of this package, sorted by code."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(__path__):
        found.update(importlib.import_module(f"{__name__}.{module.name}").EXPLAIN)
    return dict(sorted(found.items()))
