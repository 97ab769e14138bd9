"""Oscillators that never become ready: the firmware goes on as fast as it can and says how fast that is."""

from __future__ import annotations

import pytest

from tests.emulator.stub import Builder, StubBuild
from tinycompress.device.emulated.clocks import Ready
from tinycompress.device.emulated.machine import Machine
from tinycompress.device.emulator import _block_counter
from tinycompress.device.frames import Frame, Splitter, encode
from tinycompress.device.messages import Msg, decode_hello


class NeverReady(Ready):
    """The flag of a broken oscillator."""

    def want(self, on: bool) -> None:
        pass


CASES = [("_hse", 216_000_000, 216e6), ("_pll", 16_000_000, 16e6), ("_od", 16_000_000, 16e6)]


@pytest.mark.parametrize(("flag", "says_hz", "runs_hz"), CASES)
def test_broken_oscillator(stub_firmware: Builder, flag: str, says_hz: int, runs_hz: float) -> None:
    firmware = stub_firmware(StubBuild())
    machine = Machine(firmware.board, firmware.elf, _block_counter())
    setattr(machine.clocks, flag, NeverReady())
    machine.run()
    machine.uart.feed(encode(Frame(Msg.HELLO, 1, b"")))
    machine.run()
    (reply,) = (f for f in Splitter().feed(bytes(machine.uart.sent)) if isinstance(f, Frame))
    assert decode_hello(reply.payload).clock_hz == says_hz
    assert machine.clocks.hclk_hz == runs_hz
