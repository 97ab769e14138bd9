"""Arrays from npz and npy files that somebody else wrote: no pickle, and sizes checked before memory is taken."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 1024**3
"""Arrays of one file together: far above any data set for a microcontroller."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError, OverflowError)
"""What zipfile and numpy raise on damaged, encrypted or oddly compressed members."""


def read_npz(path: Path, *, max_bytes: int = MAX_BYTES, single: bool = False) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; with `single` also the one of a plain npy file, as ``x``.

    Raises OSError when the file cannot be read, ValueError when it is no such file, is damaged, holds objects, or
    declares more than `max_bytes` (or more than it contains).
    """
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _members(file, max_bytes)
            file.seek(0)
            alone = _array(file, os.fstat(file.fileno()).st_size, max_bytes, path.name)
        except _DAMAGED as error:
            raise ValueError(f"{path.name} is damaged: {error}") from None
    if not single:
        raise ValueError(f"{path.name} is one array, not an archive; numpy.savez writes those")
    return {"x": alone}


def _members(file: IO[bytes], max_bytes: int) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > max_bytes:
            raise ValueError(f"it unpacks to {total} B, the limit is {max_bytes} B")
        arrays = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as member:
                arrays[name] = _array(member, entry.file_size, max_bytes, repr(name))
        return arrays


def _array(file: IO[bytes], size: int, max_bytes: int, label: str) -> NDArray[Any]:
    """One array from `size` bytes; its header is looked at before room is made for what it declares."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{label} has format version {version}")
    shape, _, dtype = _HEADERS[version](file)
    declared, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if dtype.hasobject:
        raise ValueError(f"{label} holds Python objects, which are not loaded")
    if min(shape, default=0) < 0 or declared > min(left, max_bytes):
        raise ValueError(f"{label} declares shape {list(shape)} of {dtype}, {declared} B, and has {left} B")
    file.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
