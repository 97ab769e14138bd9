"""The board path from flashing to timing, with OpenOCD faked and the emulator as the board: bytes come from the ELF."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.stub import BIAS, Builder, StubBuild, need, stub_data, stub_mixed
from tinycompress.device import flash, open_session
from tinycompress.errors import DeviceError

ROOT = Path(__file__).parents[2]
SCRIPT = f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "fake_openocd.py"}" "$@"\n'


@pytest.fixture
def fake_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a fake board; a fake `openocd` is first on the path."""
    need()
    program = tmp_path / "bin" / "openocd"
    program.parent.mkdir()
    program.write_text(SCRIPT)
    program.chmod(0o755)
    folder = tmp_path / "board"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("TC_FAKE_BOARD", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    yield folder
    with contextlib.suppress(OSError):
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)


def test_flash_check_measure(stub_firmware: Builder, fake_board: Path) -> None:
    firmware = stub_firmware(StubBuild())
    assert flash.flash(firmware, list_all=list) == "openocd"
    with open_session(str(fake_board / "port"), firmware.identity, baud=firmware.board.uart.baud_max) as session:
        assert session.check_clock(firmware.board.clock_hz) == pytest.approx(216e6, rel=0.02)
        assert session.infer([stub_data(), BIAS])[0] == stub_mixed(stub_data())
        assert len(set(session.measure(20).cycles)) == 1
    (call,) = (json.loads(line) for line in (fake_board / "calls").read_text().splitlines())
    assert call[-1] == "program firmware.elf verify reset exit"


def test_the_old_firmware_still_runs(stub_firmware: Builder, fake_board: Path) -> None:
    """The flash program says it succeeded, but HELLO tells that another build is on the board."""
    old, new = stub_firmware(StubBuild()), stub_firmware(StubBuild(hooks=True))
    flash.flash(old, list_all=list)
    (fake_board / "forgets").touch()
    flash.flash(new, list_all=list)
    with pytest.raises(DeviceError, match=r"TC-D110.*build_id"):
        open_session(str(fake_board / "port"), new.identity)


def test_the_board_is_pulled_in_the_middle(stub_firmware: Builder, fake_board: Path) -> None:
    firmware = stub_firmware(StubBuild())
    flash.flash(firmware, list_all=list)
    with open_session(str(fake_board / "port"), firmware.identity) as session:
        os.kill(int((fake_board / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(DeviceError, match="TC-D104"):
            session.infer([stub_data(), BIAS])


def test_the_hardware_tests_pass_on_the_fake_board(fake_board: Path) -> None:
    """All of tests/hil, timing included, as somebody with a board runs it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/hil", "--board", "stm32f746"]
    done = subprocess.run([*command, "--port", str(fake_board / "port")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout
    assert len((fake_board / "calls").read_text().splitlines()) == 2
