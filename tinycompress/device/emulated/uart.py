"""GPIO and USARTs of an STM32F74x (rules TC-D311 to TC-D315). Bytes move only over the board's own pins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tinycompress.boards import Uart
from tinycompress.device.emulated.clocks import Clocks
from tinycompress.device.emulated.rules import RuleBrokenError

GPIO = 0x40020000
GPIO_PORTS = 11
_GPIO_WRITABLE = {0x00, 0x04, 0x08, 0x0C, 0x14, 0x18, 0x1C, 0x20, 0x24}
_STANDARD_BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 500_000, 921600, 1_000_000, 2_000_000)
_IDLE_POLLS = 8  # reads of ISR with nothing to receive, in a row, that mean the firmware waits for the host
_UE, _RE, _TE, _OVER8 = 1, 1 << 2, 1 << 3, 1 << 15


class Gpio:
    """Ports A to K: mode and alternate function of each pin."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._r = [dict.fromkeys(range(0, 0x28, 4), 0) for _ in range(GPIO_PORTS)]
        self._r[0][0x00], self._r[1][0x00] = 0xA8000000, 0x00000280

    def read(self, address: int) -> int:
        port, offset = self._locate(address)
        return self._r[port][offset]

    def write(self, address: int, value: int) -> None:
        port, offset = self._locate(address)
        if offset not in _GPIO_WRITABLE:
            raise RuleBrokenError("TC-D320", f"{address:#010x} is read-only")
        is_debug_mode_lost = offset == 0x00 and value >> 26 & 15 != 0b1010
        is_debug_function_lost = offset == 0x24 and value >> 20 & 0xFF
        if port == 0 and (is_debug_mode_lost or is_debug_function_lost):
            raise RuleBrokenError("TC-D315", f"write of {value:#010x} to {address:#010x}")
        self._r[port][offset] = value

    def _locate(self, address: int) -> tuple[int, int]:
        port, offset = divmod(address - GPIO, 0x400)
        if offset not in self._r[port]:
            raise RuleBrokenError("TC-D320", f"there is no register at {address:#010x}")
        self._clocks.need_clock(0x30, port, f"GPIO{chr(ord('A') + port)}")
        return port, offset

    def alternate(self, port: int, pin: int) -> int | None:
        """Alternate function of a pin, None while it is in another mode."""
        if self._r[port][0x00] >> 2 * pin & 3 != 2:
            return None
        return self._r[port][0x20 + 4 * (pin // 8)] >> 4 * (pin % 8) & 15


class Usart:
    """The board's USART. `now` counts instructions, which stand for core cycles in the timing of received bytes."""

    def __init__(self, uart: Uart, clocks: Clocks, gpio: Gpio, now: Callable[[], int]) -> None:
        if uart.pins is None:
            raise ValueError("an STM32 board file names the UART's pins")
        self._uart, self._pins, self._clocks, self._gpio, self._now = uart, uart.pins, clocks, gpio, now
        self._r = dict.fromkeys((0x00, 0x04, 0x08, 0x0C, 0x10, 0x14), 0)
        self._queue: deque[int] = deque()
        self._next_at = 0
        self._byte_cycles = 0
        self._received: int | None = None
        self._is_overrun = False
        self._idle_polls = 0
        self.sent = bytearray()
        self.is_idle = False

    def feed(self, data: bytes) -> None:
        """The host sends `data`; its first byte arrives now."""
        self._queue.extend(data)
        self._next_at = self._now()
        self.is_idle = False
        self._idle_polls = 0

    def _need_clock(self) -> None:
        self._clocks.need_clock(0x40 if self._pins.bus == 1 else 0x44, self._pins.enable_bit, self._uart.peripheral)

    def read(self, offset: int) -> int:
        self._need_clock()
        if offset == 0x1C:
            return self._read_status()
        if offset == 0x24:
            value, self._received = self._received, None
            return value or 0
        if offset in (0x18, 0x20):
            raise RuleBrokenError("TC-D314", f"write-only register {offset:#04x} is read")
        if offset == 0x28:
            return 0
        if offset in self._r:
            return self._r[offset]
        raise RuleBrokenError("TC-D320", f"there is no register at offset {offset:#04x} of {self._uart.peripheral}")

    def _read_status(self) -> int:
        is_receiving = self._r[0x00] & (_UE | _RE) == _UE | _RE
        if not is_receiving:
            self._queue.clear()
        now = self._now()
        while self._queue and self._next_at <= now:
            self._arrive()
            self._next_at += self._byte_cycles
        if self._received is None and self._queue:
            self._arrive()  # the firmware waits: time passes until the byte is there
            self._next_at = now + self._byte_cycles
        if self._received is None:
            self._idle_polls += 1
            self.is_idle = self._idle_polls >= _IDLE_POLLS
        else:
            self._idle_polls = 0
        return 0xC0 | (self._received is not None) << 5 | self._is_overrun << 3 | 1 << 21

    def _arrive(self) -> None:
        byte = self._queue.popleft()
        if self._received is None:
            self._received = byte
        else:
            self._is_overrun = True

    def _clock_hz(self) -> float:
        shift = {0x40011000: 0, 0x40004400: 2, 0x40004800: 4}.get(self._uart.base, 0)
        return self._clocks.uart_clock_hz(self._pins.bus, shift)

    def _divider(self) -> float:
        """Core clock of the UART divided by the baud rate."""
        brr = self._r[0x0C]
        if self._r[0x00] & _OVER8:
            return ((brr & 0xFFF0) | (brr & 7) << 1) / 2
        return float(brr)

    def write(self, offset: int, value: int) -> None:
        self._need_clock()
        is_on = bool(self._r[0x00] & _UE)
        if offset == 0x28:
            if not (is_on and self._r[0x00] & _TE):
                raise RuleBrokenError("TC-D313", "data is written while the transmitter is off")
            self.sent.append(value & 0xFF)
            self._idle_polls = 0
        elif offset == 0x20:
            self._is_overrun &= not value >> 3 & 1
        elif offset == 0x18:
            self._received = None if value >> 3 & 1 else self._received
        elif offset in (0x1C, 0x24):
            raise RuleBrokenError("TC-D314", f"read-only register {offset:#04x} is written")
        elif offset == 0x00:
            if is_on and (self._r[0x00] ^ value) & (_OVER8 | 1 << 12 | 1 << 28):
                raise RuleBrokenError("TC-D313", "the frame format changes while the UART is on")
            self._r[0x00] = value
            if value & _UE:
                self.check_enabled()
        elif offset in self._r:
            if is_on and offset in (0x04, 0x08, 0x0C):
                raise RuleBrokenError("TC-D313", f"register {offset:#04x} changes while the UART is on")
            self._r[offset] = value
        else:
            raise RuleBrokenError("TC-D320", f"there is no register at offset {offset:#04x} of {self._uart.peripheral}")

    def check_enabled(self) -> None:
        """Rules TC-D311 and TC-D312, when the UART is switched on and after every change of a clock."""
        if not self._r[0x00] & _UE:
            return
        self._clocks.need_settled()
        for name, port, pin in (
            (self._pins.tx, self._pins.tx_port, self._pins.tx_pin),
            (self._pins.rx, self._pins.rx_port, self._pins.rx_pin),
        ):
            if self._gpio.alternate(port, pin) != self._pins.alternate:
                raise RuleBrokenError("TC-D311", f"{name} is not in alternate function {self._pins.alternate}")
        divider = self._divider()
        if self._r[0x0C] < 16 or (self._r[0x00] & _OVER8 and self._r[0x0C] & 8):
            raise RuleBrokenError("TC-D312", f"BRR = {self._r[0x0C]:#x} is not a valid divider")
        actual = self._clock_hz() / divider
        nearest = min(_STANDARD_BAUDS, key=lambda baud: abs(baud - actual))
        if abs(actual - nearest) > 0.02 * nearest:
            raise RuleBrokenError("TC-D312", f"{actual:.0f} baud; the nearest standard rate is {nearest}")
        self._byte_cycles = int(10 * divider * self._clocks.hclk_hz / self._clock_hz())
