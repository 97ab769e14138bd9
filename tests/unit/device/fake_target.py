"""A measuring firmware in Python behind a fake port, with a clock that moves only when somebody waits."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tinycompress.build import Identity
from tinycompress.device import messages
from tinycompress.device.frames import BadFrame, Frame, Splitter, encode
from tinycompress.device.link import READ_SLICE_S
from tinycompress.device.messages import Flag, Hello, Msg, Refusal

IDENTITY = Identity("b1d", "m0de1", "stm32f746", "double", (6, 2), (8,))


def hello(**changes: object) -> Hello:
    values: dict[str, object] = {
        "protocol": messages.PROTOCOL_VERSION,
        "flags": Flag.HOOKS,
        "clock_hz": 216_000_000,
        "cycles": 0,
        "arena_bytes": 100,
        "state_bytes": 0,
        "layer_count": 2,
        "payload_max": 1024,
        "build_id": IDENTITY.build_id,
        "model_hash": IDENTITY.model_hash,
        "board": IDENTITY.board,
        "rounding": IDENTITY.rounding,
    }
    return Hello(**{**values, **changes})  # type: ignore[arg-type]


class Clock:
    """Seconds that pass when a read finds nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeTarget:
    """Answers frames as the firmware does: outputs are the inputs joined. `on_wire` may spoil what it sends."""

    hello: Hello = field(default_factory=hello)
    status: int = 0
    inputs: dict[int, bytearray] = field(default_factory=lambda: {0: bytearray(6), 1: bytearray(2)})
    reachable_baud: int = 10_000_000
    line_baud: int = 10_000_000
    baud: int = messages.BAUD_DEFAULT
    canary: int = 0
    high_water: int = 100
    invokes: int = 0
    received: list[Frame] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)
    last_reply: bytes = b""

    def answer(self, frame: Frame) -> bytes:
        self.received.append(frame)
        if (frame.type, frame.seq) == self.last and frame.type != Msg.HELLO:
            return self.last_reply
        self.last = (frame.type, frame.seq)
        kind, payload = self._carry_out(Msg(frame.type), frame.payload)
        seq = frame.seq
        self.last_reply = encode(Frame(kind, seq, payload))
        return self.last_reply

    def _carry_out(self, msg: Msg, payload: bytes) -> tuple[int, bytes]:
        reply = b""
        if msg == Msg.HELLO:
            reply = messages.encode_hello(self.hello)
        elif msg == Msg.SET_BAUD:
            (baud,) = struct.unpack("<I", payload)
            if baud > self.reachable_baud:
                return Msg.ERROR, bytes((Refusal.BAUD,))
            self.baud = baud
            reply = payload
        elif msg == Msg.WRITE_INPUT:
            index, offset = struct.unpack("<BI", payload[:5])
            self.inputs[index][offset : offset + len(payload) - 5] = payload[5:]
        elif msg == Msg.INVOKE:
            (count,) = struct.unpack("<H", payload)
            self.invokes += count
            reply = bytes((self.status,)) + struct.pack("<Q", 1000) * count
        elif msg == Msg.READ_OUTPUT:
            _, offset, count = struct.unpack("<BIH", payload)
            reply = payload[:5] + bytes(self.inputs[0] + self.inputs[1])[offset : offset + count]
        elif msg == Msg.STATS:
            reply = struct.pack("<6I", 8192, self.high_water, self.canary, 0, 0, 0)
        return msg | messages.REPLY, reply


class FakePort:
    """A serial port with `target` at its other end. `spoil(direction, data)` changes what passes, ``'>'`` to it."""

    def __init__(
        self, target: FakeTarget | None, clock: Clock, spoil: Callable[[str, bytes], bytes] | None = None
    ) -> None:
        self.target, self.clock, self.spoil = target, clock, spoil or (lambda _direction, data: data)
        self.baudrate = messages.BAUD_DEFAULT
        self.is_closed = False
        self._incoming = bytearray()
        self._splitter = Splitter()

    @property
    def in_waiting(self) -> int:
        return len(self._incoming)

    def inject(self, data: bytes) -> None:
        self._incoming += data

    def write(self, data: bytes, /) -> int | None:
        if self.target is None:
            return len(data)
        if self.target.baud != self.baudrate:
            return len(data)  # noise at the other end
        for item in self._splitter.feed(self.spoil(">", data)):
            if isinstance(item, BadFrame):
                sent = encode(Frame(Msg.ERROR, 0, bytes((Refusal.BAD_FRAME,))))
            else:
                sent = self.target.answer(item)
            self._incoming += self.spoil("<", sent)
        return len(data)

    def read(self, size: int, /) -> bytes:
        if self.target is not None and self.target.baud > self.target.line_baud:
            self._incoming.clear()
            if self.clock.now > messages.BAUD_REVERT_MS / 1000:
                self.target.baud = messages.BAUD_DEFAULT
        if not self._incoming:
            self.clock.now += READ_SLICE_S
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def reset_input_buffer(self) -> None:
        self._incoming.clear()

    def close(self) -> None:
        self.is_closed = True
