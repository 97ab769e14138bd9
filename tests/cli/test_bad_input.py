"""What a user gets wrong ends in one diagnostic: its exit code, where it is, and what to do about it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import (
    Outcome,
    command,
    environment,
    fails,
    onnx_network,
    reshape_network,
    tinycompress,
    unsupported_network,
)

RANDOM = ("--calibration", "random")


def test_what_is_missing_is_said_before_a_run_directory_is_made(
    inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text("")
    for arguments, words in (
        (("nothing.onnx",), "'nothing.onnx' does not exist"),
        (("net.py",), "net.py:NAME"),
        (("none.py:make",), "'none.py' does not exist"),
        (("net.py:make", "--weights", "none.pt"), "no such weights file"),
        ((model, "--board", "stm32f764"), "did you mean 'stm32f746'?"),
    ):
        status, out, err = inside("analyze", *arguments)
        assert (status, out) == (2, "")
        assert words in err
    assert "compression needs data" in inside("compress", model, "--ram", "4KB")[2]
    assert not (tmp_path / "runs").exists()


def test_a_nan_weight_is_refused_by_name(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    status, out, err = inside("deploy", onnx_network(tmp_path / "n.onnx", nan=True), *RANDOM, "--emulate")
    assert (status, out) == (3, "")
    assert "error[TC-M004]: 1 of 36 values" in err
    assert "net_conv" in err


def test_a_dynamic_shape_is_refused(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    status, _, err = inside("analyze", onnx_network(tmp_path / "n.onnx", rows="height"))
    assert status == 3
    assert "error[TC-M303]" in err
    assert "static shapes" in err


def test_all_unsupported_operators_are_named_at_once(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    status, _, err = inside("analyze", unsupported_network(tmp_path / "n.onnx"))
    assert status == 3
    assert all(name in err for name in ("first_bad (Det)", "between (Erf)", "second_bad (NonZero)"))


def test_a_float_file_needs_calibration(inside: Callable[..., Outcome], float_model: Path) -> None:
    status, _, err = inside("deploy", float_model, "--emulate")
    assert status == 2
    assert "error[TC-C106]" in err
    assert "--calibration random" in err


def test_a_pt2_file_is_refused_without_reading_it(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"anything")
    status, _, err = inside("deploy", tmp_path / "m.pt2", "--emulate")
    assert status == 3
    assert "error[TC-M600]" in err
    assert "--trust-model" in err


def test_an_emulator_without_the_board_is_said_before_the_build(inside: Callable[..., Outcome], model: Path) -> None:
    status, _, err = inside("deploy", model, "--emulate", "--board", "mps2-an500")
    assert status == 6
    assert "error[TC-D331]" in err
    assert "--engine qemu" in err
    assert "build " not in err


def test_a_network_that_computes_nothing_is_refused(inside: Callable[..., Outcome], tmp_path: Path) -> None:
    reshaped = reshape_network(tmp_path / "n.onnx")
    for name in ("analyze", "generate"):
        status, out, err = inside(name, reshaped, *RANDOM)
        assert (status, out) == (3, "")
        assert "error[TC-M507]: 'n' computes nothing" in err


@pytest.mark.parametrize("text", ['{"schema": 2}', "[]", "{", '{"schema": 1, "model": {}}'])
def test_what_is_not_a_report(text: str, inside: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    status, out, err = inside("report", "report.json")
    assert (status, out) == (2, "")
    assert "error[TC-C110]: not a schema 1 report" in err


def test_without_a_board_deploy_names_the_flag(inside: Callable[..., Outcome], model: Path) -> None:
    for name in ("deploy", "measure", "profile", "flash"):
        status, out, err = inside(name, model)
        assert (status, out) == (6, ""), name
        assert "error[TC-D190]" in err
        assert "--emulate" in err
        assert "build" not in err.split("error[")[0], "nothing is built before the board is looked for"


@pytest.mark.parametrize(
    ("budget", "code", "words"),
    [
        ('ram_bytes = "100 B"', "TC-B101", ("over by", "layer")),
        ('weights_bytes = "300 B"', "TC-B102", ("over by", "layer")),
        ("flash_bytes = 1000", "TC-B112", ("B code", "over by", "layer")),
        ("instructions = 100\nlatency_ms = 0.001", "TC-B110", ("over by", "layer")),
        ("macs = 100", "TC-B113", ("over by", "MACs", "layer")),
        ("latency_ms = 0.001", "TC-B111", ("over by", "1.0 us", "layer")),
    ],
)
def test_a_model_over_budget_ends_with_4(
    budget: str, code: str, words: tuple[str, ...], inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "tinycompress.toml").write_text(
        f'[model]\nsource = "{model}"\n[budget]\n{budget}\n[deploy]\nsamples = 1'
    )
    status, out, err = inside("deploy", "--emulate")
    assert status == 4
    assert "most RAM" in out
    assert f"error[{code}]" in err
    assert all(word in err for word in words), err
    assert "fix: compress the float network it was made from: `tinycompress compress MODEL --data DATA`" in err, err


def test_code_that_takes_the_weights_share_is_planned_again(
    inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    """A flash budget between the fastest plan's library and the smallest one's is met, by smaller kernels."""
    import json

    def library(budget: int) -> int:
        (tmp_path / "r.toml").write_text(f"[budget]\nflash_bytes = {budget}")
        status, out, err = inside("build", model, "--recipe", "r.toml", "--json")
        assert status == 0, err
        size: int = json.loads(out)["library"]["flash_bytes"]
        return size

    fastest = library(1_000_000)
    assert library(fastest - 1) < fastest


def test_a_floor_without_data_cannot_be_judged(
    inside: Callable[..., Outcome], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYCOMPRESS_BUDGET_MIN_ACCURACY", "0.9")
    status, _, err = inside("deploy", model, "--emulate")
    assert status == 2
    assert "error[TC-C133]" in err


@pytest.mark.parametrize(
    ("recipe", "code", "words"),
    [
        ('[compress.prune]\nmethd = "taylor"', "TC-C102", ("methd", "'method'", "compress.prune")),
        ('[compress.prune]\nmethod = "tailor"', "TC-C103", ("'taylor'",)),
        ("[compress]\nprune = 3", "TC-C103", ("compress.prune",)),
        ("compress = 3", "TC-C103", ("[compress]",)),
        ('model = "x.onnx"', "TC-C103", ("[model]",)),
        ('[budget]\nflash_bytes = "many"', "TC-C103", ("budget.flash_bytes", "'many'")),
        ('[data]\nsorce = "x"', "TC-C102", ("data.sorce", "'source'")),
    ],
)
def test_a_wrong_recipe_is_found_before_anything_runs(
    recipe: str, code: str, words: tuple[str, ...], inside: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(recipe)
    for arguments in (["deploy", "--recipe", "r.toml", "--print-config"], ["analyze", "x.onnx", "--recipe", "r.toml"]):
        status, out, err = inside(*arguments)
        assert (status, out) == (2, "")
        assert f"error[{code}]" in err
        assert "import " not in err
        assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--toolchain", "clang"), "'zig' or 'gcc'"),
        (("--samples", "0"), "deploy.samples = 0"),
        (("--rounding", "up"), "'double' or 'single'"),
        (("--schedule", "fast"), "plan.schedule"),
        (("--seed", "x"), "not a valid integer"),
        (("--engine", "bochs"), "unicorn"),
        (("--input-shape", "1,a"), "TC-C104"),
    ],
)
def test_a_wrong_flag_says_what_is_right(flags: tuple[str, str], words: str, inside: Callable[..., Outcome]) -> None:
    status, out, err = inside("deploy", "x.tflite", "--emulate", *flags)
    assert (status, out) == (2, "")
    assert words in err


def test_a_setting_in_the_environment_is_named_when_wrong(
    inside: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYCOMPRESS_QUANTIZE_ROUNDING", "up")
    assert "TINYCOMPRESS_QUANTIZE_ROUNDING" in inside("deploy", "x.tflite", "--print-config")[2]
    monkeypatch.delenv("TINYCOMPRESS_QUANTIZE_ROUNDING")
    monkeypatch.setenv("TINYCOMPRESS_BORD", "x")
    status, _, err = inside("deploy", "x.tflite", "--print-config")
    assert status == 2
    assert "'TINYCOMPRESS_BOARD'" in err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 1, 8, 9), np.float32), "takes"),
        (np.zeros((0, 1, 8, 8), np.float32), "empty"),
        (np.full((3, 1, 8, 8), np.nan, np.float32), "NaN"),
        (np.array(["a", "b"]), "not numbers"),
        (np.array([{}]), "cannot read"),
        (b"not an archive", "cannot read"),
        (None, "No such file"),
    ],
)
def test_wrong_inputs_are_refused_before_the_build(
    values: object, words: str, inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "in.npz"
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif isinstance(values, np.ndarray):
        np.savez(path, x=values)
    status, out, err = inside("deploy", model, "--emulate", "--inputs", path)
    assert (status, out) == (2, "")
    assert "error[TC-C107]" in err
    assert words in err
    assert "build " not in err


def test_places_that_cannot_be_written(inside: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (
        ("deploy", model, "--emulate", "--run", tmp_path / "file" / "run"),
        ("deploy", model, "--emulate", "--outputs", tmp_path / "nowhere" / "out.npz"),
        ("deploy", model, "--emulate", "--outputs", tmp_path),
        ("simulate", model, "--outputs", tmp_path / "nowhere" / "out.npz"),
        ("quantize", model, "--output", tmp_path / "file" / "q.tflite"),
        ("generate", model, "--output", tmp_path / "file" / "c"),
    ):
        status, out, err = inside(*arguments)
        assert (status, out) == (2, ""), err
        assert "error[TC-C121]" in err
    assert "error[TC-C131]" in inside("quantize", model, "--output", "q.docx")[2]


def test_a_full_disk_is_said_and_leaves_nothing_half_written(model: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    done = subprocess.run(
        command("quantize", model, "--run", tmp_path / "run"),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
    )
    assert "free some space" in fails(done, 2, "TC-C121")
    assert not (tmp_path / "run").exists()
    assert tinycompress("quantize", model, "--run", tmp_path / "run", cwd=tmp_path).returncode == 0


def test_missing_toolchains_and_emulators(model: Path, run: Path) -> None:
    """Without ziglang, arm-none-eabi-gcc, unicorn or QEMU, each is named with how to get it."""
    hide = "import sys; sys.modules.update({m: None for m in sys.argv.pop(1).split(',')});"
    hide += "import importlib.util as u; f = u.find_spec;"
    hide += "u.find_spec = lambda n, *a: None if n in sys.modules and sys.modules[n] is None else f(n, *a);"
    hide += "from tinycompress.cli import main; main()"
    for module, flags, status, code in (
        ("ziglang", [], 5, "TC-T101"),
        ("unicorn", [], 6, "TC-D330"),
        ("none", ["--toolchain", "gcc"], 5, "TC-T102"),
        ("none", ["--engine", "qemu"], 6, "TC-D330"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", hide, module, "deploy", str(model), "--emulate", "--run", str(run), *flags],
            capture_output=True,
            text=True,
            check=False,
            cwd=run.parent,
            env=environment(PATH=str(Path(sys.executable).parent)),
        )
        assert "fix: " in fails(done, status, code)


def test_names_from_a_model_are_escaped_everywhere(tmp_path: Path) -> None:
    """A name full of quotes, comment ends, newlines and terminal codes reaches files and terminal only escaped."""
    name = 'ev\x1b[31mil "*/ system("rm")\n#error \\ \u202e\x07'
    path = onnx_network(tmp_path / "a'b \x1b[2J;$(x).onnx", name=name)
    run = tmp_path / "run"
    done = tinycompress("deploy", path, *RANDOM, "--emulate", "--samples", "2", "--run", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert all(c.isprintable() or c == "\n" for c in shown)
    for file in (run / "program").glob("a_b*"):
        text = file.read_text(encoding="utf-8")
        assert "#error" not in [line.strip()[:6] for line in text.splitlines()], file
        assert text.isascii()
    for arguments in (["analyze", path], ["quantize", path, *RANDOM, "--text"], ["simulate", path, *RANDOM]):
        done = tinycompress(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr)


def test_a_wrong_flag_is_called_as_it_was_typed(inside: Callable[..., Outcome], model: Path) -> None:
    status, _, err = inside("deploy", model, "--samples", "0")
    assert status == 2
    assert "at:  --samples" in err


def test_flash_is_judged_with_the_estimated_code(inside: Callable[..., Outcome], model: Path) -> None:
    import json

    status, out, _ = inside("analyze", model, "--json")
    assert status == 0
    found = json.loads(out)
    between = found["weights_bytes"] + found["estimated_code_bytes"] // 4
    status, out, _ = inside("analyze", model, "--flash", str(between))
    assert status == 4
    assert f"of {between / 1024:.1f} KB" in out
    assert "does not fit: weights need" in out
    assert "fix     compress the float network" in out


def test_a_port_that_is_not_there_is_said_before_the_build(inside: Callable[..., Outcome], model: Path) -> None:
    for name in ("deploy", "flash"):
        status, _, err = inside(name, model, "--port", "/dev/no-such-port")
        assert status == 6
        assert "error[TC-D101]: there is no port '/dev/no-such-port'" in err
        assert "build " not in err


def test_wrong_data_is_said_before_the_import(inside: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", np.zeros((4, 2)))
    status, _, err = inside("deploy", model, "--data", "d.npz", "--emulate")
    assert status == 2
    assert "error[TC-C302]" in err
    assert "import " not in err


def test_data_that_cannot_be_scored_is_said_before_the_build(
    inside: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    """Labels without an output, labels that are none, no labels, samples of another shape: no accuracy of 0 instead."""
    x = np.zeros((20, 8, 8, 1), np.float32)
    for given, code in (
        ({"x": x, "y": np.arange(20) % 5}, "TC-C303"),
        ({"x": x, "y": np.arange(20) / 2}, "TC-C303"),
        ({"x": x}, "TC-C302"),
        ({"x": x[:, :4], "y": np.arange(20) % 2}, "TC-C107"),
    ):
        np.savez(tmp_path / "d.npz", **given)
        status, out, err = inside("deploy", model, "--data", "d.npz", "--emulate")
        assert (status, out) == (2, "")
        assert f"error[{code}]" in err
        assert "at:  d.npz" in err
        assert "\nbuild " not in err


def test_a_compiler_that_fails_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from tinycompress.build import toolchain
    from tinycompress.errors import ToolchainError

    monkeypatch.setattr(toolchain.shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(ToolchainError, match=r"m.c does not compile; the disk has 4096 B left .*free some space"):
        toolchain.run_compiler(["false"], tmp_path, code="TC-T103", what="m.c does not compile")
