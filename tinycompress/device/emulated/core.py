"""The Cortex-M7's own registers: caches, FPU access, fault status, cycle counter (rules TC-D317, TC-D318)."""

from __future__ import annotations

from collections.abc import Callable

from tinycompress.device.emulated.rules import RuleBrokenError

CPUID = 0x410FC271
_DCACHE_LINES = frozenset((s << 5 | w << 30) & 0xFFFFFFFF for s in range(32) for w in range(4))
_CCSIDR = {0: 0xF003E019, 1: 0xF007E009}
_PLAIN = {0xE000ED04, 0xE000ED08, 0xE000ED0C, 0xE000ED10, 0xE000ED18, 0xE000ED1C, 0xE000ED20, 0xE000ED24}
_FAULT_STATUS = {0xE000ED28, 0xE000ED2C, 0xE000ED30, 0xE000ED34, 0xE000ED38, 0xE000ED3C}
_SYSTICK = {0xE000E010, 0xE000E014, 0xE000E018}
_MPU = {0xE000ED94, 0xE000ED98, 0xE000ED9C, 0xE000EDA0}
_WRITABLE = _PLAIN | _SYSTICK | _MPU
_READABLE = _WRITABLE | _FAULT_STATUS | {0xE000ED88}


class Core:
    """`instructions` gives the executed count, which is what CYCCNT shows."""

    def __init__(self, instructions: Callable[[], int], on_fpu: Callable[[bool], None]) -> None:
        self._instructions, self._on_fpu = instructions, on_fpu
        self._plain: dict[int, int] = {}
        self._ccr = 0x00040200
        self._csselr = 0
        self._is_icache_clean = False
        self._dcache_left = set(_DCACHE_LINES)
        self._demcr = 0
        self._is_dwt_unlocked = False
        self._is_counting = False
        self._counter_zero = 0
        self._stopped_at = 0

    def vector_table(self) -> int | None:
        """VTOR as software set it."""
        return self._plain.get(0xE000ED08)

    def pass_cycles(self, cycles: int) -> None:
        """Cycles without instructions."""
        if self._is_counting:
            self._counter_zero -= cycles

    def set_fault(self, cfsr: int, address: int | None) -> None:
        """Fault status as the core leaves it on entry to HardFault."""
        self._plain[0xE000ED28] = cfsr
        self._plain[0xE000ED2C] = 1 << 30
        if address is not None:
            self._plain[0xE000ED38] = address

    def read(self, address: int) -> int:
        if address == 0xE0001004:
            return self._count() & 0xFFFFFFFF
        values = {
            0xE000ED00: CPUID,
            0xE000ED14: self._ccr,
            0xE000ED80: _CCSIDR.get(self._csselr, 0),
            0xE000ED84: self._csselr,
            0xE000ED90: 0x800,  # MPU: 8 regions
            0xE000EDFC: self._demcr,
            0xE0001000: 0x40000000 | int(self._is_counting),
            0xE0001FB4: 1 if self._is_dwt_unlocked else 3,
        }
        if address in values:
            return values[address]
        if address in _READABLE:
            return self._plain.get(address, 0)
        raise RuleBrokenError("TC-D320", f"there is no core register at {address:#010x}")

    def _count(self) -> int:
        return (self._instructions() if self._is_counting else self._stopped_at) - self._counter_zero

    def write(self, address: int, value: int) -> None:
        if address == 0xE000ED14:
            self._write_ccr(value)
        elif address == 0xE000ED88:
            self._plain[address] = value
            self._on_fpu(value >> 20 & 15 == 15)
        elif address == 0xE000ED84:
            self._csselr = value & 1
        elif address == 0xE000EF50:
            self._is_icache_clean = True
        elif address == 0xE000EF60:
            self._dcache_left.discard(value)
        elif address in (0xE000EF58, 0xE000EF5C, 0xE000EF68, 0xE000EF70, 0xE000EF74):
            pass
        elif address == 0xE000EDFC:
            self._demcr = value
        elif address == 0xE0001FB0:
            self._is_dwt_unlocked = value == 0xC5ACCE55
        elif address in (0xE0001000, 0xE0001004):
            self._write_dwt(address, value)
        elif address in _FAULT_STATUS:
            self._plain[address] = self._plain.get(address, 0) & ~value
        elif address in _WRITABLE:
            self._plain[address] = value
        else:
            raise RuleBrokenError("TC-D320", f"there is no writable core register at {address:#010x}")

    def _write_ccr(self, value: int) -> None:
        changed = value & ~self._ccr
        if changed >> 17 & 1 and not self._is_icache_clean:
            raise RuleBrokenError("TC-D317", "the instruction cache was not invalidated")
        if changed >> 16 & 1 and self._dcache_left:
            raise RuleBrokenError("TC-D317", f"{len(self._dcache_left)} of 128 data cache lines were not invalidated")
        self._ccr = value

    def _write_dwt(self, address: int, value: int) -> None:
        if not self._demcr >> 24 & 1:
            raise RuleBrokenError("TC-D318", "TRCENA is 0")
        if not self._is_dwt_unlocked:
            raise RuleBrokenError("TC-D318", "DWT_LAR does not hold its key")
        if address == 0xE0001004:
            self._counter_zero = (self._instructions() if self._is_counting else self._stopped_at) - value
        elif value & 1 and not self._is_counting:
            self._counter_zero += self._instructions() - self._stopped_at
            self._is_counting = True
        elif not value & 1 and self._is_counting:
            self._stopped_at = self._instructions()
            self._is_counting = False
