"""Stands in for OpenOCD: records argv and puts the very ELF it is given on an emulated board behind a fixed port name.

TC_FAKE_BOARD names a folder with ``calls`` (argv, one JSON line each), ``port`` (a link to the pty), ``pid``,
and optionally ``forgets``: then success is reported, but what ran before goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tinycompress import boards
from tinycompress.device.emulator import _block_counter


def main() -> None:
    folder = Path(os.environ["TC_FAKE_BOARD"])
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    if not (folder / "forgets").exists():
        put_on_board(folder, Path.cwd() / "firmware.elf")
    sys.stderr.write("** Programming Finished **\n** Verify Started **\n** Verified OK **\n")


def put_on_board(folder: Path, elf: Path) -> None:
    pid = folder / "pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGTERM)
        (folder / "port").unlink()
    board = json.dumps(dataclasses.asdict(boards.board("stm32f746")))
    command = [sys.executable, "-m", "tinycompress.device.emulator", "--real-time"]
    command += ["--board", board, "--elf", str(elf), "--hook", str(_block_counter())]
    with (folder / "emulator.err").open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    assert process.stdout is not None
    (folder / "port").symlink_to(json.loads(process.stdout.readline())["port"])
    pid.write_text(str(process.pid))


if __name__ == "__main__":
    main()
