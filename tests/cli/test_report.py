"""What a run prints and writes: one JSON document by the schema, tables for people, progress only on stderr."""

from __future__ import annotations

import json
import os
import pty
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.cli.command import Outcome, command, environment, tinycompress
from tests.unit.report.test_runs import WHOLE
from tinycompress.report import model as report_model

SCHEMA = json.loads((Path(report_model.__file__).parent / "schema.json").read_text(encoding="utf-8"))


def test_the_document_follows_the_schema(printed: dict[str, Any]) -> None:
    jsonschema.validate(printed, SCHEMA)
    assert printed["counted"]["instructions"] > 0
    assert printed["measured"] is None
    assert printed["estimated"]["error"] == 0.4
    assert printed["provenance"]["emulator"] == "unicorn"
    assert printed["validation"] == {"samples": 20, "tensors": 2, "mismatching_bytes": 0, "first_divergence": None}


def test_flash_parts_are_those_of_the_plan_and_the_elf(run: Path, printed: dict[str, Any]) -> None:
    flash = printed["flash"]
    assert flash["total_bytes"] == flash["code_bytes"] + flash["weights_bytes"] + flash["constants_bytes"]
    assert flash["weights_bytes"] >= sum(layer["weights_bytes"] for layer in printed["layers"]) > 0


def test_the_file_is_what_was_printed(run: Path, printed: dict[str, Any]) -> None:
    path = run / "report.json"
    assert json.loads(path.read_text()) == printed
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
    assert tinycompress("report", run, "--json").stdout == path.read_text()
    assert tinycompress("report", path, "--json").stdout == path.read_text()


def test_progress_is_on_stderr_and_nothing_is_coloured(run: Path) -> None:
    said = (run.parent / "stderr.txt").read_text()
    stages = [line.split()[0] for line in said.splitlines()]
    assert stages == ["import", "quantize", "plan", "generate", "build", "build", "run", "profile"] or stages == [
        *("import", "quantize", "plan", "generate", "build", "run", "profile")
    ]
    assert "\x1b" not in said + (run.parent / "stdout.json").read_text()


def test_the_tables_name_the_kind_of_each_number(run: Path) -> None:
    text = tinycompress("report", run).stdout
    assert all(word in text for word in ("exact", "counted", "estimated", "+-40%", "every byte equal"))
    assert "measured" not in text


def test_a_report_as_a_document(run: Path, tmp_path: Path) -> None:
    written = tinycompress("report", run, "-o", tmp_path / "r.html")
    assert written.stdout.strip() == str(tmp_path / "r.html")
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert tinycompress("report", run, "--format", "html").stdout == (tmp_path / "r.html").read_text()
    assert "## Layers" in tinycompress("report", run, "--format", "md").stdout
    assert "## Runs" in tinycompress("report", run, run, "--format", "md").stdout
    assert tinycompress("report", run, "--format", "md", "--json").returncode == 2
    alone = tmp_path / "report.json"
    alone.write_text((run / "report.json").read_text())
    assert "<svg" not in tinycompress("report", alone, "--format", "html").stdout
    assert tinycompress("report", run, "-o", tmp_path / "no" / "r.md").returncode == 2


def test_a_run_that_only_compressed(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "run" / "compress").mkdir(parents=True)
    (tmp_path / "run" / "compress" / "summary.json").write_text(json.dumps(WHOLE))
    status, out, _ = inside("report", "run")
    assert status == 0
    assert out.splitlines()[1].startswith("student")
    assert "budget: weights 1,400 B of 1,536 B (91%): kept (exact)" in out
    _, out, _ = inside("report", "run", "--format", "html")
    assert "<h2>Compression</h2>" in out
    status, out, _ = inside("report", "run", "--json")
    assert json.loads(out)[0]["model"] == "net"


