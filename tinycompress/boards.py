"""Boards: ``boards/<id>.toml`` read into frozen dataclasses, checked key by key.

Adding a board of a known chip family needs one TOML file and nothing else.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tinycompress import assets
from tinycompress.errors import ConfigError

T = TypeVar("T")

_LIKE = "compare it with boards/stm32f746.toml; CONTRIBUTING says how to add a board"
DSP_CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


@dataclass(frozen=True)
class Memory:
    """One contiguous memory. `alias_of` names the memory whose cells a second address range shows."""

    name: str
    kind: str
    start: int
    bytes: int
    alias_of: str | None = None


@dataclass(frozen=True)
class ClockTree:
    """STM32 oscillator and PLL factors: core clock = hse_hz / pll_m * pll_n / pll_p."""

    hse_hz: int
    hse_bypass: bool
    pll_m: int
    pll_n: int
    pll_p: int
    pll_q: int


@dataclass(frozen=True)
class UartPins:
    """Pins such as ``PA9``, their alternate function, and the APB bus and bit that clock the UART."""

    tx: str
    rx: str
    alternate: int
    bus: int
    enable_bit: int

    @property
    def tx_port(self) -> int:
        return ord(self.tx[1]) - ord("A")

    @property
    def tx_pin(self) -> int:
        return int(self.tx[2:])

    @property
    def rx_port(self) -> int:
        return ord(self.rx[1]) - ord("A")

    @property
    def rx_pin(self) -> int:
        return int(self.rx[2:])


@dataclass(frozen=True)
class Uart:
    """The UART the host sees as a serial port. `pins` is None where the port needs none (QEMU)."""

    peripheral: str
    base: int
    baud_max: int
    pins: UartPins | None = None


@dataclass(frozen=True)
class FlashRunner:
    """How the board is flashed: OpenOCD board files (first one found) and the USB ids of its ST-LINK."""

    openocd: tuple[str, ...]
    usb_ids: tuple[str, ...]


@dataclass(frozen=True)
class Emulator:
    """`engine` runs the board's own firmware: ``unicorn`` or ``qemu`` (then with `machine`)."""

    engine: str
    machine: str | None = None


@dataclass(frozen=True)
class Calibration:
    """Turns counted instructions into estimated time: ± `error` (relative) around `cycles_per_instruction`."""

    cycles_per_instruction: float
    error: float
    source: str


@dataclass(frozen=True)
class Board:
    """A board as its TOML file describes it. Sizes in bytes, clocks in Hz."""

    id: str
    name: str
    core: str
    fpu: str
    clock_hz: int
    port: str
    stack_bytes: int
    code: str
    memory: tuple[Memory, ...]
    uart: Uart
    emulator: Emulator
    clock: ClockTree | None = None
    flash: FlashRunner | None = None
    calibration: Calibration | None = None
    hidden: bool = False

    @property
    def has_dsp(self) -> bool:
        """Whether the core has the Armv7E-M / Armv8-M DSP extension (SMLAD and the like)."""
        return self.core in DSP_CORES

    @property
    def ram(self) -> tuple[Memory, ...]:
        """RAM, in the order in which buffers are given it."""
        return tuple(m for m in self.memory if m.kind == "ram")

    @property
    def ram_bytes(self) -> int:
        return sum(m.bytes for m in self.ram)

    @property
    def flash_bytes(self) -> int:
        return sum(m.bytes for m in self.memory if m.kind == "flash" and m.alias_of is None)

    def memory_named(self, name: str) -> Memory:
        """The memory called `name`; KeyError when there is none."""
        return {m.name: m for m in self.memory}[name]


def boards(*, hidden: bool = False) -> tuple[str, ...]:
    """Ids of the boards that ship, sorted; with `hidden`, also those that exist only in an emulator."""
    ids = sorted(path.stem for path in assets.directory("boards").glob("*.toml"))
    return tuple(i for i in ids if hidden or not board(i).hidden)


