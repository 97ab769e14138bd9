"""What the frames mean: one definition of every number and layout, mirrored by firmware/protocol.h (a test compares).

All integers are little endian. Pure functions: no port, no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from tinycompress.device.frames import PAYLOAD_MAX

PROTOCOL_VERSION = 1
BAUD_DEFAULT = 115200
BAUD_REVERT_MS = 1500
REPLY = 0x80
CHUNK_HEADER = 5
ROW_HEADER = 12
WRITE_MAX = PAYLOAD_MAX - CHUNK_HEADER
READ_MAX = PAYLOAD_MAX - CHUNK_HEADER
INVOKE_MAX = (PAYLOAD_MAX - 1) // 8


class Msg(IntEnum):
    """Message types. A reply is the request's type | REPLY."""

    HELLO = 0x01
    SET_BAUD = 0x02
    WRITE_INPUT = 0x03
    INVOKE = 0x04
    READ_OUTPUT = 0x05
    PROFILE = 0x06
    TRACE = 0x07
    STATS = 0x08
    RESET_STATE = 0x09
    ROW_ACK = 0x0A
    ROW = 0xC0
    ERROR = 0xE0
    FAULT = 0xF0


class Refusal(IntEnum):
    """Codes of an ERROR message."""

    BAD_FRAME = 1
    UNKNOWN = 2
    LENGTH = 3
    RANGE = 4
    BAUD = 5
    HOST_GONE = 6


class Flag(IntFlag):
    """Flags of HELLO."""

    HOOKS = 1
    STATE = 2


class BadMessage(ValueError):
    """A valid frame whose payload does not have the layout its type demands."""


@dataclass(frozen=True)
class Hello:
    """What the firmware says of itself. `cycles` is its 64-bit counter when it answered."""

    protocol: int
    flags: Flag
    clock_hz: int
    cycles: int
    arena_bytes: int
    state_bytes: int
    layer_count: int
    payload_max: int
    build_id: str
    model_hash: str
    board: str
    rounding: str


@dataclass(frozen=True)
class Stats:
    """Health of the target: stack use since boot, changed canary bytes around the arena, the line's counters."""

    stack_bytes: int
    stack_high_water_bytes: int
    canary_damage_before: int
    canary_damage_after: int
    overruns: int
    good_frames: int
    bad_frames: int


@dataclass(frozen=True)
class Fault:
    """Processor state at a fault. `pc` and `lr` are 0 when the stack held no exception frame."""

    exception: int
    pc: int
    lr: int
    sp: int
    cfsr: int
    hfsr: int
    mmfar: int
    bfar: int


@dataclass(frozen=True)
class Row:
    """One piece of a traced tensor row of `row_bytes` bytes, starting at `offset`."""

    tensor: int
    row: int
    row_bytes: int
    offset: int
    data: bytes


def _unpack(layout: str, payload: bytes, what: str) -> tuple[int, ...]:
    if len(payload) != struct.calcsize(layout):
        raise BadMessage(f"{what} has {len(payload)} B instead of {struct.calcsize(layout)} B")
    return struct.unpack(layout, payload)


