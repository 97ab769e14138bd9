"""What runs the firmware: a board on a serial port, or an emulator behind the same protocol."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from tinycompress import device
from tinycompress.boards import Board, board
from tinycompress.build import Firmware
from tinycompress.device import Session
from tinycompress.errors import DeviceError, PortError

QEMU_BOARD = "mps2-an500"


@dataclass(frozen=True)
class Target:
    """`emulate` runs the firmware in `engine`; otherwise it is flashed and spoken to over `port` (found when None)."""

    emulate: bool = False
    engine: str = "unicorn"
    port: str | None = None

    def firmware_board(self, wanted: Board) -> Board:
        """The board the firmware is built for: the wanted one, or QEMU's own Cortex-M7 machine."""
        return board(QEMU_BOARD) if self.emulate and self.engine == "qemu" else wanted

    @property
    def name(self) -> str:
        """What stands in reports: the emulator's name, or ``board``."""
        return self.engine if self.emulate else "board"

    def require(self, wanted: Board) -> None:
        """Raise now rather than after a long build when there is nothing to run on.

        DeviceError TC-D190 without a board, TC-D101 and TC-D102 for a port that is not there or not ours, TC-D331 when
        the emulator has no model of it.
        """
        if not self.emulate:
            self._find_port(wanted)
        elif self.engine != (engine := self.firmware_board(wanted).emulator.engine):
            raise DeviceError(
                "TC-D331", f"{self.engine} has no model of board {wanted.id!r}", fix=f"add --engine {engine}"
            )

    def _find_port(self, wanted: Board) -> str:
        from tinycompress.device import flash

        if self.port is not None:
            _require_device(self.port)
        port = self.port or flash.find_port(wanted)
        if port is None:
            raise DeviceError(
                "TC-D190",
                f"no board {wanted.id!r} was found",
                fix="connect its ST-LINK USB or name its --port; `deploy --emulate` runs the same firmware without",
            )
        return port

    @contextlib.contextmanager
    def session(self, firmware: Firmware) -> Iterator[Session]:
        """Flash or start `firmware` and talk to it.

        DeviceError TC-D190 when there is no board and `emulate` is not set; else what the probe, port and link raise.
        """
        if self.emulate:
            with (
                device.emulate(firmware, firmware.board, self.engine) as url,
                device.open_session(url, firmware.identity, elf=firmware.elf) as session,
            ):
                yield session
            return
        from tinycompress.device import flash

        port = self._find_port(firmware.board)
        flash.flash(firmware, port=port)
        baud = firmware.board.uart.baud_max
        with device.open_session(port, firmware.identity, baud=baud, elf=firmware.elf) as session:
            session.check_clock(firmware.board.clock_hz)
            yield session


def _require_device(port: str) -> None:
    """What opening `port` would say, before anything is built for it; a URL is left to the link."""
    if "://" in port:
        return
    if not os.path.exists(port):
        fix = "`tinycompress doctor` lists the boards that are there; without --port it is found by its USB id"
        raise PortError("TC-D101", f"there is no port {port!r}", where=port, fix=fix)
    if not os.access(port, os.R_OK | os.W_OK):
        fix = "add yourself to the group that owns it (dialout on Debian) and log in again"
        raise PortError("TC-D102", "no permission to open the port", where=port, fix=fix)
