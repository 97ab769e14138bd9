"""Reading npz files: never with pickle, and whatever is wrong with one is said."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from tinycompress.data.dataset import Array
from tinycompress.errors import ConfigError


def read_npz(path: Path, *needed: str) -> dict[str, Array]:
    """Every array of the file; ConfigError TC-C301 without a file, TC-C302 when it is damaged or lacks one `needed`."""
    if not path.exists():
        raise ConfigError("TC-C301", f"data file {path} does not exist", where=str(path))
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                fix = "write it with numpy.savez"
                raise ConfigError("TC-C302", f"{path.name} is one array, not an archive", where=str(path), fix=fix)
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError("TC-C302", f"{path} cannot be read as npz: {error}", where=str(path)) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ConfigError(
            "TC-C302", f"{path.name} has no array {', '.join(missing)}", where=str(path),
            fix=f"it has {', '.join(arrays) or 'no arrays'}",
        )  # fmt: skip
    return arrays