def board(name: str) -> Board:
    """The board called `name`, or the one described by the TOML file at path `name`.

    Raises ConfigError: TC-C201 unknown board, TC-C202 unreadable file, TC-C203 unknown or missing key, TC-C204 wrong
    type of a value, TC-C205 values that contradict each other.
    """
    path = Path(name) if name.endswith(".toml") else assets.directory("boards") / f"{name}.toml"
    if not path.is_file():
        known = boards()
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        fix = f"did you mean {near[0]!r}?" if near else f"known boards: {', '.join(known)}"
        raise ConfigError("TC-C201", f"there is no board {name!r}", fix=fix)
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("TC-C202", f"the board file cannot be read: {error}", where=str(path), fix=_LIKE) from error
    return parse({**table, "id": path.stem}, path)


def parse(table: dict[str, Any], path: Path) -> Board:
    """The board that `table` (of a TOML file, or `dataclasses.asdict` of a Board) describes; `path` is for errors.

    Raises ConfigError TC-C203 to TC-C205.
    """
    table = {key: value for key, value in table.items() if value is not None}
    uart = table.get("uart")
    if isinstance(uart, dict) and "tx" in uart:
        pin_keys = {f.name for f in fields(UartPins)}
        table["uart"] = {k: v for k, v in uart.items() if k not in pin_keys}
        table["uart"]["pins"] = {k: v for k, v in uart.items() if k in pin_keys}
    result = _build(Board, table, path.name, path)
    _check(result, path)
    return result


def _build(cls: type[T], table: dict[str, Any], place: str, path: Path) -> T:
    """`cls` from a TOML table, recursively; unknown and missing keys and wrong types are errors."""
    hints = get_type_hints(cls)
    names = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"keys here: {', '.join(sorted(names))}"
            raise ConfigError("TC-C203", f"unknown key {key!r} in {place}", where=str(path), fix=fix)
    for key, spec in names.items():
        if key not in table and spec.default is MISSING:
            raise ConfigError("TC-C203", f"key {key!r} is missing in {place}", where=str(path), fix=_LIKE)
    values = {key: _value(hints[key], value, f"{place}: {key}", path) for key, value in table.items()}
    return cls(**values)


def _value(hint: Any, value: Any, place: str, path: Path) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(a for a in get_args(hint) if a is not type(None))
    if get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(get_args(hint)[0], item, place, path) for item in value)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__") and isinstance(value, dict):
        return _build(hint, value, place, path)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise ConfigError("TC-C204", f"{place} must be {expected}, not {value!r}", where=str(path), fix=_LIKE)


def _check(b: Board, path: Path) -> None:
    def reject(what: str) -> ConfigError:
        return ConfigError("TC-C205", what, where=str(path), fix=_LIKE)

    names = [m.name for m in b.memory]
    if len(set(names)) != len(names):
        raise reject("two memories have the same name")
    for m in b.memory:
        if m.kind not in ("ram", "flash"):
            raise reject(f"memory {m.name!r} has kind {m.kind!r}; it must be 'ram' or 'flash'")
        if m.bytes <= 0 or m.start < 0 or m.start + m.bytes > 1 << 32:
            raise reject(f"memory {m.name!r} leaves the 32-bit address space")
        if m.alias_of is not None and m.alias_of not in names:
            raise reject(f"memory {m.name!r} is an alias of {m.alias_of!r}, which does not exist")
    if b.code not in names or b.memory_named(b.code).kind != "flash":
        raise reject(f"code = {b.code!r} is not a flash memory")
    if not b.ram or b.stack_bytes % 8 or not 1024 <= b.stack_bytes <= b.ram[0].bytes:
        raise reject(f"stack_bytes = {b.stack_bytes} must be a multiple of 8, at least 1024, and fit the first RAM")
    if b.uart.pins:
        for pin in (b.uart.pins.tx, b.uart.pins.rx):
            if not re.fullmatch(r"P[A-K](1[0-5]|[0-9])", pin):
                raise reject(f"{pin!r} is not a pin; write PA9")
    c = b.clock
    if c and (c.pll_m < 1 or c.pll_p < 1 or c.hse_hz // c.pll_m * c.pll_n // c.pll_p != b.clock_hz):
        raise reject(f"clock: {c.hse_hz} / {c.pll_m} * {c.pll_n} / {c.pll_p} is not clock_hz = {b.clock_hz}")
    if b.calibration and not (b.calibration.cycles_per_instruction > 0 and b.calibration.error >= 0):
        raise reject("calibration: cycles_per_instruction must be positive and error not negative")
