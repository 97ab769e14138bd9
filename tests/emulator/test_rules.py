"""Firmwares with one mistake each: the strict peripheral model rejects every one by the rule's own code."""

from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulator.stub import STUB, Builder, StubBuild, need, stub_binding
from tinycompress import assets, boards
from tinycompress.build import Firmware, build_firmware
from tinycompress.build.toolchain import target_toolchain
from tinycompress.device import emulate, open_session
from tinycompress.device.emulated.rules import RULES
from tinycompress.errors import DeviceError, TargetFault

CLOCK, UART, PORT = "ports/stm32f7/clock.c", "ports/stm32f7/uart.c", "ports/stm32f7/port.c"
FLOAT_AT_START = """
static volatile {type} operand = ({type})3;
void port_init(void)
{{
    operand = operand * ({type})1.5 + ({type})1;
"""


@dataclass(frozen=True)
class Mutant:
    """One replacement in one firmware file, and the rule it breaks."""

    code: str
    name: str
    file: str
    old: str
    new: str
    entry: str = "reset"
    board: str = "stm32f746"


MUTANTS = (
    Mutant("TC-D301", "uart_unclocked", UART, "    TC_UART_ENR |= TC_UART_ENR_BIT;\n", ""),
    Mutant("TC-D301", "gpio_unclocked", UART, "1u << TC_UART_TX_PORT | 1u << TC_UART_RX_PORT", "1u << 8"),
    Mutant("TC-D301", "enable_not_read_back", UART, "    (void)TC_UART_ENR;\n", ""),
    Mutant("TC-D302", "pllcfgr_bit_29_lost", CLOCK, "#define PLLCFGR_KEEP (1u << 29)", "#define PLLCFGR_KEEP 0u"),
    Mutant(
        "TC-D302",
        "pllcfgr_while_on",
        CLOCK,
        "    RCC_CR &= ~RCC_CR_PLLON;\n    return wait_for(&RCC_CR, RCC_CR_PLLRDY, 0u);",
        "    return true;",
        entry="openocd",
    ),
    Mutant("TC-D303", "vco_input_too_fast", CLOCK, "is_from_hse ? TC_PLL_M", "is_from_hse ? 12"),
    Mutant("TC-D303", "vco_too_fast", CLOCK, "is_from_hse ? TC_PLL_M", "is_from_hse ? 24"),
    Mutant(
        "TC-D304",
        "pll_from_unready_crystal",
        CLOCK,
        "if (wait_for(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) {",
        "if (RCC_CR != 0u) {",
    ),
    Mutant("TC-D305", "oscillator_bypassed", CLOCK, "#if TC_HSE_BYPASS", "#if !TC_HSE_BYPASS"),
    Mutant("TC-D305", "bypass_missing", CLOCK, "#if TC_HSE_BYPASS", "#if 0", board="nucleo_f746zg"),
    Mutant("TC-D306", "pwr_unclocked", CLOCK, "    RCC_APB1ENR |= RCC_APB1ENR_PWREN;\n", ""),
    Mutant("TC-D307", "no_over_drive", CLOCK, "|| !start_overdrive()", "|| (RCC_CR == 0u && !start_overdrive())"),
    Mutant(
        "TC-D307",
        "over_drive_switched_early",
        CLOCK,
        "    if (!wait_for(&PWR_CSR1, PWR_CSR1_ODRDY, PWR_CSR1_ODRDY)) {\n        return false;\n    }\n",
        "",
    ),
    Mutant("TC-D308", "too_few_wait_states", CLOCK, "#define LATENCY_FULL_SPEED 7u", "#define LATENCY_FULL_SPEED 6u"),
    Mutant(
        "TC-D308",
        "wait_states_not_read_back",
        CLOCK,
        "if (!wait_for(&FLASH_ACR, FLASH_ACR_LATENCY, LATENCY_FULL_SPEED)) {",
        "if (RCC_CR == 0u) {",
    ),
    Mutant("TC-D309", "apb1_too_fast", CLOCK, "#define PPRE_DIV4 5u", "#define PPRE_DIV4 4u"),
    Mutant("TC-D309", "apb2_too_fast", CLOCK, "#define PPRE_DIV2 4u", "#define PPRE_DIV2 0u"),
    Mutant(
        "TC-D304",
        "pll_stopped_while_in_use",
        CLOCK,
        "if (!wait_for(&RCC_CFGR, RCC_CFGR_SWS, SW_HSI << 2)) {",
        "if (RCC_CR == 0u) {",
        entry="openocd",
    ),
    Mutant(
        "TC-D310",
        "pll_ready_not_read",
        CLOCK,
        "return wait_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY);",
        "return true;",
    ),
    Mutant("TC-D311", "wrong_alternate_function", UART, "4u, TC_UART_AF);", "4u, 8u);"),
    Mutant("TC-D311", "wrong_pin", UART, "pin_to_uart(TC_UART_RX_PORT, TC_UART_RX_PIN)", "pin_to_uart(0u, 10u)"),
    Mutant(
        "TC-D312", "divider_of_the_wrong_bus", CLOCK, "& TC_UART_PPRE_MASK) >> TC_UART_PPRE_SHIFT", "& 0x1C00u) >> 10"
    ),
    Mutant("TC-D312", "divider_too_small", UART, "USART_BRR = divider_for(baud)", "USART_BRR = 8u + 0u * baud"),
    Mutant("TC-D313", "baud_changed_while_on", UART, "    USART_CR1 &= ~USART_CR1_UE;\n", ""),
    Mutant(
        "TC-D313", "transmitter_off", UART, "USART_CR1_UE | USART_CR1_TE | USART_CR1_RE", "USART_CR1_UE | USART_CR1_RE"
    ),
    Mutant("TC-D314", "status_written", UART, "    USART_CR2 = 0u;\n", "    USART_CR2 = 0u;\n    USART_ISR = 0u;\n"),
    Mutant(
        "TC-D315",
        "debug_pins_lost",
        UART,
        "set_field(&GPIO_MODER(port), 2u * pin, 2u, MODE_ALTERNATE)",
        "GPIO_MODER(port) = MODE_ALTERNATE << 2u * pin",
    ),
    Mutant(
        "TC-D316",
        "accelerator_reset_while_on",
        CLOCK,
        "    if (!wait_for(&PWR_CSR1, PWR_CSR1_VOSRDY",
        "    FLASH_ACR |= 1u << 11;\n    if (!wait_for(&PWR_CSR1, PWR_CSR1_VOSRDY",
    ),
    Mutant("TC-D317", "icache_not_invalidated", PORT, "        SCB_ICIALLU = 0u;\n", ""),
    Mutant("TC-D317", "half_the_dcache_invalidated", PORT, "set <= last_set; set++", "set < last_set; set++"),
    Mutant("TC-D318", "counter_locked", PORT, "    DWT_LAR = DWT_LAR_KEY;\n", ""),
    Mutant("TC-D318", "trace_off", PORT, "    DEMCR |= DEMCR_TRCENA;\n", ""),
    Mutant("TC-D320", "reserved_register", CLOCK, "    RCC_CR |= RCC_CR_HSION;\n", "    REG(RCC_BASE + 0x1Cu) = 1u;\n"),
    Mutant("TC-D320", "byte_access_to_a_register", UART, "(uint8_t)USART_RDR", "*(volatile uint8_t *)&USART_RDR"),
)