def test_random_calibration_is_marked(float_model: Path, run: Path) -> None:
    done = tinycompress("measure", float_model, "--calibration", "random", "--emulate", "--json", "--samples", "2",
                        cwd=run.parent)  # fmt: skip
    assert any("random data" in note for note in json.loads(done.stdout)["notes"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("quantize",),
        ("generate",),
        ("build",),
        ("simulate",),
        ("analyze",),
        ("profile", "--emulate"),
        ("deploy", "--print-config"),
    ],
)
def test_json_is_exactly_one_document(arguments: tuple[str, ...], model: Path, run: Path) -> None:
    flags = () if "--print-config" in arguments else ("--json", "--run", str(run))
    done = tinycompress(arguments[0], model, *arguments[1:], *flags, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("name", ["boards", "ops", "doctor", "explain"])
def test_json_of_the_listings(name: str) -> None:
    done = tinycompress(name, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_every_code_in_the_source_is_explained() -> None:
    """Every code that the package raises has a long text, and `explain` finds it in either case."""
    import re

    from tinycompress.explain import texts

    root = Path(report_model.__file__).parents[1]
    used = set()
    for path in root.rglob("*.py"):
        if "explain" not in path.parts and "_share" not in path.parts:
            used |= set(re.findall(r'"(TC-[CMBTDVQ]\d{3})"', path.read_text(encoding="utf-8")))
    assert used - set(texts()) == set()
    assert tinycompress("explain", "tc-b112").stdout.startswith("TC-B112\n")
    assert tinycompress("explain", "b112").stdout.startswith("TC-B112\n")
    assert {line[:6] for line in tinycompress("explain", "TC-B1").stdout.splitlines()} == {"TC-B10", "TC-B11"}


@pytest.mark.parametrize("values", ["float", "integer"])
def test_inputs_and_outputs_round_trip(values: str, model: Path, run: Path, tmp_path: Path) -> None:
    """The same samples as real and as int8 values give the same bytes; simulate writes what deploy writes."""
    from tinycompress.api import load
    from tinycompress.ir.inputs import integer_inputs

    graph = load(model)
    real = np.random.default_rng(1).standard_normal((3, 8, 8, 1)).astype(np.float32)
    integers = integer_inputs(real, graph)  # type: ignore[arg-type]
    np.savez(tmp_path / "in.npz", **{graph.input_names[0]: real if values == "float" else integers})
    flags = ("--inputs", tmp_path / "in.npz", "--run", run, "--outputs")
    for name, more in (("deploy", ("--emulate",)), ("simulate", ())):
        done = tinycompress(name, model, *more, *flags, tmp_path / f"{name}.npz", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    emulated, simulated = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("deploy", "simulate"))
    assert list(emulated) == list(simulated) == list(graph.outputs)
    for name in emulated:
        assert emulated[name].dtype == np.int8
        assert emulated[name].shape == (3, 2)
        assert np.array_equal(emulated[name], simulated[name])


def test_flag_beats_environment_beats_recipe(tmp_path: Path) -> None:
    (tmp_path / "tinycompress.toml").write_text('board = "nucleo_f746zg"\nseed = 1\n[deploy]\nsamples = 3\n')

    def settings(*flags: str, **variables: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            tinycompress("deploy", "--print-config", *flags, cwd=tmp_path, **variables).stdout
        )
        return document

    assert settings()["seed"] == 1
    assert settings(TINYCOMPRESS_SEED="2")["seed"] == 2
    assert settings("--seed", "0", TINYCOMPRESS_SEED="2")["seed"] == 0
    assert settings(TINYCOMPRESS_DEPLOY_SAMPLES="4")["deploy"]["samples"] == 4
    assert settings("--board", "stm32f746")["board"] == "stm32f746"


def test_a_network_is_called_as_the_user_says(model: Path, tmp_path: Path) -> None:
    done = tinycompress("generate", model, "--name", "gesture", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"gesture.h", "gesture.c"} <= set(json.loads(done.stdout)["files"])
    assert (tmp_path / "runs").is_dir()
    assert next((tmp_path / "runs").iterdir()).name.startswith("gesture-")


def test_compress_shows_its_whole_recipe() -> None:
    done = tinycompress("compress", "x.onnx", "--print-config", "--ram", "16KB", "--method", "taylor", "--epochs", "3")
    shown = json.loads(done.stdout)
    assert shown["budget"]["ram_bytes"] == 16384
    assert shown["compress"]["prune"]["method"] == "taylor"
    assert shown["compress"]["train"]["epochs"] == 3


def on_a_terminal(*arguments: str | Path, cwd: Path, **settings: str) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a command whose two streams are two terminals."""
    ends = [pty.openpty(), pty.openpty()]
    process = subprocess.Popen(
        command(*arguments), cwd=cwd, env=environment(TERM="xterm", **settings), stdout=ends[0][1], stderr=ends[1][1]
    )
    for _, tail in ends:
        os.close(tail)
    texts = []
    for head, _ in reversed(ends):
        parts = []
        while part := _read(head):
            parts.append(part)
        os.close(head)
        texts.append(b"".join(parts).decode())
    return process.wait(), texts[1], texts[0]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_on_a_terminal_progress_stays_on_one_line(model: Path, run: Path) -> None:
    status, out, err = on_a_terminal("analyze", model, "--run", "terminal", cwd=run.parent)
    assert status == 0
    assert out.startswith("\x1b[1m#")
    assert "\n" not in err.replace("\r\n", "\n").rstrip("\n")
    assert err.endswith("\r\x1b[2K")
    _, plain, _ = on_a_terminal("analyze", model, "--run", run, cwd=run.parent, NO_COLOR="1")
    assert "\x1b" not in plain


def test_a_closed_pipe_is_not_an_error() -> None:
    shell = f"{' '.join(command('explain'))} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], env=environment(), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("boards",), ("explain", "TC-B101")])
def test_light_commands_take_little_time(arguments: tuple[str, ...]) -> None:
    """At most 0.3 s of processor time; the wall clock would measure what else runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "pass"], env=environment(), check=True)
    python = resource.getrusage(resource.RUSAGE_CHILDREN)
    tinycompress(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime - python.ru_utime) - (python.ru_utime - before.ru_utime) < 0.3
