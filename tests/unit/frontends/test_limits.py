"""What every model file is held to before it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tinycompress.errors import ModelError
from tinycompress.frontends import limits, load_file


def code_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_file(path)
    return caught.value.code


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nothing.tflite") == "TC-M602"
    (tmp_path / "folder.onnx").mkdir()
    assert code_of(tmp_path / "folder.onnx") == "TC-M602"


def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    assert code_of(tmp_path / "pipe.tflite") == "TC-M602"


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    assert code_of(tmp_path / "model.h5") == "TC-M607"


def test_large_files_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    (tmp_path / "big.onnx").write_bytes(b"\0" * 101)
    assert code_of(tmp_path / "big.onnx") == "TC-M601"


@pytest.mark.parametrize("shape", [(0,), (-1, 3), (1,) * 7, (1 << 25,), (1 << 14, 1 << 14)])
def test_shapes_outside_the_limits(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="TC-M604"):
        limits.check_shape(shape, "tensor")


def test_counts_outside_the_limits() -> None:
    limits.check_count("tensors", 5, 5, "file")
    for count in (6, -1):
        with pytest.raises(ModelError, match="TC-M603"):
            limits.check_count("tensors", count, 5, "file")
