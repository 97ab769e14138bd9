"""Runs a firmware in an emulator of its own process and offers its serial port.

``python -m tinycompress.device.emulator --board JSON --elf FILE --hook FILE`` is that process for Unicorn: it prints
one JSON line with the port (a pty, or with ``--tcp`` a loopback socket) and ends with another when the firmware breaks
a rule of the chip. With ``--real-time`` the cycle counter also runs while the firmware waits, as a board's does. QEMU
is its own program.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tinycompress import assets, boards
from tinycompress.boards import Board
from tinycompress.build import Firmware
from tinycompress.build.toolchain import run_compiler, zig_command
from tinycompress.errors import DeviceError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
ICOUNT_SHIFT = 7  # firmware/ports/mps2 turns timer ticks into instructions with the same number
# PR_SET_PDEATHSIG (1) sends SIGKILL (9) to the emulator when its parent is gone.
_LEASH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
ENTRIES = ("reset", "openocd")


@contextlib.contextmanager
def emulate(
    firmware: Firmware, board: Board, engine: str | None = None, *, tcp: bool = False, entry: str = "reset"
) -> Iterator[str]:
    """Run `firmware` and yield the URL of its serial port for `open_session`.

    `engine` is the board's own by default. `entry` is the state the chip wakes up in: ``reset``, or ``openocd`` as a
    debugger may leave it. Leaving the block ends the emulator. Raises DeviceError: TC-D330 emulator not installed,
    TC-D331 the engine has no model of the board, TC-D332 it does not start, TC-D333 it ended unasked, and, when the
    firmware broke a rule of the chip, TC-D301 to TC-D320 in place of whatever the block raised.
    """
    engine = engine or board.emulator.engine
    if engine != board.emulator.engine:
        fix = "build the firmware for board mps2-an500" if engine == "qemu" else f"use {board.emulator.engine}"
        raise DeviceError("TC-D331", f"{engine} has no model of board {board.id!r}", fix=fix)
    start = _start_qemu if engine == "qemu" else _start_unicorn
    process, url = start(firmware, board, tcp, entry)
    try:
        yield url
    except BaseException as error:
        verdict = _stop(process, grace_s=0.5)
        if verdict is not None and isinstance(error, DeviceError):
            raise verdict from error
        raise
    verdict = _stop(process)
    if verdict is not None:
        raise verdict


def _start_unicorn(firmware: Firmware, board: Board, tcp: bool, entry: str) -> tuple[subprocess.Popen[str], str]:
    if importlib.util.find_spec("unicorn") is None:
        raise DeviceError("TC-D330", "unicorn is not installed", fix="pip install 'tinycompress[emulator]'")
    command = [sys.executable, "-m", "tinycompress.device.emulator", "--board", json.dumps(dataclasses.asdict(board))]
    command += ["--elf", str(firmware.elf), "--hook", str(_block_counter()), "--entry", entry]
    command += ["--tcp"] if tcp else []
    package_parent = str(Path(boards.__file__).parent.parent)
    path = os.pathsep.join(p for p in (package_parent, os.environ.get("PYTHONPATH")) if p)
    process = _popen(command, {**os.environ, "PYTHONPATH": path})
    line = _first_line(process)
    if not line.startswith('{"port"'):
        raise _stop(process, line, grace_s=START_TIMEOUT_S) or DeviceError("TC-D332", "the emulator did not start")
    return process, str(json.loads(line)["port"])


def _popen(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start an emulator that ends with this process, however this process ends (on Linux)."""
    return subprocess.Popen(
        [sys.executable, "-c", _LEASH, *command] if sys.platform == "linux" else command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _first_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None or not _is_readable(process.stdout):
        return ""
    return process.stdout.readline()


def _is_readable(*streams: IO[str] | None) -> bool:
    """Whether one of the pipes has something to say within the time a start may take."""
    return bool(select.select([s for s in streams if s is not None], [], [], START_TIMEOUT_S)[0])


def _stop(process: subprocess.Popen[str], line: str = "", grace_s: float = 0.0) -> DeviceError | None:
    """End the process. Returns what it had to say when it ended by itself, at most `grace_s` from now."""
    try:
        status = process.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        status = None
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    out, err = process.communicate()
    if status is None or status == 0:
        return None
    lines = (line + (out or "")).strip().splitlines()
    if lines and lines[-1].startswith('{"code"'):
        said = json.loads(lines[-1])
        return DeviceError(said["code"], said["what"], where=said["where"], fix=said["fix"])
    return DeviceError("TC-D333", f"the emulator ended with status {status}: {(err or '').strip()[-2000:]}")


def _start_qemu(firmware: Firmware, board: Board, _tcp: bool, _entry: str) -> tuple[subprocess.Popen[str], str]:
    qemu = shutil.which("qemu-system-arm")
    if qemu is None:
        raise DeviceError("TC-D330", "qemu-system-arm is not on the path", fix="install the package qemu-system-arm")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    command = [qemu, "-M", str(board.emulator.machine), "-kernel", str(firmware.elf), "-display", "none"]
    command += ["-monitor", "none", "-nodefaults", "-icount", f"shift={ICOUNT_SHIFT}"]
    command += ["-serial", f"tcp:127.0.0.1:{number},server=on,wait=on,nodelay=on"]
    process = _popen(command, dict(os.environ))
    if not _is_readable(process.stderr, process.stdout) or process.poll() is not None:
        raise _stop(process, grace_s=0.5) or DeviceError("TC-D332", "QEMU did not start")
    return process, f"socket://127.0.0.1:{number}"


def _block_counter() -> Path:
    """The block-count hook, built once by zig and cached by its source's hash."""
    source = Path(__file__).parent / "emulated" / "block_count.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = assets.cache_directory() / f"block_count-{key}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}")
        command = [*zig_command(), "-O2", "-shared", "-fPIC", source.name, "-o", str(part)]
        run_compiler(command, source.parent, code="TC-T103", what="the emulator's block counter does not compile")
        part.rename(target)
    return target


