"""Objects that the user names as ``pkg.mod:name`` or ``file.py:name``. Naming one is consent to run its module.

A package is imported with the working directory on the import path, a file is run with its own directory on it, so
that both find their neighbours.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tinycompress.errors import TinycompressError

_LISTED = 5


@dataclass(frozen=True)
class Refusal:
    """How a caller wants failures told: the exception, and its codes for "not there" and for "there, but it failed"."""

    kind: type[TinycompressError]
    absent: str
    failed: str


def load_object(reference: str, refusal: Refusal) -> Any:
    """What `reference` names. Raises `refusal.kind` with code `absent`, or `failed` when its module raises."""
    location, _, name = reference.rpartition(":")
    if not location or not name:
        raise refusal.kind(
            refusal.absent, f"{reference!r} does not name an object", fix="write pkg.mod:name or path/file.py:name"
        )
    module = _run_file(Path(location), refusal) if location.endswith(".py") else _import(location, refusal)
    try:
        return getattr(module, name)
    except AttributeError:
        public = sorted(n for n in vars(module) if not n.startswith("_"))[:_LISTED]
        raise refusal.kind(
            refusal.absent,
            f"{location} has no {name!r}",
            where=location,
            fix=f"it has {', '.join(public) or 'no names'}",
        ) from None


def _run_file(path: Path, refusal: Refusal) -> ModuleType:
    if not path.is_file():
        raise refusal.kind(
            refusal.absent, f"{path} does not exist", where=str(path), fix="check the path before the colon"
        )
    name = f"tinycompress_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable(path.resolve().parent):
        _guarded(lambda: loader.exec_module(module), str(path), refusal)
    return module


def _import(location: str, refusal: Refusal) -> ModuleType:
    with _importable(Path.cwd()):
        module: ModuleType = _guarded(lambda: importlib.import_module(location), location, refusal)
    return module


def _guarded(run: Callable[[], Any], where: str, refusal: Refusal) -> Any:
    try:
        return run()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if where == missing or where.startswith(f"{missing}."):
            raise refusal.kind(
                refusal.absent,
                f"there is no Python module {where!r}",
                where=where,
                fix="run from its directory, or give a file: path/file.py:name",
            ) from error
        raise refusal.kind(
            refusal.failed, f"{where} needs {missing!r}", where=where, fix=f"install {missing} in this environment"
        ) from error
    except Exception as error:  # the user's module may raise anything while it loads
        raise refusal.kind(refusal.failed, f"{where} failed: {type(error).__name__}: {error}", where=where) from error


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """`directory` first on the import path, for the time being."""
    entry = str(directory)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)
