"""An STM32F74x in Unicorn: the firmware's own ELF, a strict peripheral model, exact instruction counts.

What it does not show: wait states, caches, bus contention, interrupts. A memory or instruction fault enters the
firmware's HardFault handler as on the chip.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinycompress.boards import Board
from tinycompress.build import elf
from tinycompress.device.emulated.clocks import FLASH, PWR, RCC, Clocks
from tinycompress.device.emulated.core import Core
from tinycompress.device.emulated.rules import RuleBrokenError
from tinycompress.device.emulated.uart import GPIO, GPIO_PORTS, Gpio, Usart

unicorn: Any = importlib.import_module("unicorn")  # has no type hints for what is used here
arm_const: Any = importlib.import_module("unicorn.arm_const")

_PERIPHERALS, _PERIPHERALS_BYTES = 0x40000000, 0x80000
_SYSTEM, _SYSTEM_BYTES = 0xE0000000, 0x100000
_HOOK_BLOCK = 8
_FLASH_BYTES_MAX = 1 << 20
_FRAME_BYTES = 32
_CFSR_STACKING, _CFSR_PRECISE, _CFSR_INSTRUCTION, _CFSR_UNDEFINED = 1 << 12, 1 << 9 | 1 << 15, 1 << 8, 1 << 16
_TROUBLE = {
    1: ("TC-D320", "code runs outside the flash image"),
    2: ("TC-D319", "a float instruction runs while CPACR keeps the FPU off"),
    3: ("TC-D319", "a double-precision instruction runs"),
}


class LockupError(Exception):
    """A fault inside the fault handler: the core has stopped for good."""


class Machine:
    """One board running one firmware. `hook` is the built block_count library."""

    def __init__(self, board: Board, firmware: Path, hook: Path, entry: str = "reset") -> None:
        if board.clock is None:
            raise ValueError(f"board {board.id!r} has no [clock]")
        flash = next(m for m in board.memory if m.kind == "flash" and m.alias_of is None)
        if flash.bytes > _FLASH_BYTES_MAX:
            raise ValueError(f"flash of {flash.bytes} B; the block counter has room for {_FLASH_BYTES_MAX} B")
        self._aliases = [m for m in board.memory if m.alias_of == flash.name]
        self._flash_start = flash.start
        self.clocks = Clocks(board.clock)
        self.gpio = Gpio(self.clocks)
        self.uart = Usart(board.uart, self.clocks, self.gpio, self.instructions)
        self._uart_base = board.uart.base
        self.core = Core(self.instructions, self._set_fpu)
        if entry == "openocd":
            self.clocks.enter_openocd_state()
        self._broken: RuleBrokenError | None = None
        self._is_in_fault = False
        self._bad_address: int | None = None

        self._uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M7)
        self._flash = bytearray(b"\xff" * flash.bytes)
        for address, data in elf.segments(firmware):
            if not flash.start <= address <= flash.start + flash.bytes - len(data):
                raise ValueError(f"{firmware.name} has bytes at {address:#010x}, outside the flash of {board.id!r}")
            self._flash[address - flash.start : address - flash.start + len(data)] = data
        for memory in (flash, *self._aliases):
            self._uc.mem_map(memory.start, memory.bytes, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
            self._uc.mem_write(memory.start, bytes(self._flash))
        for memory in board.ram:
            self._uc.mem_map(memory.start, memory.bytes, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mmio_map(_PERIPHERALS, _PERIPHERALS_BYTES, self._read_peripheral, None, self._write_peripheral, None)
        self._uc.mmio_map(_SYSTEM, _SYSTEM_BYTES, self._read_system, None, self._write_system, None)
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)
        self._load_hook(hook, flash.bytes)
        stack_pointer, start = struct.unpack("<II", self._flash[:8])
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, stack_pointer)
        self._pc = start & ~1

    def _load_hook(self, path: Path, flash_bytes: int) -> None:
        hook = ctypes.CDLL(str(path))
        library = ctypes.CDLL(str(next((Path(unicorn.__file__).parent / "lib").glob("libunicorn.so*"))))
        self._image = (ctypes.c_uint8 * flash_bytes).from_buffer(self._flash)
        ctypes.c_void_p.in_dll(hook, "tc_image").value = ctypes.addressof(self._image)
        ctypes.c_uint32.in_dll(hook, "tc_image_bytes").value = flash_bytes
        ctypes.c_uint32.in_dll(hook, "tc_image_base").value = self._flash_start
        alias = self._aliases[0].start if self._aliases else self._flash_start
        ctypes.c_uint32.in_dll(hook, "tc_image_alias").value = alias
        ctypes.c_void_p.in_dll(hook, "tc_stop").value = ctypes.cast(library.uc_emu_stop, ctypes.c_void_p).value
        self._counter = ctypes.c_uint64.in_dll(hook, "tc_instructions")
        self._fpu = ctypes.c_uint32.in_dll(hook, "tc_is_fpu_on")
        self._trouble = ctypes.c_uint32.in_dll(hook, "tc_trouble")
        self._trouble_address = ctypes.c_uint32.in_dll(hook, "tc_trouble_address")
        add = library.uc_hook_add
        add.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
        ]
        handle = ctypes.c_size_t()
        function = ctypes.cast(hook.tc_block, ctypes.c_void_p)
        status = add(self._uc._uch, ctypes.byref(handle), _HOOK_BLOCK, function, None, 1, 0)
        if status != 0:
            raise RuntimeError(f"Unicorn refused the block hook: error {status}")
        self._keep = (hook, library, handle)

    def instructions(self) -> int:
        """Thumb instructions executed since reset (up to the end of the block that runs now)."""
        return int(self._counter.value)

    def pass_time(self, seconds: float) -> None:
        """Let the cycle counter run on while no instruction is executed."""
        self.core.pass_cycles(int(seconds * self.clocks.hclk_hz))

    def _set_fpu(self, is_on: bool) -> None:
        self._fpu.value = int(is_on)

    # ---- registers

    def _guarded(self, access: Callable[..., int | None], *arguments: int) -> int:
        if self._broken is not None:
            return 0
        try:
            self.clocks.tick()
            return access(*arguments) or 0
        except RuleBrokenError as broken:
            self._broken = broken
            self._uc.emu_stop()
            return 0

    def _read_peripheral(self, _uc: Any, offset: int, size: int, _data: Any) -> int:
        value = self._guarded(self._dispatch_read, _PERIPHERALS + offset, size)
        if self.uart.is_idle:
            self._uc.emu_stop()
        return value

    def _write_peripheral(self, _uc: Any, offset: int, size: int, value: int, _data: Any) -> None:
        self._guarded(self._dispatch_write, _PERIPHERALS + offset, size, value & 0xFFFFFFFF)

    def _dispatch_read(self, address: int, size: int) -> int:
        self._need_word(address, size)
        if self._uart_base <= address < self._uart_base + 0x400:
            return self.uart.read(address - self._uart_base)
        if GPIO <= address < GPIO + 0x400 * GPIO_PORTS:
            return self.gpio.read(address)
        if RCC <= address < RCC + 0x400 or address in (PWR, PWR + 4, FLASH):
            return self.clocks.read(address)
        raise RuleBrokenError("TC-D320", f"read of {address:#010x}")

    def _dispatch_write(self, address: int, size: int, value: int) -> None:
        self._need_word(address, size)
        if self._uart_base <= address < self._uart_base + 0x400:
            self.uart.write(address - self._uart_base, value)
        elif GPIO <= address < GPIO + 0x400 * GPIO_PORTS:
            self.gpio.write(address, value)
        elif RCC <= address < RCC + 0x400 or address in (PWR, PWR + 4, FLASH):
            self.clocks.write(address, value)
            self.uart.check_enabled()
        else:
            raise RuleBrokenError("TC-D320", f"write of {value:#x} to {address:#010x}")

    def _need_word(self, address: int, size: int) -> None:
        if size != 4 or address & 3:
            raise RuleBrokenError("TC-D320", f"{size}-byte access to {address:#010x}; registers are words")

    def _read_system(self, _uc: Any, offset: int, _size: int, _data: Any) -> int:
        return self._guarded(self.core.read, _SYSTEM + offset)

    def _write_system(self, _uc: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        self._guarded(self.core.write, _SYSTEM + offset, value & 0xFFFFFFFF)

    # ---- running

    def _on_bad_access(self, _uc: Any, _access: int, address: int, _size: int, _value: int, _data: Any) -> bool:
        self._bad_address = address
        return False

    def run(self) -> None:
        """Run until the firmware waits for the host.

        Raises RuleBrokenError when it broke a rule, LockupError when its fault handler faults.
        """
        while True:
            try:
                self._uc.emu_start(self._pc | 1, 0xFFFFFFFE)
            except unicorn.UcError as error:
                self._pc = self._uc.reg_read(arm_const.UC_ARM_REG_PC) & ~1
                self._enter_fault(error)
                continue
            self._pc = self._uc.reg_read(arm_const.UC_ARM_REG_PC) & ~1
            if self._broken is not None:
                raise self._broken
            if self._trouble.value:
                code, text = _TROUBLE[self._trouble.value]
                raise RuleBrokenError(code, f"{text} at {self._trouble_address.value:#010x}")
            if self.uart.is_idle:
                return

    def _enter_fault(self, error: Any) -> None:
        """Push an exception frame and go to HardFault, as the core does for every fault while none is enabled."""
        if self._is_in_fault:
            raise LockupError(f"{error} in the fault handler at {self._pc:#010x}")
        self._is_in_fault = True
        read = self._uc.reg_read
        names = ("R0", "R1", "R2", "R3", "R12", "LR")
        frame = [read(getattr(arm_const, f"UC_ARM_REG_{name}")) for name in names]
        frame += [self._pc, read(arm_const.UC_ARM_REG_XPSR)]
        stack_pointer = (read(arm_const.UC_ARM_REG_SP) & ~7) - _FRAME_BYTES
        cfsr = {
            unicorn.UC_ERR_INSN_INVALID: _CFSR_UNDEFINED,
            unicorn.UC_ERR_EXCEPTION: _CFSR_UNDEFINED,
            unicorn.UC_ERR_FETCH_UNMAPPED: _CFSR_INSTRUCTION,
            unicorn.UC_ERR_FETCH_PROT: _CFSR_INSTRUCTION,
        }.get(error.errno, _CFSR_PRECISE)
        try:
            self._uc.mem_write(stack_pointer, struct.pack("<8I", *(v & 0xFFFFFFFF for v in frame)))
        except unicorn.UcError:
            cfsr |= _CFSR_STACKING
        self.core.set_fault(cfsr, self._bad_address if cfsr & _CFSR_PRECISE else None)
        table = self.core.vector_table() or self._flash_start
        handler = struct.unpack("<I", self._uc.mem_read(table + 12, 4))[0]
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, stack_pointer & 0xFFFFFFFF)
        self._uc.reg_write(arm_const.UC_ARM_REG_LR, 0xFFFFFFF9)
        self._uc.reg_write(arm_const.UC_ARM_REG_IPSR, 3)
        self._pc = handler & ~1
