"""The rules of the strict STM32F7 peripheral model. Facts and their sources: ST RM0385 and Arm's Cortex-M7 manuals."""

from __future__ import annotations

RULES: dict[str, str] = {
    "TC-D301": "a peripheral is used only after its clock is enabled in RCC and the enable bit was read back",
    "TC-D302": "PLLCFGR is written only while the PLL is stopped, with M 2..63, N 50..432, Q 2..15, bit 29 kept",
    "TC-D303": "the PLL's input is 1..2 MHz, its VCO 100..432 MHz, its output at most 216 MHz",
    "TC-D304": "an oscillator or PLL is ready before it is used, and is not switched off while it is in use",
    "TC-D305": "HSEBYP changes only while HSE is off and fits the board's oscillator",
    "TC-D306": "PWR is used only after PWREN; the voltage scale changes only while the core runs from HSI or HSE",
    "TC-D307": "above 180 MHz over-drive is switched on at voltage scale 1, above 144 MHz scale 1 or 2 is set",
    "TC-D308": "flash wait states suffice for the core clock and are read back before it rises",
    "TC-D309": "PCLK1 is at most 54 MHz and PCLK2 at most 108 MHz (45 and 90 without over-drive), at every instant",
    "TC-D310": "every ready flag is read as 1 before the next step that depends on it",
    "TC-D311": "the UART's pins are in alternate function 7 before the UART is enabled",
    "TC-D312": "the baud rate is within 2 % of a standard rate at the current clock, with a divider of at least 16",
    "TC-D313": "BRR, CR2 and CR3 change only while the UART is off; data is written only while it is on and TXE is set",
    "TC-D314": "read-only and write-only UART registers are used as such, overruns are cleared through ICR",
    "TC-D315": "PA13 and PA14 stay the debug port's pins",
    "TC-D316": "the ART accelerator is reset only while it is off",
    "TC-D317": "a cache is invalidated completely before it is switched on",
    "TC-D318": "the cycle counter is unlocked and trace enabled before it is started or set",
    "TC-D319": "the FPU is switched on before the first float instruction; it has no double arithmetic",
    "TC-D320": "only registers and memory that exist are used, and code runs from flash",
}


class RuleBrokenError(Exception):
    """The firmware broke rule `code` at instruction address `pc`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{RULES[code]}: {detail}")
        self.code = code
        self.detail = detail
