"""Requests and replies over a serial port: retries, deadlines, and telling one silence from another.

Codes: TC-D101 no such port, D102 permission, D103 busy, D104 gone, D105 silence, D106 garbage, D107 damaged frames,
D108 silence after valid frames, D109 target fault, D112 request refused, D113 reply of the wrong layout.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Protocol

import serial

from tinycompress.device import messages
from tinycompress.device.frames import END, PAYLOAD_MAX, BadFrame, Frame, Splitter, encode
from tinycompress.device.messages import Msg, Refusal
from tinycompress.errors import DeviceError, FrameError, LinkTimeout, PortError, TargetFault

REPLY_TIMEOUT_S = 6.0  # for requests the target answers at once
RESEND_AFTER_S = 1.0
QUICK_RESENDS = 20  # per request, at once after a damaged frame; then only when RESEND_AFTER_S has passed
READ_SLICE_S = 0.05
WRITE_TIMEOUT_S = 10.0
BITS_PER_BYTE = 10


class Port(Protocol):
    """The part of pyserial's interface that the link uses."""

    baudrate: int

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int | None: ...
    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


def open_port(url: str, baud: int = messages.BAUD_DEFAULT) -> Port:
    """Open a device name or a pyserial URL such as ``socket://127.0.0.1:4000``.

    Raises PortError: TC-D101 there is none, TC-D102 no permission, TC-D103 another program has it.
    """
    options = {} if "://" in url else {"exclusive": True}
    try:
        port: Port = serial.serial_for_url(
            url, baudrate=baud, timeout=READ_SLICE_S, write_timeout=WRITE_TIMEOUT_S, **options
        )
    except ValueError as error:
        raise PortError("TC-D101", f"{url!r} is not a port: {error}", where=url) from error
    except OSError as error:  # SerialException is one
        raise _open_error(url, error) from error
    return port


def _open_error(url: str, error: OSError) -> PortError:
    text = str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "add yourself to the group that owns it (dialout on Debian) and log in again"
        return PortError("TC-D102", f"no permission to open the port: {text}", where=url, fix=fix)
    if error.errno in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        fix = "close the other program (a terminal, a debugger) that has it open"
        return PortError("TC-D103", f"the port is in use: {text}", where=url, fix=fix)
    fix = "check the cable; `tinycompress doctor` lists the ports that exist"
    return PortError("TC-D101", f"the port cannot be opened: {text}", where=url, fix=fix)


class Link:
    """One open port. Not thread-safe. `clock` gives seconds; tests replace it. `name_of` names the function at a pc."""

    def __init__(
        self,
        port: Port,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        name_of: Callable[[int], str | None] = lambda _pc: None,
    ) -> None:
        self._port = port
        self._name = name
        self._clock = clock
        self._name_of = name_of
        self._splitter = Splitter()
        self._seq = 0
        self._has_heard = False
        self.resends = 0

    def close(self) -> None:
        # pyserial forgets its socket when the other side has gone first
        socket = getattr(self._port, "_socket", None)
        self._port.close()
        if socket is not None:
            socket.close()

    @property
    def baud(self) -> int:
        return self._port.baudrate

    def set_baud(self, baud: int) -> None:
        """Change the host's side only."""
        self._port.baudrate = baud
        self._port.reset_input_buffer()
        self._splitter = Splitter()

    def drain(self, seconds: float) -> None:
        """Read and drop whatever arrives during `seconds`."""
        end = self._clock() + seconds
        while self._clock() < end:
            self._read()
        self._splitter = Splitter()

    def request(
        self,
        msg: Msg,
        payload: bytes = b"",
        *,
        timeout_s: float = REPLY_TIMEOUT_S,
        on_row: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """Send a request until it is answered; returns the reply's payload. Traced rows go to `on_row`.

        Raises LinkTimeout, FrameError, PortError, TargetFault or DeviceError with the codes in the module's text.
        """
        self._seq = self._seq % 255 + 1  # 0 is the target's own
        wire = encode(Frame(msg, self._seq, payload))
        exchange = _Exchange(msg, self._seq, self._name_of)
        transfer_s = (len(wire) + PAYLOAD_MAX) * BITS_PER_BYTE / self.baud
        start = self._clock()
        while self._clock() - start < timeout_s + transfer_s:
            self._write(wire)
            resend_at = self._clock() + RESEND_AFTER_S + transfer_s
            while self._clock() < resend_at and not exchange.is_resend_wanted:
                for item in self._splitter.feed(exchange.count(self._read())):
                    row = exchange.take(item)
                    if row is not None:
                        self._write(encode(Frame(Msg.ROW_ACK, row.seq, b"")))
                        if on_row is not None:
                            on_row(row.payload)
                        start = resend_at = self._clock()
                        resend_at += RESEND_AFTER_S + transfer_s
                    if exchange.reply is not None:
                        self._has_heard = True
                        return exchange.reply
            exchange.is_resend_wanted = False
            self.resends += 1
        raise exchange.failure(self._name, self._has_heard, self.baud)

    def _read(self) -> bytes:
        try:
            data = self._port.read(1)
            waiting = self._port.in_waiting if data else 0
            return data + self._port.read(waiting) if waiting else data
        except OSError as error:
            raise self._gone(error) from error

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            text = "the port takes no more bytes: the other side does not read"
            raise LinkTimeout("TC-D105", text, where=self._name) from error
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: OSError) -> PortError:
        fix = "check the cable and the board's power, then run the command again: it resumes"
        return PortError("TC-D104", f"the port went away: {error}", where=self._name, fix=fix)


