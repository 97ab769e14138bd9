"""Framing: round trips, damage, and agreement with the firmware's own definitions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycompress import assets
from tinycompress.device import frames, messages
from tinycompress.device.frames import BadFrame, Frame, Splitter, encode
from tinycompress.device.messages import Flag, Msg, Refusal

PAYLOADS = st.binary(max_size=frames.PAYLOAD_MAX)


@given(st.integers(0, 255), st.integers(0, 255), PAYLOADS)
def test_round_trip(kind: int, seq: int, payload: bytes) -> None:
    wire = encode(Frame(kind, seq, payload))
    assert wire[0] == wire[-1] == 0
    assert b"\x00" not in wire[1:-1]
    assert Splitter().feed(wire) == [Frame(kind, seq, payload)]


@given(PAYLOADS, st.data())
def test_one_changed_byte_is_never_accepted(payload: bytes, data: st.DataObject) -> None:
    wire = bytearray(encode(Frame(7, 9, payload)))
    at = data.draw(st.integers(1, len(wire) - 2))
    wire[at] ^= data.draw(st.integers(1, 255))
    assert not [f for f in Splitter().feed(bytes(wire)) if isinstance(f, Frame)]


@given(st.lists(PAYLOADS, max_size=4), st.lists(st.integers(1, 50), min_size=1), st.binary(max_size=40))
def test_cut_anywhere_and_after_any_noise(payloads: list[bytes], cuts: list[int], noise: bytes) -> None:
    """A leading zero ends whatever came before, so a frame after noise is found whole."""
    wire = noise + b"".join(encode(Frame(1, 2, p)) for p in payloads)
    splitter, found, at = Splitter(), [], 0
    while at < len(wire):
        step = cuts[at % len(cuts)]
        found += splitter.feed(wire[at : at + step])
        at += step
    assert [f.payload for f in found if isinstance(f, Frame)][-len(payloads) or 99 :] == payloads


def test_endless_noise_is_bounded_and_reported_once() -> None:
    splitter = Splitter()
    for _ in range(100):
        assert splitter.feed(b"\x55" * 1000) == []
    assert len(splitter._piece) <= 1100
    (bad,) = splitter.feed(b"\x00")
    assert isinstance(bad, BadFrame)
    assert splitter.feed(encode(Frame(1, 1, b"x"))) == [Frame(1, 1, b"x")]


def test_too_large_a_payload() -> None:
    with pytest.raises(ValueError, match="1025 B"):
        encode(Frame(1, 1, bytes(1025)))


def header_numbers() -> dict[str, int]:
    text = (assets.directory("firmware") / "protocol.h").read_text()
    return {n: int(v, 0) for n, v in re.findall(r"#define TC_(\w+) (0x[0-9A-F]+|[0-9]+)\b", text)}


def test_numbers_equal_the_firmwares() -> None:
    numbers = header_numbers()
    for prefix, members in (("MSG_", Msg), ("ERROR_", Refusal), ("FLAG_", Flag)):
        theirs = {n.removeprefix(prefix): v for n, v in numbers.items() if n.startswith(prefix)}
        assert theirs == {m.name: m.value for m in members}
    assert numbers["PROTOCOL_VERSION"] == messages.PROTOCOL_VERSION
    assert numbers["PAYLOAD_MAX"] == frames.PAYLOAD_MAX
    assert numbers["BAUD_DEFAULT"] == messages.BAUD_DEFAULT
    assert numbers["BAUD_REVERT_MS"] == messages.BAUD_REVERT_MS
    assert numbers["REPLY"] == messages.REPLY
    assert numbers["CHUNK_HEADER"] == messages.CHUNK_HEADER
