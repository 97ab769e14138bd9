"""Flashing through fakes of OpenOCD and st-flash that record argv and fail in every known way.

The texts of "no probe" are what OpenOCD 0.12.0 and st-flash 1.7.0 print without one; the others follow their sources.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinycompress import boards
from tinycompress.build import Binding, BoundTensor, Firmware, Identity, Sizes, StackBound
from tinycompress.device import flash
from tinycompress.errors import ProbeError

FAKE = """#!{python}
import json, sys, time
plan = json.load(open({plan!r}))
calls = {calls!r}
open(calls, "a").write(json.dumps(sys.argv[1:]) + "\\n")
answers = plan[{name!r}]
answer = answers[min(len(open(calls).readlines()) - 1, len(answers) - 1)]
time.sleep(answer.get("sleep", 0))
sys.stderr.write(answer["text"])
sys.exit(answer["status"])
"""
OK = {
    "openocd": "** Programming Finished **\n** Verify Started **\n** Verified OK **\n",
    "st-flash": "INFO common.c: Flash written and verified! jolly good!\n",
}


@dataclass(frozen=True)
class Usb:
    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None


STLINK = Usb("/dev/ttyACM0", 0x0483, 0x374B, "066DFF1")
OTHER_STLINK = Usb("/dev/ttyACM1", 0x0483, 0x374B, "066DFF2")
MODEM = Usb("/dev/ttyUSB0", 0x1A86, 0x7523, None)
BUILT_IN = Usb("/dev/ttyS0", None, None, None)


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    folder = tmp_path / "a {b}ui[ld"  # what Tcl would trip over
    folder.mkdir()
    (folder / "firmware.elf").write_bytes(b"elf")
    (folder / "firmware.bin").write_bytes(bytes(1000))
    tensors = (BoundTensor("x", "int8_t", 1),)
    return Firmware(
        elf=folder / "firmware.elf",
        bin=folder / "firmware.bin",
        identity=Identity("b", "m", "stm32f746", "double", (1,), (1,)),
        binding=Binding("m", "m.h", tensors, tensors, 0, 8, 1, "m", "double"),
        board=boards.board("stm32f746"),
        has_hooks=False,
        compiler="",
        flags=(),
        library_sizes=Sizes(0, 0, 0, 0),
        firmware_sizes=Sizes(0, 0, 0, 0),
        stack=StackBound(0, None, ()),
    )


Install = Callable[..., Callable[[], list[list[str]]]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(openocd=[answer, ...])` puts fakes on an otherwise empty path; returns a reader of the argv recorded."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(**programs: list[dict[str, object]]) -> Callable[[], list[list[str]]]:
        plan, calls = tmp_path / "plan.json", tmp_path / "calls"
        plan.write_text(json.dumps({name.replace("_", "-"): answers for name, answers in programs.items()}))
        for name in programs:
            path = folder / name.replace("_", "-")
            path.write_text(FAKE.format(python=sys.executable, plan=str(plan), calls=str(calls), name=path.name))
            path.chmod(0o755)
        return lambda: [json.loads(line) for line in calls.read_text().splitlines()]

    return put


def ok(name: str) -> dict[str, object]:
    return {"text": OK[name], "status": 0}


def test_openocd_first(install: Install, firmware: Firmware) -> None:
    calls = install(openocd=[ok("openocd")], st_flash=[ok("st-flash")])
    assert flash.flash(firmware, list_all=lambda: [STLINK]) == "openocd"
    assert calls() == [["-f", "board/stm32f746g-disco.cfg", "-c", "program firmware.elf verify reset exit"]]


def test_openocd_without_the_newer_board_file(install: Install, firmware: Firmware) -> None:
    missing = {"text": "Error: Can't find board/stm32f746g-disco.cfg\n", "status": 1}
    calls = install(openocd=[missing, ok("openocd")])
    flash.flash(firmware, list_all=lambda: [STLINK])
    assert [c[1] for c in calls()] == ["board/stm32f746g-disco.cfg", "board/stm32f7discovery.cfg"]


def test_st_flash(install: Install, firmware: Firmware) -> None:
    calls = install(st_flash=[ok("st-flash")])
    assert flash.flash(firmware, list_all=lambda: [STLINK]) == "st-flash"
    assert calls() == [["--connect-under-reset", "--reset", "write", "firmware.bin", "0x08000000"]]


@pytest.mark.parametrize("runner", flash.RUNNERS)
def test_one_of_two_boards_by_its_port(install: Install, firmware: Firmware, runner: str) -> None:
    calls = install(openocd=[ok("openocd")], st_flash=[ok("st-flash")])
    flash.flash(firmware, port="/dev/ttyACM1", runner=runner, list_all=lambda: [STLINK, OTHER_STLINK, MODEM])
    assert "066DFF2" in " ".join(calls()[0])
    with pytest.raises(ProbeError, match="TC-D207"):
        flash.flash(firmware, runner=runner, list_all=lambda: [STLINK, OTHER_STLINK])


FAILURES = [
    ("openocd", "TC-D202", "Error: open failed\nin procedure 'program'\n** OpenOCD init failed **\n"),
    ("st-flash", "TC-D202", "WARN usb.c: Couldn't find any ST-Link devices\n"),
    ("openocd", "TC-D203", "Error: libusb_open() failed with LIBUSB_ERROR_ACCESS\nError: open failed\n"),
    ("st-flash", "TC-D203", "WARN usb.c: libusb_open: LIBUSB_ERROR_ACCESS\nCouldn't find any ST-Link devices\n"),
    ("openocd", "TC-D204", "Error: unable to claim interface: LIBUSB_ERROR_BUSY\nError: open failed\n"),
    ("st-flash", "TC-D204", "WARN usb.c: Error Could not claim interface, LIBUSB_ERROR_BUSY\n"),
    ("openocd", "TC-D205", "Error: init mode failed (unable to connect to the target)\n"),
    ("st-flash", "TC-D205", "ERROR common.c: Failed to enter SWD mode\nFailed to connect to target\n"),
    (
        "openocd",
        "TC-D206",
        "** Verify Started **\nError: checksum mismatch\n** Verify Failed **\n",
    ),
    ("st-flash", "TC-D206", "ERROR common.c: Verification of flash failed at offset: 0\nstlink_fwrite_flash() == -1\n"),
    ("openocd", "TC-D210", "Error: Cannot identify target as a STM32 family.\n"),
    ("st-flash", "TC-D210", "ERROR common.c: unknown chip id! 0x411\n"),
    ("openocd", "TC-D209", "Segmentation fault\n"),
    ("st-flash", "TC-D209", "Segmentation fault\n"),
]


@pytest.mark.parametrize(("runner", "code", "text"), FAILURES, ids=lambda v: v if len(str(v)) < 10 else "text")
def test_each_failure_has_its_code(install: Install, firmware: Firmware, runner: str, code: str, text: str) -> None:
    install(**{runner.replace("-", "_"): [{"text": text, "status": 1}]})
    with pytest.raises(ProbeError) as caught:
        flash.flash(firmware, list_all=lambda: [STLINK])
    assert caught.value.code == code
    assert text.strip().splitlines()[-1] in str(caught.value)
    assert caught.value.fix or code == "TC-D209"


def test_openocd_that_ends_well_without_having_verified(install: Install, firmware: Firmware) -> None:
    install(openocd=[{"text": "Info : nothing done\n", "status": 0}])
    with pytest.raises(ProbeError, match="TC-D209"):
        flash.flash(firmware, list_all=lambda: [STLINK])


def test_hang(install: Install, firmware: Firmware) -> None:
    install(st_flash=[{"text": "", "status": 0, "sleep": 60}])
    with pytest.raises(ProbeError, match="TC-D208"):
        flash.flash(firmware, list_all=lambda: [STLINK], timeout_s=0.5)


def test_nothing_installed(install: Install, firmware: Firmware) -> None:
    install()
    with pytest.raises(ProbeError, match="TC-D201"):
        flash.flash(firmware, list_all=lambda: [STLINK])


def test_board_without_flash(firmware: Firmware) -> None:
    other = dataclasses.replace(firmware, board=boards.board("mps2-an500"))
    with pytest.raises(ProbeError, match="TC-D211"):
        flash.flash(other, list_all=lambda: [STLINK])


def test_port_of_the_board() -> None:
    board = boards.board("stm32f746")
    assert flash.find_port(board, lambda: [MODEM, BUILT_IN, STLINK]) == "/dev/ttyACM0"
    assert flash.find_port(board, lambda: [MODEM, BUILT_IN]) is None
    with pytest.raises(ProbeError, match=r"TC-D207.*ttyACM0, /dev/ttyACM1"):
        flash.find_port(board, lambda: [OTHER_STLINK, STLINK])
