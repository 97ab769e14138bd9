"""Every way a conversation can go wrong has its own code; what goes right is byte-exact."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.device.fake_target import IDENTITY, Clock, FakePort, FakeTarget, hello
from tinycompress.device import messages
from tinycompress.device.frames import Frame, encode
from tinycompress.device.messages import Flag, Msg, Refusal
from tinycompress.device.session import Session, open_session
from tinycompress.errors import DeviceError, TargetFault

INPUTS = [b"\x00\x01\x02\x00\xff\x00", b"\x07\x08"]


def start(target: FakeTarget | None, port: FakePort | None = None, baud: int = messages.BAUD_DEFAULT) -> Session:
    clock = port.clock if port else Clock()
    opened = port or FakePort(target, clock)
    return open_session("fake", IDENTITY, baud=baud, opener=lambda _: opened, clock=clock)


def code_of(action: object) -> str:
    with pytest.raises(DeviceError) as caught:
        action()  # type: ignore[operator]
    return caught.value.code


def test_infer_moves_bytes_unchanged() -> None:
    with start(FakeTarget()) as session:
        assert session.infer(INPUTS) == [INPUTS[0] + INPUTS[1]]
        assert session.measure(300).cycles == (1000,) * 300
        assert session.resends == 0


def test_wrong_input_sizes_are_the_callers_mistake() -> None:
    with start(FakeTarget()) as session, pytest.raises(ValueError, match="inputs of"):
        session.infer([b"1", b"2"])


@pytest.mark.parametrize("field", ["build_id", "model_hash", "board", "rounding"])
def test_wrong_firmware_gets_nothing_but_hello(field: str) -> None:
    target = FakeTarget(hello=dataclasses.replace(hello(), **{field: "other"}))
    clock = Clock()
    port = FakePort(target, clock)
    assert code_of(lambda: start(None, port)) == "TC-D110"
    assert {f.type for f in target.received} == {Msg.HELLO}
    assert port.is_closed


def test_other_protocol() -> None:
    assert code_of(lambda: start(FakeTarget(hello=hello(protocol=9)))) == "TC-D111"


def test_silence() -> None:
    assert code_of(lambda: start(None)) == "TC-D105"


def test_garbage() -> None:
    port = FakePort(None, Clock())
    port.inject(b"\x11\x22\x33" * 50)
    assert code_of(lambda: start(None, port)) == "TC-D106"


def test_damaged_frames_from_the_target() -> None:
    def spoil(direction: str, data: bytes) -> bytes:
        return data if direction == ">" else data[:9] + bytes((data[9] ^ 2,)) + data[10:]

    assert code_of(lambda: start(None, FakePort(FakeTarget(), Clock(), spoil))) == "TC-D107"


def test_damaged_frames_to_the_target() -> None:
    def spoil(direction: str, data: bytes) -> bytes:
        return data if direction == "<" else data.replace(b"\x01", b"\x03")

    assert code_of(lambda: start(None, FakePort(FakeTarget(), Clock(), spoil))) == "TC-D107"


def test_silence_after_frames() -> None:
    clock = Clock()
    port = FakePort(FakeTarget(), clock)
    session = start(None, port)
    port.target = None
    assert code_of(session.stats) == "TC-D108"


def test_frames_that_answer_something_else() -> None:
    port = FakePort(None, Clock())
    port.inject(encode(Frame(Msg.STATS | messages.REPLY, 200, bytes(24))))
    assert code_of(lambda: start(None, port)) == "TC-D108"


def test_fault_of_the_target() -> None:
    port = FakePort(None, Clock())
    state = (3, 0x08001234, 0x08001000, 0x20001000, 1 << 9 | 1 << 15, 1 << 30, 0, 0x70000000)
    port.inject(encode(Frame(Msg.FAULT, 0, b"".join(v.to_bytes(4, "little") for v in state))))
    with pytest.raises(TargetFault, match=r"precise data bus error at pc 0x08001234, address 0x70000000"):
        start(None, port)


def test_port_that_goes_away() -> None:
    class Pulled(FakePort):
        def read(self, size: int, /) -> bytes:
            raise OSError("device disconnected")

    assert code_of(lambda: start(None, Pulled(None, Clock()))) == "TC-D104"


def test_refusal() -> None:
    target = FakeTarget()
    with start(target) as session:
        target._carry_out = lambda *_: (Msg.ERROR, bytes((Refusal.RANGE,)))  # type: ignore[method-assign]
        with pytest.raises(DeviceError, match=r"TC-D112.*WRITE_INPUT: RANGE"):
            session.write_inputs(INPUTS)


def test_reply_of_the_wrong_layout() -> None:
    target = FakeTarget()
    with start(target) as session:
        target._carry_out = lambda msg, _: (msg | messages.REPLY, b"1234")  # type: ignore[method-assign]
        assert code_of(session.stats) == "TC-D113"
        assert code_of(lambda: session.measure(1)) == "TC-D113"
        assert code_of(session.profile) == "TC-D113"
        assert code_of(session.read_outputs) == "TC-D113"


def test_status_of_the_model() -> None:
    with start(FakeTarget(status=2)) as session, pytest.raises(DeviceError, match=r"TC-D114.*arena too small"):
        session.measure(1)


@pytest.mark.parametrize("target", [FakeTarget(canary=1 << 16), FakeTarget(canary=3), FakeTarget(high_water=8192)])
def test_damage_is_an_error(target: FakeTarget) -> None:
    with start(target) as session:
        assert code_of(session.stats) == "TC-D116"


def test_no_hooks() -> None:
    with start(FakeTarget(hello=hello(flags=Flag(0)))) as session:
        assert code_of(session.profile) == "TC-D117"
        assert code_of(lambda: session.trace(INPUTS)) == "TC-D117"


def test_clock_that_is_not_the_boards() -> None:
    """The target's counter stands still while the host waits a second."""
    with start(FakeTarget()) as session:
        assert code_of(lambda: session.check_clock(216_000_000)) == "TC-D115"


