"""The same checks on a real board (`pytest tests/hil --board stm32f746 [--port /dev/ttyACM0]`) and, without one, on the
emulator's port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.stub import BIAS, STUB, need, stub_binding, stub_data, stub_mixed
from tinycompress import boards
from tinycompress.build import Firmware, build_firmware
from tinycompress.device import Session, emulate, flash, open_session

# Cycles of the stub model on a Cortex-M7, in counted instructions: dual issue at best, wait states at worst.
CYCLES_PER_INSTRUCTION = (0.4, 4.0)


@pytest.fixture(scope="module")
def board_name(request: pytest.FixtureRequest) -> str | None:
    name: str | None = request.config.getoption("--board")
    return name


def build(board: boards.Board, folder: Path, *, hooks: bool) -> Firmware:
    return build_firmware(STUB, stub_binding(), board, "zig", folder, profile=hooks)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hooks"])
def running(
    request: pytest.FixtureRequest, board_name: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Firmware, Session]]:
    """The stub firmware on the board that was named, else in its emulator."""
    board = boards.board(board_name or "stm32f746")
    firmware = build(board, tmp_path_factory.mktemp("hil") / "build", hooks=request.param)
    if board_name is None:
        need()
        with emulate(firmware, board) as url, open_session(url, firmware.identity, baud=board.uart.baud_max) as session:
            yield firmware, session
        return
    port = request.config.getoption("--port") or flash.find_port(board)
    if port is None:
        pytest.fail(f"--board {board_name} was given, but no such board is connected")
    flash.flash(firmware, port=port)
    with open_session(port, firmware.identity, baud=board.uart.baud_max) as session:
        yield firmware, session


def test_bytes_and_state(running: tuple[Firmware, Session]) -> None:
    _, session = running
    data = stub_data()
    session.reset_state()
    mixed, total = session.infer([data, BIAS])
    assert mixed == stub_mixed(data)
    again = session.infer([data, BIAS])[1]
    assert int.from_bytes(again, "little", signed=True) == int.from_bytes(total, "little", signed=True) + 1


def test_ten_rounds_of_transfers(running: tuple[Firmware, Session]) -> None:
    _, session = running
    for shift in range(10):
        data = stub_data()[shift:] + stub_data()[:shift]
        assert session.infer([data, BIAS])[0] == stub_mixed(data)
    assert session.stats().overruns == 0


def test_health_and_stack(running: tuple[Firmware, Session]) -> None:
    firmware, session = running
    session.infer([stub_data(), BIAS])
    stats = session.stats()
    assert firmware.stack.bytes is not None
    if not firmware.has_hooks:
        assert firmware.stack.bytes < stats.stack_high_water_bytes < firmware.stack.bytes + 1024


def test_profile_and_trace(running: tuple[Firmware, Session]) -> None:
    firmware, session = running
    if not firmware.has_hooks:
        pytest.skip("this firmware is built without hooks")
    data = stub_data()
    assert session.trace([data, BIAS])[0, 0] == stub_mixed(data)
    layers = session.profile()
    assert len(layers) == 2
    assert all(cycles > 0 for cycles in layers)


def test_timing(running: tuple[Firmware, Session], board_name: str | None, tmp_path: Path) -> None:
    """On a board: the clock is right, times are steady, and cycles lie near the counted instructions."""
    firmware, session = running
    if board_name is None or firmware.has_hooks:
        pytest.skip("timing ranges need a board (--board) and a firmware without hooks")
    session.check_clock(firmware.board.clock_hz)
    measured = session.measure(100).cycles
    assert max(measured) < 1.05 * min(measured)
    with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity) as emulated:
        emulated.write_inputs([stub_data(), BIAS])
        (instructions,) = emulated.measure(1).cycles
    low, high = CYCLES_PER_INSTRUCTION
    assert low * instructions < min(measured) < high * instructions
