"""Frames on the wire: COBS(type, seq, payload, CRC-32) ended by a zero byte. Mirrors firmware/frame.c."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from cobs import cobs

PAYLOAD_MAX = 1024
FRAME_MAX = 2 + PAYLOAD_MAX + 4
END = b"\x00"


@dataclass(frozen=True)
class Frame:
    """One decoded frame: message type, sequence number (both u8), and 0 to PAYLOAD_MAX bytes of payload."""

    type: int
    seq: int
    payload: bytes


class BadFrame(ValueError):
    """Bytes between two zeros that are not a frame. `is_crc` tells a damaged frame from bytes that never were one."""

    def __init__(self, reason: str, *, is_crc: bool) -> None:
        super().__init__(reason)
        self.is_crc = is_crc


def encode(frame: Frame) -> bytes:
    """The frame's bytes, with a zero before it that ends whatever noise came first."""
    if len(frame.payload) > PAYLOAD_MAX:
        raise ValueError(f"payload of {len(frame.payload)} B; the limit is {PAYLOAD_MAX} B")
    body = bytes((frame.type, frame.seq)) + frame.payload
    return b"".join((END, cobs.encode(body + struct.pack("<I", zlib.crc32(body))), END))


def decode(data: bytes) -> Frame:
    """The frame in `data`, which holds no zero byte. Raises BadFrame."""
    try:
        body = cobs.decode(data)
    except cobs.DecodeError as error:
        raise BadFrame(str(error), is_crc=False) from error
    if not 6 <= len(body) <= FRAME_MAX:
        raise BadFrame(f"{len(body)} B are not a frame", is_crc=False)
    if zlib.crc32(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
        raise BadFrame("the CRC is wrong", is_crc=True)
    return Frame(body[0], body[1], body[2:-4])


class Splitter:
    """Cuts a byte stream at its zeros. Keeps at most one frame's worth of an unfinished piece."""

    _LIMIT = FRAME_MAX + FRAME_MAX // 254 + 1

    def __init__(self) -> None:
        self._piece = bytearray()
        self._is_overlong = False

    def feed(self, data: bytes) -> list[Frame | BadFrame]:
        """Frames and damaged pieces that `data` completes, in order; empty pieces are skipped."""
        found: list[Frame | BadFrame] = []
        *complete, rest = data.split(END)
        for part in complete:
            self._append(part)
            if self._is_overlong:
                found.append(BadFrame("longer than any frame", is_crc=False))
            elif self._piece:
                try:
                    found.append(decode(bytes(self._piece)))
                except BadFrame as bad:
                    found.append(bad)
            self._piece.clear()
            self._is_overlong = False
        self._append(rest)
        return found

    def _append(self, part: bytes) -> None:
        self._piece += part
        if len(self._piece) > self._LIMIT:
            self._is_overlong = True
            self._piece.clear()
