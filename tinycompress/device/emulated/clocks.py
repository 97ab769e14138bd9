"""RCC, PWR and FLASH of an STM32F74x: the clock tree, checked at every write (rules TC-D301 to TC-D310, TC-D316)."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.boards import ClockTree
from tinycompress.device.emulated.rules import RuleBrokenError

HSI_HZ = 16_000_000
RCC, PWR, FLASH = 0x40023800, 0x40007000, 0x40023C00
# Offsets that exist in RCC beyond those modelled here; they keep what is written to them.
_RCC_PLAIN = {0x0C, *range(0x10, 0x30, 4), *range(0x30, 0x90, 4)} - {0x1C, 0x2C, 0x3C, 0x48, 0x4C, 0x58, 0x5C}
_RCC_PLAIN -= {0x68, 0x6C, 0x78, 0x7C}
_READY_DELAY = 40  # accesses of any register until a ready flag rises or falls
# HCLK up to which each number of wait states suffices at 2.7 to 3.6 V
_WAIT_STATES_HZ = (30e6, 60e6, 90e6, 120e6, 150e6, 180e6, 210e6, 216e6)
_HPRE_SHIFT = (1, 2, 3, 4, 6, 7, 8, 9)


class Ready:
    """A ready flag that follows its enable bit some accesses later, and remembers whether software saw it."""

    def __init__(self, is_on: bool = False) -> None:
        self.is_on = is_on
        self.is_seen = is_on
        self._wanted = is_on
        self._left = 0

    def want(self, on: bool) -> None:
        if on != self._wanted:
            self._wanted, self._left, self.is_seen = on, _READY_DELAY, False

    def tick(self) -> None:
        if self.is_on != self._wanted:
            self._left -= 1
            if self._left <= 0:
                self.is_on = self._wanted

    def read(self) -> int:
        self.is_seen = self.is_on
        return int(self.is_on)

    def need(self, code: str, detail: str) -> None:
        """Broken rule `code` while the flag is down, TC-D310 while it is up but was never read."""
        if not self.is_on:
            raise RuleBrokenError(code, detail)
        if not self.is_seen:
            raise RuleBrokenError("TC-D310", f"{detail}: the flag was not read")


@dataclass
class _Registers:
    cr: int = 0x83
    pllcfgr: int = 0x24003010
    cfgr: int = 0
    ahb1enr: int = 0x00100000
    apb1enr: int = 0
    apb2enr: int = 0
    dckcfgr2: int = 0
    pwr_cr1: int = 0xC000
    acr: int = 0


class Clocks:
    """`read` and `write` take absolute addresses. `on_change` is called after every change of a clock."""

    def __init__(self, tree: ClockTree) -> None:
        self._tree = tree
        self._r = _Registers()
        self._plain: dict[int, int] = {0x74: 0x0E000000}
        self._hsi, self._hse, self._pll = Ready(True), Ready(), Ready()
        self._od, self._odsw, self._vos = Ready(), Ready(), Ready()
        self._sws = 0
        self._sw_left = 0
        self._ticks_left = 0  # accesses for which a flag may still move
        self._is_sws_seen = True
        self._is_latency_seen = True
        self._enr_seen = {0x30: 0x00100000, 0x40: 0, 0x44: 0}

    def enter_openocd_state(self) -> None:
        """The state OpenOCD's `reset init` for the Nucleo leaves: 160 MHz by the PLL from HSI, no over-drive."""
        self._r.cr |= 1 << 24
        self._r.pllcfgr = 0x20000000 | 8 | 160 << 6 | 7 << 24
        self._r.acr = 0x307
        self._r.apb1enr = 1 << 28
        self._enr_seen[0x40] = 1 << 28
        self._r.cfgr = 2 | 2 << 2 | 5 << 10 | 4 << 13
        self._pll = Ready(True)
        self._vos = Ready(True)
        self._sws = 2

    # ---- what other blocks ask

    def tick(self) -> None:
        """One register access anywhere has happened."""
        if self._ticks_left == 0:
            return
        self._ticks_left -= 1
        for flag in (self._hsi, self._hse, self._pll, self._od, self._odsw, self._vos):
            flag.tick()
        if self._sws != self._r.cfgr & 3:
            self._sw_left -= 1
            if self._sw_left <= 0:
                self._sws = self._r.cfgr & 3

    def need_clock(self, enr: int, bit: int, what: str) -> None:
        """Rule TC-D301 for the block behind bit `bit` of the enable register at offset `enr`."""
        value = {0x30: self._r.ahb1enr, 0x40: self._r.apb1enr, 0x44: self._r.apb2enr}[enr]
        if not value >> bit & 1:
            raise RuleBrokenError("TC-D301", f"the clock of {what} is off")
        if not self._enr_seen[enr] >> bit & 1:
            raise RuleBrokenError("TC-D301", f"the enable bit of {what} was not read back")

    @property
    def hclk_hz(self) -> float:
        hpre = self._r.cfgr >> 4 & 15
        return self._sysclk_hz() / (1 << _HPRE_SHIFT[hpre - 8] if hpre >= 8 else 1)

    def pclk_hz(self, bus: int) -> float:
        ppre = self._r.cfgr >> (10 if bus == 1 else 13) & 7
        return self.hclk_hz / (1 << (ppre - 3) if ppre >= 4 else 1)

    def uart_clock_hz(self, bus: int, select_shift: int) -> float:
        source = self._r.dckcfgr2 >> select_shift & 3
        return (self.pclk_hz(bus), self._sysclk_hz(), float(HSI_HZ), 32768.0)[source]

    def _pll_hz(self) -> tuple[float, float, float]:
        p = self._r.pllcfgr
        source = self._tree.hse_hz if p >> 22 & 1 else HSI_HZ
        vco_in = source / max(p & 63, 1)
        vco = vco_in * (p >> 6 & 511)
        return vco_in, vco, vco / (2 * ((p >> 16 & 3) + 1))

    def _sysclk_hz(self) -> float:
        return (float(HSI_HZ), float(self._tree.hse_hz), self._pll_hz()[2], 0.0)[self._r.cfgr & 3]

    # ---- registers

    def read(self, address: int) -> int:
        if address in (PWR, PWR + 4):
            self._need_power()
            return self._r.pwr_cr1 if address == PWR else self._read_csr1()
        if address == FLASH:
            self._is_latency_seen = True
            return self._r.acr
        offset = address - RCC
        if offset == 0x00:
            return self._r.cr | self._hsi.read() << 1 | self._hse.read() << 17 | self._pll.read() << 25
        if offset == 0x08:
            self._is_sws_seen = self._sws == self._r.cfgr & 3
            return self._r.cfgr & ~0xC | self._sws << 2
        if offset in self._enr_seen:
            value = {0x30: self._r.ahb1enr, 0x40: self._r.apb1enr, 0x44: self._r.apb2enr}[offset]
            self._enr_seen[offset] = value
            return value
        if offset in (0x04, 0x90):
            return self._r.pllcfgr if offset == 0x04 else self._r.dckcfgr2
        if offset in _RCC_PLAIN and 0 <= offset < 0x94:
            return self._plain.get(offset, 0)
        raise RuleBrokenError("TC-D320", f"there is no register at {address:#010x}")

    def write(self, address: int, value: int) -> None:
        if address == PWR:
            self._write_pwr(value)
        elif address == FLASH:
            self._write_acr(value)
        elif address == RCC:
            self._write_cr(value)
        elif address == RCC + 0x04:
            self._write_pllcfgr(value)
        elif address == RCC + 0x08:
            self._write_cfgr(value)
        elif address - RCC in self._enr_seen:
            self._write_enr(address - RCC, value)
        elif address == RCC + 0x90:
            self._r.dckcfgr2 = value
        elif address - RCC in _RCC_PLAIN:
            self._plain[address - RCC] = value
        else:
            raise RuleBrokenError("TC-D320", f"there is no writable register at {address:#010x}")
        self._ticks_left = _READY_DELAY
        self._check_limits()

    def _write_enr(self, offset: int, value: int) -> None:
        name = {0x30: "ahb1enr", 0x40: "apb1enr", 0x44: "apb2enr"}[offset]
        setattr(self._r, name, value)
        self._enr_seen[offset] &= value

    def _write_cr(self, value: int) -> None:
        changed = self._r.cr ^ value
        in_use = {0: 0, 1: 16, 2: 24}.get(self._r.cfgr & 3)
        is_pll_on = self._r.cr >> 24 & 1
        source_bit = 16 if self._r.pllcfgr >> 22 & 1 else 0
        for bit, name in ((0, "HSI"), (16, "HSE"), (24, "PLL")):
            is_switched_off = changed >> bit & 1 and not value >> bit & 1
            if is_switched_off and (bit in (in_use, {0: 0, 1: 16, 2: 24}.get(self._sws))):
                raise RuleBrokenError("TC-D304", f"{name} is switched off while it is the system clock")
            if is_switched_off and bit == source_bit and is_pll_on and value >> 24 & 1:
                raise RuleBrokenError("TC-D304", f"{name} is switched off while it feeds the PLL")
        if changed >> 18 & 1 and (self._r.cr >> 16 & 1 or self._hse.is_on):
            raise RuleBrokenError("TC-D305", "HSEBYP changes while HSE is on")
        if changed >> 24 & 1 and value >> 24 & 1:
            (self._hse if source_bit else self._hsi).need(
                "TC-D304", "the PLL is switched on before its source is ready"
            )
        self._r.cr = value & ~(1 << 1 | 1 << 17 | 1 << 25)
        self._hsi.want(bool(value & 1))
        is_bypass_right = bool(value >> 18 & 1) == self._tree.hse_bypass
        if value >> 16 & 1 and not is_bypass_right:
            raise RuleBrokenError("TC-D305", "HSEBYP does not fit the board's oscillator: HSE would never be ready")
        self._hse.want(bool(value >> 16 & 1))
        self._pll.want(bool(value >> 24 & 1))
        self._vos.want(bool(value >> 24 & 1))

    def _write_pllcfgr(self, value: int) -> None:
        if self._r.cr >> 24 & 1 or self._pll.is_on:
            raise RuleBrokenError("TC-D302", "PLLCFGR is written while the PLL is on")
        m, n, q = value & 63, value >> 6 & 511, value >> 24 & 15
        if not (m >= 2 and 50 <= n <= 432 and q >= 2 and value >> 29 & 1):
            raise RuleBrokenError("TC-D302", f"PLLCFGR = {value:#010x}: M {m}, N {n}, Q {q}, bit 29 {value >> 29 & 1}")
        self._r.pllcfgr = value
        vco_in, vco, out = self._pll_hz()
        if not (1e6 <= vco_in <= 2e6 and 100e6 <= vco <= 432e6 and out <= 216e6):
            raise RuleBrokenError("TC-D303", f"VCO in {vco_in / 1e6:g}, VCO {vco / 1e6:g}, PLL out {out / 1e6:g} MHz")

    def _write_cfgr(self, value: int) -> None:
        switch = value & 3
        if switch != self._r.cfgr & 3:
            if switch == 3:
                raise RuleBrokenError("TC-D304", "SW = 3 selects nothing")
            flag, name = ((self._hsi, "HSI"), (self._hse, "HSE"), (self._pll, "PLL"))[switch]
            flag.need("TC-D304", f"SW selects {name} before it is ready")
            if switch == 2 and not self._is_latency_seen:
                raise RuleBrokenError("TC-D308", "the wait states were not read back before the clock rises")
            if switch == 2 and self._od_requested():
                self._odsw.need("TC-D307", "SW selects the PLL before over-drive is switched")
            self._sw_left = _READY_DELAY
            self._is_sws_seen = False
        self._r.cfgr = value & ~0xC

    def _od_requested(self) -> bool:
        return self._pll_hz()[2] > 180e6

    def _need_power(self) -> None:
        if not self._r.apb1enr >> 28 & 1:
            raise RuleBrokenError("TC-D306", "PWR is used while PWREN is 0")
        self.need_clock(0x40, 28, "PWR")

    def _read_csr1(self) -> int:
        return self._vos.read() << 14 | self._od.read() << 16 | self._odsw.read() << 17

    def _write_pwr(self, value: int) -> None:
        self._need_power()
        if (self._r.pwr_cr1 ^ value) & 3 << 14 and 2 in (self._sws, self._r.cfgr & 3):
            raise RuleBrokenError("TC-D306", "the voltage scale changes while the PLL is the system clock")
        if (self._r.pwr_cr1 ^ value) & 3 << 16 and 2 in (self._sws, self._r.cfgr & 3):
            raise RuleBrokenError("TC-D307", "over-drive changes while the PLL is the system clock")
        if value >> 17 & 1 and not self._r.pwr_cr1 >> 17 & 1:
            self._od.need("TC-D307", "ODSWEN is set before over-drive is ready")
        self._r.pwr_cr1 = value
        self._od.want(bool(value >> 16 & 1))
        self._odsw.want(bool(value >> 17 & 1))

    def _write_acr(self, value: int) -> None:
        if value >> 11 & 1 and self._r.acr >> 9 & 1:
            raise RuleBrokenError("TC-D316", "ARTRST is set while the accelerator is on")
        if (value ^ self._r.acr) & 15:
            self._is_latency_seen = False
        self._r.acr = value

    def _check_limits(self) -> None:
        hclk = self.hclk_hz
        vos = self._r.pwr_cr1 >> 14 & 3
        is_od = self._odsw.is_on
        if hclk > 180e6 and not (is_od and vos == 3):
            raise RuleBrokenError(
                "TC-D307", f"HCLK is {hclk / 1e6:g} MHz, over-drive {is_od}, voltage scale bits {vos}"
            )
        if hclk > 144e6 and vos < 2:
            raise RuleBrokenError("TC-D307", f"HCLK is {hclk / 1e6:g} MHz, voltage scale bits {vos}")
        needed = next((i for i, limit in enumerate(_WAIT_STATES_HZ) if hclk <= limit), 8)
        if (self._r.acr & 15) < needed:
            raise RuleBrokenError("TC-D308", f"{self._r.acr & 15} wait states at {hclk / 1e6:g} MHz; {needed} needed")
        for bus, limit in ((1, 54e6 if is_od else 45e6), (2, 108e6 if is_od else 90e6)):
            if self.pclk_hz(bus) > limit:
                raise RuleBrokenError("TC-D309", f"PCLK{bus} is {self.pclk_hz(bus) / 1e6:g} MHz, limit {limit / 1e6:g}")

    def need_settled(self) -> None:
        """Rule TC-D310 before a UART is enabled: the clock switch was watched to its end."""
        if not self._is_sws_seen:
            raise RuleBrokenError("TC-D310", "SWS was not read after SW was changed")
