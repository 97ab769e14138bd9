"""Run directories: one locked folder a run, one sub-folder a stage, each written by rename and reused by its key.

A stage's key is a hash of everything it depends on, so an interrupted run goes on where it stopped and a changed
setting redoes exactly the stages behind it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tinycompress.errors import ConfigError
from tinycompress.folders import replaced_folder

STAGE_FILE = "stage.json"

_SCRATCH = ".tmp-"
"""How names of unfinished folders begin; what a killed run left of them is removed by the next one."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR)


def digest(*parts: Any) -> str:
    """Hex SHA-256 over JSON-encodable parts and bytes; equal parts give equal digests on every machine."""
    sha = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RunDir:
    """A run's folder. `stage` makes or reuses a stage; `reused` names those of this process that were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reused: list[str] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, fresh: bool = False) -> Iterator[RunDir]:
        """Create and lock the folder; `fresh` empties it first.

        ConfigError TC-C120 when another process holds it, TC-C121 when it cannot be written.
        """
        is_new = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / ".lock").open("a")
        except OSError as error:
            raise unwritable(path, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    "TC-C120",
                    "another run is using this directory",
                    where=str(path),
                    fix="wait for it, or give --run DIR",
                ) from None
            for entry in path.iterdir():
                if (fresh or entry.name.startswith(_SCRATCH)) and entry.name != ".lock":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            try:
                yield cls(path)
            except OSError as error:
                if error.errno in _FULL or _lies_in(path, error):
                    raise unwritable(path, error) from error
                raise
            finally:
                left = [entry.name for entry in path.iterdir()] if is_new and path.is_dir() else []
                if left == [".lock"]:  # nothing came of it: the model was not even read
                    (path / ".lock").unlink()
                    path.rmdir()

    def stage(self, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of stage `name`: reused when its key matches, else made by `make(folder)` and renamed in place.

        `make` gets an empty scratch folder beside it; when it raises (or the process dies), the old stage stays.
        """
        final = self.path / name
        if stored_key(final) == key:
            self.reused.append(name)
            return final
        return self.remake(name, make, key)

    def remake(self, name: str, make: Callable[[Path], None], key: str = "") -> Path:
        """The folder of stage `name`, made anew whatever is there; for stages that take less time than a check."""
        final = self.path / name
        with replaced_folder(final, _SCRATCH) as scratch:
            make(scratch)
            (scratch / STAGE_FILE).write_text(json.dumps({"stage": name, "key": key}) + "\n")
        return final

    def work(self, name: str, key: str) -> Path:
        """A folder for a long stage's own checkpoints, kept over interruptions while `key` stays the same."""
        folder = self.path / f"{name}.work"
        if stored_key(folder) != key:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
            (folder / STAGE_FILE).write_text(json.dumps({"stage": name, "key": key}) + "\n")
        return folder


def stored_key(folder: Path) -> str | None:
    """The key a finished stage was made with; None when there is none (or it is damaged)."""
    try:
        value = json.loads((folder / STAGE_FILE).read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` that replaces it when the block ends well; ConfigError TC-C121 when it cannot."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    os.close(descriptor)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o666 & ~_umask())
        scratch.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        scratch.unlink(missing_ok=True)


def require_writable(path: Path | None) -> None:
    """Raise ConfigError TC-C121 now, not after a long run, when the file `path` cannot be written."""
    if path is None:
        return
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _lies_in(folder: Path, error: OSError) -> bool:
    """Whether writing a file of `folder` is what failed."""
    if error.errno not in _FORBIDDEN or not isinstance(error.filename, str):
        return False
    return Path(error.filename).absolute().is_relative_to(folder.absolute())


def unwritable(path: Path, error: OSError) -> ConfigError:
    """The diagnostic for a folder or file that cannot be written: no permission, read-only, or a full disk."""
    reason = error.strerror or str(error)
    fix = "free some space" if error.errno in _FULL else "choose a place that can be written"
    return ConfigError("TC-C121", f"cannot write: {reason}", where=str(path), fix=fix)