def test_clock_that_is_the_boards() -> None:
    target = FakeTarget()
    clock = Clock()

    class Counting(FakePort):
        def write(self, data: bytes, /) -> int | None:
            target.hello = hello(cycles=int(clock.now * 216e6))
            return super().write(data)

    with start(None, Counting(target, clock)) as session:
        assert session.check_clock(216_000_000) == pytest.approx(216e6)


def test_lost_request_is_sent_again_and_carried_out_once() -> None:
    target = FakeTarget()
    lost = [">INVOKE", "<INVOKE"]

    def spoil(direction: str, data: bytes) -> bytes:
        is_invoke = len(data) > 4 and data[2] in (Msg.INVOKE, Msg.INVOKE | messages.REPLY)
        if is_invoke and direction + "INVOKE" in lost:
            lost.remove(direction + "INVOKE")
            return b""
        return data

    with start(None, FakePort(target, Clock(), spoil)) as session:
        session.infer(INPUTS)
        assert session.resends == 2
    assert target.invokes == 1
    assert not lost


def test_baud_rate_is_raised() -> None:
    target = FakeTarget()
    with start(target, baud=921600) as session:
        assert session.baud == target.baud == 921600
        session.infer(INPUTS)


def test_baud_rate_the_chip_cannot_make() -> None:
    target = FakeTarget(reachable_baud=200_000)
    with start(target, baud=921600) as session:
        assert session.baud == target.baud == messages.BAUD_DEFAULT


def test_baud_rate_the_line_does_not_carry() -> None:
    target = FakeTarget(line_baud=200_000)
    with start(target, baud=921600) as session:
        assert session.baud == target.baud == messages.BAUD_DEFAULT
        session.infer(INPUTS)
