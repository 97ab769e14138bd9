"""Hostile bytes on the serial line, towards the host and towards the firmware: a coded error or the right answer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.emulator.stub import BIAS, STUB, need, stub_binding, stub_data, stub_mixed
from tests.unit.device.fake_target import IDENTITY, Clock, FakePort, FakeTarget
from tinycompress.boards import board
from tinycompress.build import build_firmware
from tinycompress.device import emulate, open_session
from tinycompress.device.frames import Frame, encode
from tinycompress.device.link import Link, open_port
from tinycompress.device.session import Session
from tinycompress.errors import DeviceError, FrameError, LinkTimeout

INPUTS = [b"\x00\x01\x02\x00\xff\x00", b"\x07\x08"]


def spoiled(data: bytes, source: random.Random) -> bytes:
    """`data` with bytes lost, changed, doubled or inserted, now and then."""
    out = bytearray()
    for byte in data:
        luck = source.random()
        if luck < 0.01:
            continue
        out.append(source.randrange(256) if luck < 0.02 else byte)
        if luck > 0.99:
            out.append(source.randrange(256))
    return bytes(out)


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-runs") or 60)


def test_spoiled_lines_give_the_right_answer_or_a_coded_error(runs: int) -> None:
    answered = 0
    for seed in range(runs):
        source = random.Random(seed)
        clock = Clock()
        port = FakePort(FakeTarget(), clock, lambda _d, data, s=source: spoiled(data, s))  # type: ignore[misc]
        codes: list[str] = []
        try:
            with open_session("fake", IDENTITY, opener=lambda _, p=port: p, clock=clock) as session:  # type: ignore[misc]
                assert session.infer(INPUTS) == [INPUTS[0] + INPUTS[1]]
                answered += 1
        except (FrameError, LinkTimeout) as error:
            codes.append(error.code)
        assert set(codes) <= {"TC-D105", "TC-D106", "TC-D107", "TC-D108"}
    assert answered > runs // 2


def test_random_replies_never_make_a_tensor(runs: int) -> None:
    """Well-framed replies of random types, numbers and payloads: each call ends in a coded error."""
    for seed in range(runs):
        source = random.Random(seed)
        clock = Clock()
        port = FakePort(FakeTarget(), clock)
        with open_session("fake", IDENTITY, opener=lambda _, p=port: p, clock=clock) as session:  # type: ignore[misc]
            port.target = None
            for _ in range(40):
                kind = source.choice([0x83, 0x84, 0x85, 0x86, 0x87, 0xC0, 0xE0, 0xF0, source.randrange(256)])
                seq = source.choice([2, source.randrange(256)])  # HELLO was 1
                port.inject(encode(Frame(kind, seq, source.randbytes(source.randrange(20)))))
            call = source.choice([session.read_outputs, session.profile, lambda s=session: s.measure(1), session.stats])
            with pytest.raises(DeviceError):
                call()


def test_the_firmware_survives_noise(tmp_path: Path, runs: int) -> None:
    """Random bytes and random well-framed requests do not harm it: afterwards it computes as before."""
    need()
    firmware = build_firmware(STUB, stub_binding(), board("stm32f746"), "zig", tmp_path / "build", profile=True)
    data = stub_data()
    source = random.Random(7)
    with emulate(firmware, firmware.board) as url:
        for _ in range(max(runs // 10, 3)):
            port = open_port(url)
            for _ in range(20):
                port.write(source.randbytes(source.randrange(1, 3000)))
                # every request but SET_BAUD (the rate would change) and TRACE (it waits for acknowledgements)
                kind = source.choice([1, 3, 4, 5, 6, 8, 9, 10, source.randrange(11, 256)])
                port.write(encode(Frame(kind, source.randrange(256), source.randbytes(source.randrange(24)))))
                port.read(4096)
            port.close()
            session = Session(Link(open_port(url), url), firmware.identity)
            session.reset_state()
            assert session.infer([data, BIAS])[0] == stub_mixed(data)
            assert session.stats().canary_damage_after == 0
            session.close()
