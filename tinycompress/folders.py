"""Folders that are replaced as a whole: readers find the old one or the new one, never a half-written one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced_folder(final: Path, prefix: str) -> Iterator[Path]:
    """An empty folder beside `final` that takes its place, by rename, when the block ends well.

    When it does not, `final` stays as it was. Until then the names of all folders made begin with `prefix`, so that
    those of a killed process can be found. OSError when the parent cannot be written.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f"{prefix}{final.name}-", dir=final.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f"{prefix}{final.name}-old-", dir=final.parent))
            os.rename(final, old / "old")
            os.rename(scratch, final)
            shutil.rmtree(old)
        else:
            os.rename(scratch, final)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