def build_mutant(base: Firmware, folder: Path, edits: tuple[tuple[str, str, str], ...]) -> Firmware:
    """`base` with (file, old, new) edits in firmware/; each `old` must stand there once. Only these are compiled."""
    copy = shutil.copytree(assets.directory("firmware"), folder / "firmware")
    out = shutil.copytree(base.elf.parent, folder / "build")
    chain = target_toolchain("zig", base.board)
    for name, old, new in edits:
        path = copy / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))
        prefix = "port_" if name.startswith("ports/") else ""
        chain.compile(path, out / "fw" / f"{prefix}{path.stem}.o", includes=(out, STUB, copy))
    objects = sorted((*(out / "lib").glob("*.o"), *(out / "fw").glob("*.o")))
    chain.link(objects, out / "firmware.ld", out / "firmware.elf")
    return dataclasses.replace(base, elf=out / "firmware.elf")


def run_to_the_end(firmware: Firmware, entry: str = "reset") -> None:
    with (
        emulate(firmware, firmware.board, entry=entry) as url,
        open_session(url, firmware.identity, baud=921600) as session,
    ):
        session.infer([bytes(4000), bytes(4)])


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.code}-{m.name}")
def test_mutant_is_rejected_by_its_rule(mutant: Mutant, stub_firmware: Builder, tmp_path: Path) -> None:
    edit = (mutant.file, mutant.old, mutant.new)
    firmware = build_mutant(stub_firmware(StubBuild(mutant.board)), tmp_path, (edit,))
    with pytest.raises(DeviceError) as caught:
        run_to_the_end(firmware, mutant.entry)
    assert caught.value.code == mutant.code
    assert RULES[mutant.code] in caught.value.what


