"""A conversation with one measuring firmware: check who it is, run inferences, time them, trace them.

Codes beyond the link's: TC-D110 wrong firmware, D111 other protocol, D114 inference refused, D115 wrong clock,
D116 damaged canary or overrun stack, D117 built without hooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tinycompress.build import Identity
from tinycompress.build.elf import function_at
from tinycompress.device import messages
from tinycompress.device.link import Link, Port, open_port
from tinycompress.device.messages import Flag, Hello, Msg, Stats
from tinycompress.errors import DeviceError, FrameError, LinkTimeout

T = TypeVar("T")

INVOKE_TIMEOUT_S = 60.0  # one inference: three times the wrap of a 32-bit cycle counter at 216 MHz
TRACE_TIMEOUT_S = 60.0  # between two rows
CLOCK_TOLERANCE = 0.02
_STATUS = {1: "NULL pointer", 2: "arena too small", 3: "arena misaligned"}


@dataclass(frozen=True)
class Measured:
    """Cycles of each inference, entry to return of the model's invoke function. In an emulator: instructions."""

    cycles: tuple[int, ...]
    clock_hz: int


def open_session(
    port_url: str,
    expected: Identity,
    *,
    baud: int = messages.BAUD_DEFAULT,
    elf: Path | None = None,
    opener: Callable[[str], Port] = open_port,
    clock: Callable[[], float] = time.monotonic,
) -> Session:
    """Open the port, check that the firmware is `expected`, go to `baud` when the line carries it.

    With the firmware's `elf`, a fault is reported with the name of the function it happened in.

    Raises the link's errors, TC-D110 and TC-D111; nothing but HELLO is sent to a firmware that is not the expected one.
    """
    name_of = partial(function_at, elf) if elf else lambda _pc: None
    link = Link(opener(port_url), port_url, clock, name_of)
    try:
        session = Session(link, expected, clock)
        if baud != messages.BAUD_DEFAULT:
            session.negotiate(baud)
    except BaseException:
        link.close()
        raise
    return session


