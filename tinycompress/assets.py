"""Finds what ships beside the package: ``codegen/``, ``firmware/`` and ``boards/``.

A wheel carries them in ``<package>/_share``; in a checkout they lie beside the package, so that an editable install
sees every edit at once.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """Directory of ``codegen``, ``firmware`` or ``boards``.

    Raises FileNotFoundError, naming both places, when the installation is incomplete.
    """
    candidates = (_PACKAGE / "_share" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"{name}/ is neither {candidates[0]} nor {candidates[1]}: the installation is incomplete")


def cache_directory() -> Path:
    """Where compilers and built helpers are cached: ``$TINYCOMPRESS_CACHE``, else the user's XDG cache."""
    own = os.environ.get("TINYCOMPRESS_CACHE")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    base = Path(xdg) if xdg else Path.home() / ".cache"
    return base / "tinycompress"