def decode_hello(payload: bytes) -> Hello:
    """Raises BadMessage; so do all decoders here. Only the version is read of another protocol's HELLO."""
    head = "<HHIQIIHH"
    size = struct.calcsize(head)
    if len(payload) < 2:
        raise BadMessage("HELLO is empty")
    version = struct.unpack("<H", payload[:2])[0]
    if version != PROTOCOL_VERSION:
        return Hello(version, Flag(0), 0, 0, 0, 0, 0, 0, "", "", "", "")
    protocol, flags, clock, cycles, arena, state, layers, limit = _unpack(head, payload[:size], "HELLO")
    texts, at = [], size
    for _ in range(4):
        length = payload[at] if at < len(payload) else 0
        texts.append(payload[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    if at != len(payload):
        raise BadMessage(f"HELLO has {len(payload)} B, its texts end at {at} B")
    return Hello(protocol, Flag(flags), clock, cycles, arena, state, layers, limit, *texts)


def encode_hello(hello: Hello) -> bytes:
    """The payload of HELLO's reply, as the firmware makes it; for fakes of the target."""
    texts = (hello.build_id, hello.model_hash, hello.board, hello.rounding)
    head = struct.pack(
        "<HHIQIIHH",
        hello.protocol,
        hello.flags,
        hello.clock_hz,
        hello.cycles,
        hello.arena_bytes,
        hello.state_bytes,
        hello.layer_count,
        hello.payload_max,
    )
    return head + b"".join(bytes((len(t),)) + t.encode() for t in texts)


def encode_baud(baud: int) -> bytes:
    return struct.pack("<I", baud)


def encode_write(index: int, offset: int, data: bytes) -> bytes:
    return struct.pack("<BI", index, offset) + data


def encode_read(index: int, offset: int, count: int) -> bytes:
    return struct.pack("<BIH", index, offset, count)


def decode_read(payload: bytes, index: int, offset: int, count: int) -> bytes:
    """The data of READ_OUTPUT's reply, which must be the chunk that was asked for."""
    if payload[:CHUNK_HEADER] != struct.pack("<BI", index, offset) or len(payload) != CHUNK_HEADER + count:
        raise BadMessage(f"READ_OUTPUT answered another chunk than {index}:{offset}+{count}")
    return payload[CHUNK_HEADER:]


def encode_invoke(count: int) -> bytes:
    return struct.pack("<H", count)


def decode_invoke(payload: bytes) -> tuple[int, list[int]]:
    """(tc_status, cycles of each inference)."""
    if len(payload) % 8 != 1:
        raise BadMessage(f"INVOKE answered {len(payload)} B")
    return payload[0], [cycles for (cycles,) in struct.iter_unpack("<Q", payload[1:])]


def encode_profile(first: int) -> bytes:
    return struct.pack("<H", first)


def decode_profile(payload: bytes) -> tuple[int, int, list[int]]:
    """(tc_status, index of the first layer here, cycles of each layer)."""
    if len(payload) < 3 or len(payload) % 8 != 3:
        raise BadMessage(f"PROFILE answered {len(payload)} B")
    return payload[0], struct.unpack("<H", payload[1:3])[0], [c for (c,) in struct.iter_unpack("<Q", payload[3:])]


def decode_stats(payload: bytes) -> Stats:
    stack, high, damage, overruns, good, bad = _unpack("<6I", payload, "STATS")
    return Stats(stack, high, damage & 0xFFFF, damage >> 16, overruns, good, bad)


def decode_fault(payload: bytes) -> Fault:
    return Fault(*_unpack("<8I", payload, "FAULT"))


def decode_row(payload: bytes) -> Row:
    tensor, row, row_bytes, offset = _unpack("<HHII", payload[:ROW_HEADER], "ROW")
    data = payload[ROW_HEADER:]
    if not data or offset + len(data) > row_bytes:
        raise BadMessage(f"ROW carries {len(data)} B at {offset} of {row_bytes} B")
    return Row(tensor, row, row_bytes, offset, data)


_CFSR_BITS = {
    0: "instruction access violation",
    1: "data access violation",
    4: "stacking violation",
    8: "instruction bus error",
    9: "precise data bus error",
    10: "imprecise data bus error",
    12: "bus error while stacking (stack overflow?)",
    16: "undefined instruction",
    17: "invalid state",
    18: "invalid PC",
    19: "no FPU",
    24: "unaligned access",
    25: "division by zero",
}


def describe_fault(fault: Fault, name_of: Callable[[int], str | None]) -> str:
    """One sentence: causes from CFSR, the function `name_of` knows at the pc, addresses, exception number."""
    causes = [text for bit, text in _CFSR_BITS.items() if fault.cfsr >> bit & 1] or ["cause not recorded"]
    address = ""
    if fault.cfsr >> 15 & 1:
        address = f", address {fault.bfar:#010x}"
    elif fault.cfsr >> 7 & 1:
        address = f", address {fault.mmfar:#010x}"
    name = name_of(fault.pc)
    place = f" in {name}" if name else ""
    return (
        f"{', '.join(causes)}{place} at pc {fault.pc:#010x}{address} (lr {fault.lr:#010x}, exception {fault.exception})"
    )
