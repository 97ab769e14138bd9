"""Puts a firmware on a board through OpenOCD or st-flash, and finds the board's serial port by its USB id.

Codes: TC-D201 no program installed, D202 no probe, D203 permission, D204 probe busy, D205 chip does not answer, D206
verify error, D207 several boards, D208 hang, D209 other failure, D210 another chip, D211 board without [flash].
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serial.tools import list_ports

from tinycompress.boards import Board, FlashRunner
from tinycompress.build import Firmware
from tinycompress.errors import ProbeError

FLASH_TIMEOUT_S = 60.0
FLASH_TIMEOUT_PER_BYTE_S = 1 / 4000  # erase, write and verify at a tenth of what an ST-LINK/V2-1 reaches
RUNNERS = ("openocd", "st-flash")


class UsbPort(Protocol):
    """The part of pyserial's ListPortInfo that is used."""

    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None


@dataclass(frozen=True)
class _Symptom:
    """Words in a flash program's output (lower case) and what they mean."""

    words: tuple[str, ...]
    code: str
    what: str
    fix: str


# In this order: the first match names the cause, later messages are its consequences.
_SYMPTOMS = (
    _Symptom(
        ("libusb_error_access", "permission denied", "access denied", "insufficient permissions"),
        "TC-D203",
        "there is no permission to use the debug probe",
        "install the udev rules that come with OpenOCD or stlink-tools, then plug the board in again",
    ),
    _Symptom(
        ("libusb_error_busy", "unable to claim", "could not claim", "resource busy", "device or resource busy"),
        "TC-D204",
        "another program uses the debug probe",
        "end the other debugger or flash program",
    ),
    _Symptom(
        ("couldn't find any st-link", "no st-link", "st-link not found", "error: open failed", "no device found"),
        "TC-D202",
        "no debug probe is connected",
        "connect the board's ST-LINK USB socket, not another one, with a cable that carries data",
    ),
    _Symptom(
        ("unknown chip id", "chip id mismatch", "unexpected idcode", "cannot identify target as"),
        "TC-D210",
        "the probe is connected to another chip",
        "choose the board that is connected with --board",
    ),
    _Symptom(
        ("verification of flash failed", "verify failed", "checksum mismatch", "contents differ"),
        "TC-D206",
        "the flash holds other bytes than were written",
        "run the command again; if it fails again the flash may be worn out or write-protected",
    ),
    _Symptom(
        (
            "init mode failed",
            "unable to connect to the target",
            "failed to connect to target",
            "target not halted",
            "failed to enter swd mode",
            "target voltage",
        ),
        "TC-D205",
        "the probe does not reach the chip",
        "check the board's power and jumpers; hold reset while the command starts",
    ),
)


def find_port(board: Board, list_all: Callable[[], Iterable[UsbPort]] = list_ports.comports) -> str | None:
    """Device name of the serial port of the board's ST-LINK, None when no such probe is connected.

    Raises ProbeError TC-D207 when several are.
    """
    found = _probes(board, list_all)
    if len(found) > 1:
        names = ", ".join(p.device for p in found)
        raise ProbeError("TC-D207", f"{len(found)} boards are connected: {names}", fix="choose one with --port")
    return found[0].device if found else None


def flash(
    firmware: Firmware,
    *,
    port: str | None = None,
    runner: str | None = None,
    list_all: Callable[[], Iterable[UsbPort]] = list_ports.comports,
    timeout_s: float | None = None,
) -> str:
    """Write, verify and start `firmware`; returns the name of the program that did it.

    `runner` is ``openocd`` or ``st-flash``, by default the first one installed. With several probes connected the one
    whose serial port is `port` is used. Raises ProbeError with the codes in the module's text.
    """
    settings = firmware.board.flash
    if settings is None:
        raise ProbeError("TC-D211", f"board {firmware.board.id!r} has no [flash] section", fix="use --emulate")
    candidates = (runner,) if runner else RUNNERS
    program = next((name for name in candidates if shutil.which(name)), None)
    if program is None:
        raise ProbeError(
            "TC-D201", f"{' and '.join(candidates)}: not installed", fix="install the package openocd or stlink-tools"
        )
    serial_number = _serial_number(firmware.board, port, list_all)
    limit = timeout_s or FLASH_TIMEOUT_S + firmware.bin.stat().st_size * FLASH_TIMEOUT_PER_BYTE_S
    commands = list(_commands(program, firmware, settings, serial_number))
    for command in commands[:-1]:
        if _run(command, firmware, limit, is_last=False):
            return program
    _run(commands[-1], firmware, limit, is_last=True)
    return program


def _probes(board: Board, list_all: Callable[[], Iterable[UsbPort]]) -> list[UsbPort]:
    wanted = board.flash.usb_ids if board.flash else ()
    ports = [p for p in list_all() if p.vid is not None and f"{p.vid:04x}:{p.pid:04x}" in wanted]
    return sorted(ports, key=lambda p: p.device)


def _serial_number(board: Board, port: str | None, list_all: Callable[[], Iterable[UsbPort]]) -> str | None:
    """The probe's serial number where it must be named."""
    found = _probes(board, list_all)
    if len(found) < 2:
        return None
    chosen = next((p for p in found if p.device == port), None)
    if chosen is None:
        find_port(board, lambda: found)
    return chosen.serial_number if chosen else None


def _commands(
    program: str, firmware: Firmware, settings: FlashRunner, serial_number: str | None
) -> Iterable[Sequence[str]]:
    """What to try in turn. Run in the firmware's directory, so that no path needs Tcl's quoting."""
    if program == "st-flash":
        start = next(m.start for m in firmware.board.memory if m.kind == "flash" and m.alias_of is None)
        serial = ("--serial", serial_number) if serial_number else ()
        yield (program, "--connect-under-reset", "--reset", *serial, "write", firmware.bin.name, f"{start:#010x}")
        return
    serial = ("-c", f"adapter serial {serial_number}") if serial_number else ()
    for config in settings.openocd:
        yield (program, "-f", config, *serial, "-c", f"program {firmware.elf.name} verify reset exit")


def _run(command: Sequence[str], firmware: Firmware, limit: float, *, is_last: bool) -> bool:
    """Whether the firmware is on the board; False when OpenOCD lacks this board file and there is another to try."""
    try:
        done = subprocess.run(
            command,
            cwd=firmware.elf.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(
            "TC-D208",
            f"{command[0]} did not end within {limit:.0f} s",
            fix="unplug the board, plug it in again, and run the command again",
        ) from error
    except OSError as error:
        raise ProbeError("TC-D201", f"{command[0]} cannot be run: {error}") from error
    output = done.stdout.lower()
    is_verify_missing = command[0] == "openocd" and "** verified ok **" not in output
    if done.returncode == 0 and not is_verify_missing:
        return True
    if "can't find" in output and not is_last:
        return False
    raise _failure(command, done.returncode, done.stdout)


def _failure(command: Sequence[str], status: int, output: str) -> ProbeError:
    lower = output.lower()
    tail = "\n".join(output.strip().splitlines()[-8:])
    for symptom in _SYMPTOMS:
        if any(word in lower for word in symptom.words):
            return ProbeError(symptom.code, f"{symptom.what}; {command[0]} says:\n{tail}", fix=symptom.fix)
    return ProbeError("TC-D209", f"{command[0]} failed with status {status}:\n{tail}", where=" ".join(command))
