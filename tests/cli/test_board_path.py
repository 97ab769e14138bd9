"""`deploy` as with a board attached: fakes of OpenOCD record what they were told, the emulator's port is the board's.

The fake carries bytes only: it starts the very ELF it was given in the emulator and offers its port under a fixed name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command import command, environment, fails
from tinycompress.assets import directory as boards_folder
from tinycompress.boards import parse as parse_board

FAKE_OPENOCD = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
folder = Path({folder!r})
with (folder / "argv.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if {emulates}:
    from tinycompress import boards
    from tinycompress.device import emulator
    import dataclasses
    asked = [sys.executable, "-m", "tinycompress.device.emulator", "--elf", "firmware.elf",
             "--board", json.dumps(dataclasses.asdict(boards.board("stm32f746"))),
             "--hook", str(emulator._block_counter())]
    running = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with (folder / "pids").open("a") as log:
        log.write(f"{{running.pid}}\\n")
    port = json.loads(running.stdout.readline())["port"]
    link = folder / "tty"
    link.unlink(missing_ok=True)
    link.symlink_to(port)
print("** Verified OK **")
"""

WITHOUT_CLOCK_CHECK = (
    "from tinycompress.device.session import Session; Session.check_clock = lambda *_: 0.0;"
    "from tinycompress.cli import main; main()"
)
"""The emulator's core does not keep the board's clock, which is checked with a stopwatch before measuring."""


@pytest.fixture
def openocd(tmp_path: Path) -> Iterator[Callable[[bool], dict[str, str]]]:
    """`openocd(emulates)` puts a fake first on the path; the environment to run with."""

    def install(emulates: bool) -> dict[str, str]:
        program = tmp_path / "bin" / "openocd"
        program.parent.mkdir()
        program.write_text(FAKE_OPENOCD.format(python=sys.executable, folder=str(tmp_path), emulates=emulates))
        program.chmod(0o755)
        if emulates:
            (tmp_path / "tty").touch()  # the probe's serial port is there before the firmware is
        return environment(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    yield install
    pids = tmp_path / "pids"
    for line in pids.read_text().splitlines() if pids.exists() else ():
        try:
            os.kill(int(line), signal.SIGTERM)
        except ProcessLookupError:
            continue


def invoke(arguments: list[str], variables: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=cwd, env=variables)


def test_a_board_is_flashed_measured_and_compared(
    openocd: Callable[[bool], dict[str, str]], model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("unicorn")
    variables = openocd(True)
    start = [sys.executable, "-c", WITHOUT_CLOCK_CHECK]
    flags = ["--port", str(tmp_path / "tty"), "--samples", "2", "--json", "--run", str(tmp_path / "run")]
    done = invoke([*start, "deploy", str(model), *flags], variables, tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["target"], report["counted"], report["estimated"]) == ("board", None, None)
    assert report["measured"]["n"] == 50
    assert report["measured"]["min_ms"] <= report["measured"]["median_ms"] <= report["measured"]["p95_ms"]
    assert all(layer["cycles"] and layer["instructions"] is None for layer in report["layers"])
    assert report["validation"]["mismatching_bytes"] == 0
    told = [json.loads(line) for line in (tmp_path / "argv.jsonl").read_text().splitlines()]
    assert [argv[-1] for argv in told] == ["program firmware.elf verify reset exit"] * 2


def test_calibration_against_the_emulator_itself_is_one_cycle_an_instruction(
    openocd: Callable[[bool], dict[str, str]], model: Path, tmp_path: Path
) -> None:
    """The fake board counts instructions as cycles: the fit must find 1 and no error."""
    pytest.importorskip("unicorn")
    variables = openocd(True)
    start = [sys.executable, "-c", WITHOUT_CLOCK_CHECK]
    flags = ["--port", str(tmp_path / "tty"), "--run", str(tmp_path / "run")]
    done = invoke([*start, "calibrate", str(model), *flags], variables, tmp_path)
    assert done.returncode == 0, done.stderr
    table = tomllib.loads(done.stdout)["calibration"]
    assert (table["cycles_per_instruction"], table["error"]) == (1.0, 0.0)
    assert table["source"].startswith("small measured: ")
    assert "belongs into the file of board stm32f746" in done.stderr
    shipped = tomllib.loads((boards_folder("boards") / "stm32f746.toml").read_text(encoding="utf-8"))
    (tmp_path / "mine.toml").touch()
    board = parse_board({**shipped, "calibration": table, "id": "mine"}, tmp_path / "mine.toml")
    assert board.calibration is not None
    assert board.calibration.cycles_per_instruction == 1.0


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Both ends of a serial line whose far end has the name `tty`."""
    near, far = os.openpty()
    tty.setraw(far)
    (tmp_path / "tty").symlink_to(os.ttyname(far))
    yield near, far
    for end in (near, far):
        try:
            os.close(end)
        except OSError:
            continue


def flash(variables: dict[str, str], model: Path, run: Path, port: Path) -> subprocess.CompletedProcess[str]:
    return invoke(command("flash", model, "--port", port, "--run", run), variables, port.parent)


def test_a_port_that_is_not_there(
    openocd: Callable[[bool], dict[str, str]], model: Path, run: Path, tmp_path: Path
) -> None:
    assert "fix: " in fails(flash(openocd(False), model, run, tmp_path / "tty"), 6, "TC-D101")


def test_a_busy_port(
    openocd: Callable[[bool], dict[str, str]], wire: tuple[int, int], model: Path, run: Path, tmp_path: Path
) -> None:
    import fcntl

    fcntl.flock(wire[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    fails(flash(openocd(False), model, run, tmp_path / "tty"), 6, "TC-D103")


def test_a_silent_board(
    openocd: Callable[[bool], dict[str, str]], wire: tuple[int, int], model: Path, run: Path, tmp_path: Path
) -> None:
    assert "fix: " in fails(flash(openocd(False), model, run, tmp_path / "tty"), 6, "TC-D105")


@pytest.mark.parametrize(("is_gone", "code"), [(False, "TC-D106"), (True, "TC-D104")])
def test_a_garbled_board_and_one_that_goes_away(
    is_gone: bool,
    code: str,
    openocd: Callable[[bool], dict[str, str]],
    wire: tuple[int, int],
    model: Path,
    run: Path,
    tmp_path: Path,
) -> None:
    near, far = wire

    def answer() -> None:
        while True:
            try:
                if not os.read(near, 4096):
                    return
                if is_gone:
                    os.close(far)
                    os.close(near)
                    return
                os.write(near, bytes(range(1, 200)) * 2)
            except OSError:
                return

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    fails(flash(openocd(False), model, run, tmp_path / "tty"), 6, code)
