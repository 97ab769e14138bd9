"""The exit codes that need more than bad input: internal bugs, differing bytes, missed quality, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import Outcome, command, environment
from tinycompress.device import Session
from tinycompress.pipeline import Pipeline


def test_a_bug_is_1_and_says_so(inside: Callable[..., Outcome], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_pipeline: Pipeline, **_settings: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Pipeline, "analyze", broken)
    status, out, err = inside("analyze", model)
    assert (status, out) == (1, "")
    assert "RuntimeError: unforeseen" in err
    assert "this is a bug of tinycompress" in err


def test_differing_bytes_are_7_and_the_report_is_written(
    inside: Callable[..., Outcome], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Session.read_outputs

    def spoiled(session: Session) -> list[bytes]:
        first, *others = read(session)
        return [bytes([first[0] ^ 1, *first[1:]]), *others]

    monkeypatch.setattr(Session, "read_outputs", spoiled)
    status, out, err = inside("deploy", model, "--emulate", "--samples", "2", "--run", "run")
    assert status == 7
    assert "2 bytes differ: 2 samples" in out
    assert "FAILED" in out
    assert "error[TC-V101]: 2 bytes differ" in err
    assert "at byte 0 of sample 0" in err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["validation"]["mismatching_bytes"] == 2
    assert report["validation"]["first_divergence"]["sample"] == 0
    assert report["failure"]["code"] == "TC-V101"


def test_missed_accuracy_is_8(inside: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(60) % 2)
    (tmp_path / "tinycompress.toml").write_text(
        f'[model]\nsource = "{model}"\n[data]\nsource = "data.npz"\n[budget]\nmin_accuracy = 0.99\n'
        "[deploy]\nsamples = 2\n"
    )
    status, out, err = inside("deploy", "--emulate", "--run", "run")
    assert status == 8
    assert "at least 0.9900: MISSED" in out
    assert "error[TC-Q101]" in err
    assert "the floor is 0.9900" in err
    accuracy = json.loads((tmp_path / "run" / "report.json").read_text())["accuracy"]
    assert accuracy["metric"] == "accuracy"
    assert accuracy["float"] is None


@pytest.mark.parametrize(
    ("flags", "code", "has_report"),
    [
        (("--ram", "100"), "TC-B101", False),
        (("--flash", "1000"), "TC-B112", False),
        (("--latency-ms", "0.0001"), "TC-B111", True),
        (("--instructions", "100"), "TC-B110", True),
    ],
)
def test_json_is_one_document_when_a_budget_is_missed(
    flags: tuple[str, str], code: str, has_report: bool, inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    arguments = ("deploy", model, "--emulate", "--samples", "1", "--run", "run", *flags)
    status, out, err = inside(*arguments, "--json")
    document = json.loads(out)
    assert status == document["failure"]["exit_code"] == 4
    assert document["failure"]["code"] == code
    assert f"error[{code}]: {document['failure']['what']}" in err
    assert document["layers"][0]["live_bytes"] > 0
    assert has_report == (tmp_path / "run" / "report.json").exists()
    if has_report:
        assert document == json.loads((tmp_path / "run" / "report.json").read_text())
        (limit,) = document["limits"]
        assert limit["used"] > limit["limit"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--ram", "100"), "TC-B101"),
        (("--ram", "100", "--schedule", "layers"), "TC-B101"),
        (("--flash", "100"), "TC-B102"),
        (("--flash", "1000"), "TC-B112"),
        (("--recipe", "macs.toml"), "TC-B113"),
    ],
)
def test_what_does_not_fit_is_shown_layer_by_layer(
    flags: tuple[str, ...], code: str, inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "macs.toml").write_text("[budget]\nmacs = 10\n")
    for name in (("deploy", "--emulate"), ("build",)):
        arguments = (*name, model, *flags, "--run", "run")
        status, out, err = inside(*arguments)
        assert status == 4
        assert f"error[{code}]" in err
        assert "fix: compress the float network" in err
        table = out.splitlines()
        assert table[0].split()[-4:] == ["MACs", "weights", "scratch", "live"]
        assert [line.split()[0] for line in table[1:3]] == ["0", "1"]
        assert "most RAM" in out
        assert "most flash" in out
        document = json.loads(inside(*arguments, "--json")[1])
        assert document["failure"]["code"] == code
        assert [layer["name"] for layer in document["layers"]] == [line.split()[1] for line in table[1:3]]


def test_the_layers_shown_are_of_the_plan_that_the_message_is_about(
    inside: Callable[..., Outcome], model: Path
) -> None:
    for flags in (("--ram", "100"), ("--ram", "100", "--schedule", "layers"), ("--flash", "100")):
        status, out, _ = inside("analyze", model, *flags, "--json")
        found = json.loads(out)
        (need,) = re.findall(r"need[s]? (\d+) B", found["verdict"])
        assert status == 4
        assert int(need) == found["weights_bytes" if "--flash" in flags else "ram_bytes"]


def test_json_holds_the_failure_of_any_command(inside: Callable[..., Outcome]) -> None:
    for arguments in (("analyze", "nothing.onnx"), ("report", "nowhere"), ("explain", "TC-X1")):
        status, out, _ = inside(*arguments, "--json")
        assert json.loads(out)["failure"]["exit_code"] == status == 2


def test_an_interrupt_is_130(inside: Callable[..., Outcome], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_pipeline: Pipeline, **_settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "analyze", interrupted)
    status, out, err = inside("analyze", model)
    assert (status, out) == (130, "")
    assert "interrupted" in err


PRESSED = """
import os, signal, sys
class Pressed:
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            exec("os.kill(os.getpid(), signal.SIGINT)")
sys.meta_path.insert(0, Pressed())
"""


@pytest.mark.parametrize(
    ("module", "status", "said"),
    [
        ("typer", -signal.SIGINT, ""),
        ("tinycompress.cli.cmd_analyze", 130, "interrupted; the same command goes on from the last finished stage\n"),
        ("tinycompress.boards", 130, "interrupted; the same command goes on from the last finished stage\n"),
    ],
)
def test_an_interrupt_inside_an_import_is_quiet(module: str, status: int, said: str, tmp_path: Path) -> None:
    """Ctrl-C at any time, also inside code that an import runs by exec, after which Python would end by the signal."""
    (tmp_path / "sitecustomize.py").write_text(PRESSED.format(module=module))
    settings = environment()
    settings["PYTHONPATH"] = os.pathsep.join((str(tmp_path), settings["PYTHONPATH"]))
    done = subprocess.run(command("boards"), capture_output=True, text=True, check=False, env=settings)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)
