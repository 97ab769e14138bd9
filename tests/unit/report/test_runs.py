"""Several runs in one table: what compressions and deployments left in their directories."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.report.test_schema import emulated
from tinycompress.errors import ConfigError
from tinycompress.report.document import of_compression
from tinycompress.report.model import Failure, to_json
from tinycompress.report.runs import HEADER, kinds, read_compression, read_runs, run_rows

SUMMARY = {
    "model": "net",
    "recipe": {"seed": 3, "prune": {"method": "taylor"}},
    "parameters": 1200,
    "metric": "accuracy",
    "float": 0.97,
    "int8": 0.96,
    "samples": 100,
    "resources": {"weights_bytes": 1400, "arena_bytes": 900, "macs": 5000.0},
    "budget": {"weights_bytes": 1536.0, "latency_ms": 2.5, "min_accuracy": 0.9},
}
STAGE = {"name": "student", "score": 0.97, "parameters": 1200, "resources": {"ram_bytes": 900.0}, "seconds": 3.2}
RESOURCES = {"weights_bytes": 1400, "flash_bytes": 5000.0}
WHOLE = {
    **SUMMARY,
    "resources": RESOURCES,
    "budget": {"weights_bytes": 1536.0, "flash_bytes": 4000.0},
    "widths": {"conv": 5},
    "stages": [STAGE],
    "notes": ["a note"],
}


def compression(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


def test_a_compression_is_a_line_wherever_it_was_saved(tmp_path: Path) -> None:
    compression(tmp_path / "run" / "compress")
    (inside, saved), without = read_runs([tmp_path / "run", compression(tmp_path / "saved")])
    assert without == []
    assert inside.run == str(tmp_path / "run")
    assert (inside.method, inside.seed, inside.int8, inside.arena_bytes) == ("taylor", 3, 0.96, 900)
    assert saved.budget == SUMMARY["budget"]
    row = dict(zip(HEADER, run_rows([inside])[0], strict=True))
    assert row["budget"] == "weights 1.5 KB, latency 2.50 ms, min_accuracy 0.9"
    assert (row["parameters"], row["instructions"]) == ("1,200", "-")
    assert kinds([inside]).startswith("float, int8: accuracy on the test split; weights, arena: exact")


def test_a_deployment_knows_better_what_its_compression_promised(tmp_path: Path) -> None:
    compression(tmp_path / "run" / "compress")
    report = emulated()
    (tmp_path / "run" / "report.json").write_text(to_json(report))
    for path in (tmp_path / "run", tmp_path / "run" / "report.json"):
        (line,), _ = read_runs([path])
        assert (line.method, line.budget) == ("taylor", SUMMARY["budget"])
        assert line.weights_bytes == report.flash.weights_bytes
        assert report.counted is not None
        assert line.instructions == report.counted.instructions


def test_a_broken_promise_is_seen_among_the_runs(tmp_path: Path) -> None:
    failure = Failure("TC-B111", "too late", None, None, 4)
    (tmp_path / "report.json").write_text(to_json(replace(emulated(), failure=failure)))
    (line,), _ = read_runs([tmp_path])
    row = dict(zip(HEADER, run_rows([line])[0], strict=True))
    assert row["failed"] == "TC-B111"
    assert row["budget"] == "ram 128 B, latency 2.0 us, min_accuracy 0.98"


def test_runs_without_a_result_are_named_and_damaged_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "going").mkdir()
    (tmp_path / "file").write_text("")
    assert read_runs([tmp_path / "going", tmp_path / "file"]) == ([], [tmp_path / "going", tmp_path / "file"])
    for text in ("{", "[]", '{"resources": 3}'):
        (tmp_path / "going" / "summary.json").write_text(text)
        with pytest.raises(ConfigError, match=r"TC-C110.*not a summary of a compression"):
            read_runs([tmp_path / "going"])


def test_a_compression_by_itself(tmp_path: Path) -> None:
    assert read_compression(tmp_path) is None
    with pytest.raises(ConfigError, match=r"TC-C110.*it lacks widths, stages, notes"):
        read_compression(compression(tmp_path / "cut"))
    (tmp_path / "summary.json").write_text(json.dumps(WHOLE))
    summary = read_compression(tmp_path)
    assert summary == WHOLE
    section = of_compression(summary)
    assert section.rows == (("student", "0.9700", "1,200", "900", "-", "-", "-", "3"),)
    assert section.lines == (
        "test accuracy (n=100): float 0.9700, int8 0.9600",
        "budget: weights 1,400 B of 1,536 B (91%): kept (exact)",
        "budget: flash 5,000 B of 4,000 B (125%): MISSED (estimated)",
        "widths: conv 5",
        "note: a note",
    )
