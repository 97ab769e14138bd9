"""The stub model on every emulator and toolchain: bytes, counts, profile, trace, health."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.emulator.stub import BIAS, Builder, StubBuild, need, stub_binding, stub_data, stub_mixed, stub_program
from tinycompress import boards
from tinycompress.build import build_firmware
from tinycompress.device import emulate, open_session
from tinycompress.device.emulated.machine import Machine
from tinycompress.device.emulator import _block_counter
from tinycompress.device.frames import Frame, Splitter, encode
from tinycompress.device.link import Link, Port, open_port
from tinycompress.device.messages import Msg, decode_invoke, encode_invoke
from tinycompress.device.session import Session
from tinycompress.errors import DeviceError

BOARDS = ("stm32f746", "nucleo_f746zg", "mps2-an500")
TOOLCHAINS = ("zig", "gcc")


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("board", BOARDS)
def test_outputs_state_and_health(stub_firmware: Builder, board: str, toolchain: str) -> None:
    firmware = stub_firmware(StubBuild(board, toolchain))
    data = stub_data()
    with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity, baud=921600) as session:
        mixed, total = session.infer([data, BIAS])
        assert mixed == stub_mixed(data)
        first = int.from_bytes(total, "little", signed=True)
        assert first == sum(b - 256 if b > 127 else b for b in mixed)
        assert int.from_bytes(session.infer([data, BIAS])[1], "little", signed=True) == first + 1
        session.reset_state()
        assert session.infer([data, BIAS])[1] == total
        stats = session.stats()
        assert session.baud == 921600
        assert session.resends == 0
        assert stats.overruns == stats.bad_frames == 0
        assert firmware.stack.bytes is not None
        assert firmware.stack.bytes < stats.stack_high_water_bytes < stats.stack_bytes


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_both_emulators_count_the_same_instructions_of_the_same_objects(stub_firmware: Builder, toolchain: str) -> None:
    cycles, objects = [], []
    for board in BOARDS:
        firmware = stub_firmware(StubBuild(board, toolchain))
        objects.append((firmware.elf.parent / "lib" / "stub.o").read_bytes())
        with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity) as session:
            session.write_inputs([stub_data(), BIAS])
            cycles.append(session.measure(130).cycles)  # more than one INVOKE message holds
    assert len(cycles[0]) == 130
    assert set(cycles[0]) == set(cycles[1]) == set(cycles[2])
    assert len(set(cycles[0])) == 1
    assert objects[0] == objects[1] == objects[2]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("board", BOARDS)
def test_profile_and_trace(stub_firmware: Builder, board: str, toolchain: str) -> None:
    firmware = stub_firmware(StubBuild(board, toolchain, hooks=True))
    data = stub_data()
    with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity) as session:
        rows = session.trace([data, BIAS])
        assert rows == {(0, 0): stub_mixed(data), (1, 0): session.read_outputs()[1]}
        session.reset_state()
        layers = session.profile()
        (whole,) = session.measure(1).cycles
        assert len(layers) == 2
        assert abs(sum(layers) - whole) < 120  # what lies before the first hook, and calling the hooks


def test_the_count_is_that_of_the_library_alone(stub_firmware: Builder) -> None:
    """Every instruction of the library's own code, counted one by one, is what the firmware reports."""
    firmware = stub_firmware(StubBuild())
    unicorn = importlib.import_module("unicorn")
    machine = Machine(firmware.board, firmware.elf, _block_counter())
    executed = 0

    def count(*_arguments: object) -> None:
        nonlocal executed
        executed += 1

    with firmware.elf.open("rb") as file:
        code = ELFFile(file).get_section_by_name(".tc_library_code")
        first, last = code["sh_addr"], code["sh_addr"] + code["sh_size"] - 1
    machine._uc.hook_add(unicorn.UC_HOOK_CODE, count, begin=first, end=last)
    machine.run()
    executed = 0  # start-up resets the model's state
    machine.uart.feed(encode(Frame(Msg.INVOKE, 1, encode_invoke(3))))
    machine.run()
    (reply,) = (f for f in Splitter().feed(bytes(machine.uart.sent)) if isinstance(f, Frame))
    _, cycles = decode_invoke(reply.payload)
    assert len(set(cycles)) == 1
    assert sum(cycles) == executed


def test_profile_without_hooks_is_refused(stub_firmware: Builder) -> None:
    firmware = stub_firmware(StubBuild())
    with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity) as session:
        with pytest.raises(DeviceError, match="TC-D117"):
            session.profile()
        with pytest.raises(DeviceError, match="TC-D117"):
            session.trace([stub_data(), BIAS])


@pytest.mark.slow
@pytest.mark.parametrize(("board", "size", "rounds"), [("stm32f746", 75_000, 2), ("mps2-an500", 150_000, 1)])
def test_150_kb_each_way_without_loss(tmp_path: Path, board: str, size: int, rounds: int) -> None:
    need(engine=boards.board(board).emulator.engine)
    program = stub_program(size, tmp_path / "program")
    firmware = build_firmware(program, stub_binding(size), boards.board(board), "zig", tmp_path / "build")
    source = random.Random(746)
    with emulate(firmware, firmware.board) as url, open_session(url, firmware.identity, baud=921600) as session:
        for _ in range(rounds):
            data = source.randbytes(size)
            assert session.infer([data, BIAS])[0] == stub_mixed(data)
        assert session.stats().bad_frames == 0


