"""npz files of others: right ones are read, all else is a ValueError that costs neither memory nor time."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tinycompress.npz import read_npz


def header(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    arrays = {"x": np.arange(12.0).reshape(3, 4), "y": np.asarray(7, np.uint8), "z": np.zeros((0, 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    np.save(tmp_path / "b.npy", np.asfortranarray(arrays["x"]))
    np.testing.assert_array_equal(read_npz(tmp_path / "b.npy", single=True)["x"], arrays["x"])
    with pytest.raises(ValueError, match="one array"):
        read_npz(tmp_path / "b.npy")


@pytest.mark.parametrize("shape", ["(1099511627776,)", "(1048576, 1048576, 1048576)", "(-1,)", "(-4, -4)", "(2, 9)"])
def test_a_header_that_asks_for_more_than_there_is(tmp_path: Path, shape: str) -> None:
    with pytest.raises(ValueError, match="declares shape"):
        read_npz(archive(tmp_path / "a.npz", {"x.npy": header(shape) + bytes(8)}))
    (tmp_path / "a.npy").write_bytes(header(shape) + bytes(8))
    with pytest.raises(ValueError, match="declares shape"):
        read_npz(tmp_path / "a.npy")


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": header("(4194304,)") + bytes(1 << 22)})
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="unpacks to"):
        read_npz(path, max_bytes=1 << 20)


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asarray([{}], dtype=object))
    with pytest.raises(ValueError, match="objects"):
        read_npz(tmp_path / "a.npz")


def test_damage_is_a_value_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.random.default_rng(0).normal(size=(20, 30)))
    good = buffer.getvalue()
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        (tmp_path / "a.npz").write_bytes(bytes(data[: int(rng.integers(1, len(data) + 1))]))
        try:
            found = read_npz(tmp_path / "a.npz")
        except (ValueError, OSError):
            continue
        assert sum(a.nbytes for a in found.values()) <= 20 * 30 * 8