class _Exchange:
    """One request on its way: the reply, or what was heard instead of it."""

    def __init__(self, msg: Msg, seq: int, name_of: Callable[[int], str | None]) -> None:
        self._msg, self._seq, self._name_of = msg, seq, name_of
        self.reply: bytes | None = None
        self.is_resend_wanted = False
        self._bytes = 0
        self._good = 0
        self._damaged = 0
        self._refused_as_damaged = 0
        self._quick_left = QUICK_RESENDS

    def count(self, data: bytes) -> bytes:
        self._bytes += len(data.strip(END))
        return data

    def take(self, item: Frame | BadFrame) -> Frame | None:
        """Note one piece of the stream; returns a ROW that wants its acknowledgement."""
        if isinstance(item, BadFrame):
            self._damaged += item.is_crc
            self._want_resend()
            return None
        self._good += 1
        if item.type == Msg.FAULT:
            raise _fault(item.payload, self._name_of)
        if item.type == Msg.ROW:
            return item
        if item.type == self._msg | messages.REPLY and item.seq == self._seq:
            self.reply = item.payload
        elif item.type == Msg.ERROR and item.seq == self._seq:
            raise self._refusal(item.payload)
        elif item.type == Msg.ERROR and item.payload == bytes((Refusal.BAD_FRAME,)):
            self._refused_as_damaged += 1
            self._want_resend()
        return None

    def _want_resend(self) -> None:
        if self._quick_left:
            self._quick_left -= 1
            self.is_resend_wanted = True

    def _refusal(self, payload: bytes) -> DeviceError:
        code = payload[0] if payload else 0
        name = Refusal(code).name if code in list(Refusal) else str(code)
        return DeviceError("TC-D112", f"the target refused {self._msg.name}: {name}")

    def failure(self, name: str, has_heard: bool, baud: int) -> DeviceError:
        """The error that fits what was heard until the deadline."""
        if self._damaged or self._refused_as_damaged:
            return FrameError(
                "TC-D107",
                f"{self._damaged} frames arrived damaged and {self._refused_as_damaged} were refused as damaged",
                where=name,
                fix="use a lower baud rate (--baud) or a shorter cable",
            )
        if self._good:
            return LinkTimeout("TC-D108", f"frames arrive, but none answers {self._msg.name}", where=name)
        if self._bytes:
            return FrameError(
                "TC-D106",
                f"{self._bytes} B arrived at {baud} baud, none of them a frame",
                where=name,
                fix="the target runs another firmware or another baud rate: flash it again and reset it",
            )
        if has_heard:
            return LinkTimeout(
                "TC-D108",
                f"the target answered before, but not to {self._msg.name}",
                where=name,
                fix="reset the board and run the command again",
            )
        return LinkTimeout(
            "TC-D105",
            f"nothing arrives from the port at {baud} baud",
            where=name,
            fix="check that the board is powered, flashed and reset, and that this is its port",
        )


def _fault(payload: bytes, name_of: Callable[[int], str | None]) -> TargetFault:
    try:
        text = messages.describe_fault(messages.decode_fault(payload), name_of)
    except messages.BadMessage as error:
        text = str(error)
    fix = "if that lies in the generated code, it is a bug of this tool: report it with the model"
    return TargetFault("TC-D109", f"the processor faulted: {text}", fix=fix)