@pytest.mark.parametrize("kind", ["float", "double"])
def test_fpu_rule(kind: str, stub_firmware: Builder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Single precision needs CPACR. Double precision is refused even when the compiler was told the core has it."""
    base = stub_firmware(StubBuild())
    edits = [(PORT, "\nvoid port_init(void)\n{\n", FLOAT_AT_START.format(type=kind))]
    if kind == "float":
        edits.append(("startup.c", "    CPACR |= 0xFu << 20;", "    CPACR |= 0u;"))
    else:
        monkeypatch.setattr(
            "tinycompress.build.toolchain._ZIG_CPUS", {("cortex-m7", "fpv5-sp-d16"): "cortex_m7+fp_armv8d16"}
        )
    firmware = build_mutant(base, tmp_path, tuple(edits))
    with pytest.raises(DeviceError) as caught:
        run_to_the_end(firmware)
    assert caught.value.code == "TC-D319"


def test_every_rule_has_a_mutant() -> None:
    assert {m.code for m in MUTANTS} | {"TC-D319"} == set(RULES)


@pytest.mark.parametrize("board", ["stm32f746", "nucleo_f746zg"])
@pytest.mark.parametrize("entry", ["reset", "openocd"])
def test_the_firmware_itself_breaks_no_rule(stub_firmware: Builder, board: str, entry: str) -> None:
    run_to_the_end(stub_firmware(StubBuild(board)), entry)


STATS = "static void on_stats(void)\n{\n"
RECURSE = (
    "static uint32_t recurse(volatile uint32_t *above)\n{\n    volatile uint32_t frame[64];\n    frame[0] = *above;\n"
    "    return above[0] == 0u ? 0u : recurse(frame) + frame[0];\n}\n\n"
)
FAULTS = {
    "write_to_nowhere": (STATS, STATS + "    *(volatile uint32_t *)0x70000000u = 1u;\n", "data bus error"),
    "read_from_nowhere": (STATS, STATS + "    (void)*(volatile uint32_t *)0x70000000u;\n", "data bus error"),
    "undefined_instruction": (STATS, STATS + '    __asm volatile("udf #1");\n', "undefined instruction"),
    "jump_to_nowhere": (STATS, STATS + "    ((void (*)(void))0x70000001u)();\n", "bus error|access violation"),
    "stack_overflow": (
        STATS,
        RECURSE + STATS + "    uint32_t one = 1u;\n    (void)recurse(&one);\n",
        "bus error|invalid state",
    ),
}


@pytest.mark.parametrize("board", ["stm32f746", "mps2-an500"])
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_reported_by_the_firmware(name: str, board: str, stub_firmware: Builder, tmp_path: Path) -> None:
    old, new, words = FAULTS[name]
    firmware = build_mutant(stub_firmware(StubBuild(board)), tmp_path, (("main.c", old, new),))
    with emulate(firmware, firmware.board) as url:
        with (
            open_session(url, firmware.identity, elf=firmware.elf) as session,
            pytest.raises(TargetFault, match=words) as caught,
        ):
            session.stats()
        assert caught.value.code == "TC-D109"
        if name in ("write_to_nowhere", "undefined_instruction"):
            assert re.search(r" in (on_stats|answer|on_frame|main) at pc 0x", caught.value.what)
        with pytest.raises(TargetFault):  # it stays faulted until a reset
            open_session(url, firmware.identity)


def test_fault_in_the_fault_handler_is_a_lockup(stub_firmware: Builder, tmp_path: Path) -> None:
    edits = (
        ("main.c", STATS, STATS + "    *(volatile uint32_t *)0x70000000u = 1u;\n"),
        ("fault.c", "    port_fault_uart();\n", "    *(volatile uint32_t *)0x70000000u = 1u;\n"),
    )
    firmware = build_mutant(stub_firmware(StubBuild()), tmp_path, edits)
    with (
        pytest.raises(DeviceError, match="TC-D334"),
        emulate(firmware, firmware.board) as url,
        open_session(url, firmware.identity) as session,
    ):
        session.stats()


def test_flash_cannot_be_stored_to(stub_firmware: Builder, tmp_path: Path) -> None:
    edit = ("main.c", STATS, STATS + "    *(volatile uint32_t *)0x08000000u = 1u;\n")
    firmware = build_mutant(stub_firmware(StubBuild()), tmp_path, (edit,))
    with (
        emulate(firmware, firmware.board) as url,
        open_session(url, firmware.identity) as session,
        pytest.raises(TargetFault, match="data bus error"),
    ):
        session.stats()


def test_code_through_the_accelerated_alias(tmp_path: Path) -> None:
    need()
    board = dataclasses.replace(boards.board("stm32f746"), code="flash_itcm")
    firmware = build_firmware(STUB, stub_binding(), board, "zig", tmp_path / "build")
    run_to_the_end(firmware)