class LossyPort:
    """A port on which bytes are lost and changed, both ways, now and then."""

    def __init__(self, port: Port, seed: int, rate: float) -> None:
        self._port, self._random, self._rate = port, random.Random(seed), rate
        self.hurt = 0

    @property
    def baudrate(self) -> int:
        return self._port.baudrate

    @baudrate.setter
    def baudrate(self, value: int) -> None:
        self._port.baudrate = value

    @property
    def in_waiting(self) -> int:
        return self._port.in_waiting

    def _hurt(self, data: bytes) -> bytes:
        kept = bytearray()
        for byte in data:
            luck = self._random.random()
            self.hurt += luck < 2 * self._rate
            if luck < self._rate:
                continue
            kept.append(self._random.randrange(256) if luck < 2 * self._rate else byte)
        return bytes(kept)

    def read(self, size: int, /) -> bytes:
        return self._hurt(self._port.read(size))

    def write(self, data: bytes, /) -> int | None:
        return self._port.write(self._hurt(data))

    def reset_input_buffer(self) -> None:
        self._port.reset_input_buffer()

    def close(self) -> None:
        self._port.close()


@pytest.mark.parametrize("seed", range(3))
def test_lost_and_changed_bytes_never_reach_a_tensor(stub_firmware: Builder, seed: int) -> None:
    firmware = stub_firmware(StubBuild(hooks=True))
    data = stub_data()
    with emulate(firmware, firmware.board) as url:
        port = LossyPort(open_port(url), seed, 1 / 5000)
        with Session(Link(port, url), firmware.identity) as session:
            for run in range(4):
                mixed, total = session.infer([data, BIAS])
                assert mixed == stub_mixed(data)
                assert int.from_bytes(total, "little", signed=True) == run + sum(
                    b - 256 if b > 127 else b for b in mixed
                )
            assert session.trace([data, BIAS])[0, 0] == stub_mixed(data)
        assert port.hurt > 5


def test_two_sessions_in_a_row_and_a_second_one_beside_is_refused(stub_firmware: Builder) -> None:
    firmware = stub_firmware(StubBuild())
    with emulate(firmware, firmware.board) as url:
        for _ in range(2):
            with open_session(url, firmware.identity) as session:
                session.infer([stub_data(), BIAS])
                with pytest.raises(DeviceError, match="TC-D103"):
                    open_session(url, firmware.identity)


def test_over_a_socket(stub_firmware: Builder) -> None:
    firmware = stub_firmware(StubBuild())
    with emulate(firmware, firmware.board, tcp=True) as url:
        for _ in range(2):
            with open_session(url, firmware.identity) as session:
                assert session.infer([stub_data(), BIAS])[0] == stub_mixed(stub_data())


def test_another_firmware_is_refused_before_any_data_moves(stub_firmware: Builder) -> None:
    running, expected = stub_firmware(StubBuild()), stub_firmware(StubBuild(hooks=True))
    with emulate(running, running.board) as url, pytest.raises(DeviceError, match=r"TC-D110.*build_id"):
        open_session(url, expected.identity)


def test_qemu_has_no_stm32f7(stub_firmware: Builder) -> None:
    firmware = stub_firmware(StubBuild())
    with pytest.raises(DeviceError, match=r"TC-D331.*mps2-an500"), emulate(firmware, firmware.board, "qemu"):
        pass


def test_bytes_sent_while_the_target_computes_are_lost_and_counted(stub_firmware: Builder) -> None:
    """As on the chip, whose UART holds one byte; the firmware clears the overrun and goes on."""
    firmware = stub_firmware(StubBuild())
    with emulate(firmware, firmware.board) as url:
        port = open_port(url)
        with Session(Link(port, url), firmware.identity) as session:
            session.write_inputs([stub_data(), BIAS])
            port.write(encode(Frame(Msg.INVOKE, 77, encode_invoke(20))) + encode(Frame(Msg.STATS, 78, b"")))
            assert session.stats().overruns > 0
            assert session.infer([stub_data(), BIAS])[0] == stub_mixed(stub_data())


KILLED = """
import os, pickle, signal, sys
from tinycompress.device import emulate
firmware = pickle.load(open(sys.argv[1], "rb"))
with emulate(firmware, firmware.board):
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(*children, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("board", ["stm32f746", "mps2-an500"])
def test_the_emulator_ends_with_a_killed_parent(stub_firmware: Builder, board: str, tmp_path: Path) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs Linux's /proc")
    (tmp_path / "firmware").write_bytes(pickle.dumps(stub_firmware(StubBuild(board))))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "firmware")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    (child,) = done.stdout.split()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            is_gone = Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
        except OSError:
            is_gone = True
        if is_gone:
            return
        os.sched_yield()
    pytest.fail(f"emulator process {child} lives on")


def test_emulators_that_are_not_installed(stub_firmware: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    f746, mps2 = stub_firmware(StubBuild()), stub_firmware(StubBuild("mps2-an500"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match=r"TC-D330.*tinycompress\[emulator\]"), emulate(f746, f746.board):
        pass
    with pytest.raises(DeviceError, match=r"TC-D330.*qemu-system-arm"), emulate(mps2, mps2.board):
        pass


def test_an_emulator_that_cannot_run_the_file(stub_firmware: Builder, tmp_path: Path) -> None:
    f746, mps2 = stub_firmware(StubBuild()), stub_firmware(StubBuild("mps2-an500"))
    wrong = dataclasses.replace(f746, elf=mps2.elf)
    with pytest.raises(DeviceError, match=r"(?s)TC-D333.*outside the flash"), emulate(wrong, f746.board):
        pass
    (tmp_path / "firmware.elf").write_bytes(b"nothing")
    broken = dataclasses.replace(mps2, elf=tmp_path / "firmware.elf")
    with pytest.raises(DeviceError, match=r"TC-D33[23]"), emulate(broken, mps2.board) as url:
        open_session(url, broken.identity)
