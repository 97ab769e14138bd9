"""Run directories: reuse by key, nothing half-written, one owner at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycompress.errors import ConfigError
from tinycompress.rundir import RunDir, digest


def test_a_stage_is_made_once_per_key(tmp_path: Path) -> None:
    made: list[str] = []

    def make(folder: Path) -> None:
        made.append(folder.name)
        (folder / "out").write_text(str(len(made)))

    with RunDir.open(tmp_path / "run") as run:
        for key, expected in (("a", "1"), ("a", "1"), ("b", "2"), ("a", "3")):
            assert (run.stage("s", key, make) / "out").read_text() == expected
        assert run.reused == ["s"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", "s"]


def test_a_failed_stage_leaves_the_old_one(tmp_path: Path) -> None:
    def good(folder: Path) -> None:
        (folder / "out").write_text("good")

    def bad(folder: Path) -> None:
        (folder / "out").write_text("half")
        raise RuntimeError("boom")

    with RunDir.open(tmp_path) as run:
        run.stage("s", "a", good)
        with pytest.raises(RuntimeError):
            run.stage("s", "b", bad)
        assert (tmp_path / "s" / "out").read_text() == "good"
        assert not list(tmp_path.glob(".tmp-*"))


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    with RunDir.open(tmp_path), pytest.raises(ConfigError, match="TC-C120"), RunDir.open(tmp_path):
        pass


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-s-1").mkdir()
    with RunDir.open(tmp_path):
        assert not (tmp_path / ".tmp-s-1").exists()


def test_a_file_in_the_way_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="TC-C121"), RunDir.open(tmp_path / "file" / "run"):
        pass


def test_digest_depends_on_every_part() -> None:
    assert digest("a", "b") != digest("ab") != digest(b"ab")
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})
