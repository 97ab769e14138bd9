"""Reading npz files: never with pickle, and whatever is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

from tinycompress import npz
from tinycompress.data.dataset import Array
from tinycompress.errors import ConfigError


def read_npz(path: Path, *needed: str) -> dict[str, Array]:
    """Every array of the file; ConfigError TC-C301 without a file, TC-C302 when it is damaged or lacks one `needed`."""
    if not path.exists():
        raise ConfigError("TC-C301", f"data file {path} does not exist", where=str(path), fix="check its path")
    try:
        arrays = npz.read_npz(path)
    except (ValueError, OSError) as error:
        fix = "write it with numpy.savez(FILE, x=x, y=y), arrays of numbers"
        raise ConfigError("TC-C302", f"{path} cannot be read as npz: {error}", where=str(path), fix=fix) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ConfigError(
            "TC-C302", f"{path.name} has no array {', '.join(missing)}", where=str(path),
            fix=f"it has {', '.join(arrays) or 'no arrays'}",
        )  # fmt: skip
    return arrays