class Session:
    """Use as a context manager; closes the port. Inputs and outputs are bytes in the order of the C structures."""

    def __init__(self, link: Link, expected: Identity, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self.expected = expected
        self.hello = self._check(self._hello())

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._link.close()

    @property
    def baud(self) -> int:
        return self._link.baud

    @property
    def resends(self) -> int:
        """Requests that had to be sent again so far."""
        return self._link.resends

    def _hello(self) -> Hello:
        return _decoded(messages.decode_hello, self._link.request(Msg.HELLO))

    def _check(self, hello: Hello) -> Hello:
        if hello.protocol != messages.PROTOCOL_VERSION:
            raise DeviceError(
                "TC-D111",
                f"the firmware speaks protocol {hello.protocol}, this tool {messages.PROTOCOL_VERSION}",
                fix="flash the board again",
            )
        for field in ("model_hash", "board", "rounding", "build_id"):
            found, wanted = getattr(hello, field), getattr(self.expected, field)
            if found != wanted:
                raise DeviceError(
                    "TC-D110",
                    f"another firmware is on the target: its {field} is {found!r}, expected {wanted!r}",
                    fix="flash the board again",
                )
        return hello

    def negotiate(self, baud: int) -> int:
        """Change both sides to `baud`; back at the default when the line does not carry it. Returns the rate in use."""
        try:
            self._link.request(Msg.SET_BAUD, messages.encode_baud(baud))
        except DeviceError as error:
            if error.code != "TC-D112":
                raise
            return self.baud
        self._link.set_baud(baud)
        try:
            self._link.request(Msg.HELLO, timeout_s=messages.BAUD_REVERT_MS / 2000)
        except (LinkTimeout, FrameError):
            self._link.set_baud(messages.BAUD_DEFAULT)
            self._link.drain(messages.BAUD_REVERT_MS / 1000 * 1.5)
            self._hello()
        return self.baud

    def write_inputs(self, inputs: Sequence[bytes]) -> None:
        """Send every input, in chunks, each one acknowledged. Raises ValueError for wrong sizes."""
        sizes = tuple(len(data) for data in inputs)
        if sizes != self.expected.input_bytes:
            raise ValueError(f"inputs of {sizes} B; the model takes {self.expected.input_bytes} B")
        for index, data in enumerate(inputs):
            for offset in range(0, len(data), messages.WRITE_MAX):
                chunk = bytes(data[offset : offset + messages.WRITE_MAX])
                self._link.request(Msg.WRITE_INPUT, messages.encode_write(index, offset, chunk))

    def read_outputs(self) -> list[bytes]:
        """Every output as the last inference left it."""
        outputs = []
        for index, size in enumerate(self.expected.output_bytes):
            data = bytearray()
            while len(data) < size:
                count = min(messages.READ_MAX, size - len(data))
                payload = self._link.request(Msg.READ_OUTPUT, messages.encode_read(index, len(data), count))
                try:
                    data += messages.decode_read(payload, index, len(data), count)
                except messages.BadMessage as error:
                    raise FrameError("TC-D113", str(error)) from error
            outputs.append(bytes(data))
        return outputs

    def infer(self, inputs: Sequence[bytes]) -> list[bytes]:
        """One inference."""
        self.write_inputs(inputs)
        self.measure(1)
        return self.read_outputs()

    def measure(self, n: int) -> Measured:
        """Run the last inputs `n` times. A model with state goes on from where it is."""
        cycles: list[int] = []
        while len(cycles) < n:
            count = min(messages.INVOKE_MAX, n - len(cycles))
            payload = self._link.request(Msg.INVOKE, messages.encode_invoke(count), timeout_s=INVOKE_TIMEOUT_S * count)
            status, some = _decoded(messages.decode_invoke, payload)
            _check_status(status)
            cycles += some
        return Measured(tuple(cycles), self.hello.clock_hz)

    def profile(self) -> list[int]:
        """Cycles of each layer in one run of the last inputs. Needs a build with hooks (TC-D117)."""
        self._need_hooks()
        cycles: list[int] = []
        while len(cycles) < self.hello.layer_count:
            payload = self._link.request(Msg.PROFILE, messages.encode_profile(len(cycles)), timeout_s=INVOKE_TIMEOUT_S)
            status, first, some = _decoded(messages.decode_profile, payload)
            _check_status(status)
            if first != len(cycles) or not some:
                raise FrameError("TC-D113", f"PROFILE answered layers from {first}, not from {len(cycles)}")
            cycles += some
        return cycles

    def trace(self, inputs: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
        """One inference, every finished row of every traced tensor: (tensor, row) -> bytes. Needs hooks (TC-D117)."""
        self._need_hooks()
        self.write_inputs(inputs)
        rows: dict[tuple[int, int], bytearray] = {}

        def take(payload: bytes) -> None:
            piece = _decoded(messages.decode_row, payload)
            data = rows.setdefault((piece.tensor, piece.row), bytearray(piece.row_bytes))
            data[piece.offset : piece.offset + len(piece.data)] = piece.data

        payload = self._link.request(Msg.TRACE, timeout_s=TRACE_TIMEOUT_S, on_row=take)
        if len(payload) != 1:
            raise FrameError("TC-D113", f"TRACE answered {len(payload)} B")
        _check_status(payload[0])
        return {key: bytes(data) for key, data in rows.items()}

    def reset_state(self) -> None:
        """Set the model's state to what it was before the first inference."""
        self._link.request(Msg.RESET_STATE)

    def stats(self) -> Stats:
        """Stack, canaries, line counters. Raises TC-D116 when a canary is damaged or the stack was used to its end."""
        stats = _decoded(messages.decode_stats, self._link.request(Msg.STATS))
        if stats.canary_damage_before or stats.canary_damage_after:
            raise DeviceError(
                "TC-D116",
                f"{stats.canary_damage_before} B before and {stats.canary_damage_after} B after the arena were changed",
            )
        if stats.stack_high_water_bytes >= stats.stack_bytes:
            raise DeviceError("TC-D116", f"the stack of {stats.stack_bytes} B was used to its end")
        return stats

    def check_clock(self, expected_hz: int, seconds: float = 1.0) -> float:
        """Compare the target's cycle counter with the host's clock; only for real boards. Returns the clock in Hz.

        Raises TC-D115 when the target says it runs at another clock than `expected_hz` or does not keep to it.
        """
        start_cycles, start = self._hello().cycles, self._clock()
        self._link.drain(seconds)
        end_cycles, end = self._hello().cycles, self._clock()
        measured = (end_cycles - start_cycles) / (end - start)
        is_wrong = abs(measured - expected_hz) > CLOCK_TOLERANCE * expected_hz
        if self.hello.clock_hz != expected_hz or is_wrong:
            raise DeviceError(
                "TC-D115",
                f"the core runs at {measured / 1e6:.1f} MHz and says {self.hello.clock_hz / 1e6:.1f} MHz; "
                f"the board file says {expected_hz / 1e6:.1f} MHz",
                fix="check the board's crystal and [clock] in its board file",
            )
        return measured

    def _need_hooks(self) -> None:
        if not self.hello.flags & Flag.HOOKS:
            raise DeviceError("TC-D117", "this firmware was built without hooks", fix="build it with profile or trace")


def _check_status(status: int) -> None:
    if status != 0:
        raise DeviceError("TC-D114", f"the model returned status {status}: {_STATUS.get(status, 'unknown')}")


def _decoded(decode: Callable[[bytes], T], payload: bytes) -> T:
    try:
        return decode(payload)
    except messages.BadMessage as error:
        raise FrameError("TC-D113", str(error)) from error