# ---- the emulator's own process


def _listen(tcp: bool) -> tuple[int, socket.socket | None, str]:
    """(pty master or -1, listening socket or None, URL)."""
    if tcp:
        server = socket.create_server(("127.0.0.1", 0))
        return -1, server, f"socket://127.0.0.1:{server.getsockname()[1]}"
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, None, os.ttyname(slave)  # the slave stays open here, so that clients may come and go


def _serve(machine: Any, tcp: bool, real_time: bool) -> None:
    """Carry bytes between the port and the machine until the process is ended."""
    master, server, url = _listen(tcp)
    machine.run()
    print(json.dumps({"port": url}), flush=True)
    while True:
        connection = server.accept()[0] if server else None
        with connection or contextlib.nullcontext():
            _carry(machine, connection.fileno() if connection else master, real_time)


def _carry(machine: Any, descriptor: int, real_time: bool) -> None:
    while True:
        since = time.monotonic()
        try:
            data = os.read(descriptor, 65536)
        except ConnectionError:
            return
        if not data:
            return
        if real_time:
            machine.pass_time(time.monotonic() - since)
        machine.uart.feed(data)
        machine.run()
        sent = bytes(machine.uart.sent)
        machine.uart.sent.clear()
        while sent:
            sent = sent[os.write(descriptor, sent) :]


def _verdict(code: str, what: str, where: str) -> None:
    fix = f"`tinycompress explain {code}`"
    print(json.dumps({"code": code, "what": what, "where": where, "fix": fix}), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Entry of the emulator's process; returns its status: 0 ended by a signal, 3 a rule was broken."""
    from tinycompress.device.emulated.machine import LockupError, Machine
    from tinycompress.device.emulated.rules import RuleBrokenError

    parser = argparse.ArgumentParser(prog="python -m tinycompress.device.emulator")
    parser.add_argument("--board", required=True)
    parser.add_argument("--elf", type=Path, required=True)
    parser.add_argument("--hook", type=Path, required=True)
    parser.add_argument("--entry", choices=ENTRIES, default="reset")
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--real-time", action="store_true")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    board = boards.parse(json.loads(options.board), Path("--board"))
    machine = Machine(board, options.elf, options.hook, options.entry)
    try:
        _serve(machine, options.tcp, options.real_time)
    except RuleBrokenError as broken:
        _verdict(broken.code, str(broken), options.elf.name)
        return 3
    except LockupError as lockup:
        _verdict("TC-D334", f"the core locked up: {lockup}", options.elf.name)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
