"""Reads linked firmware: sizes, symbols, and the flash image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class Sizes:
    """Bytes as linked. Flash holds code, rodata and the initial values of data; RAM holds data and bss."""

    code_bytes: int
    rodata_bytes: int
    data_bytes: int
    bss_bytes: int

    @property
    def flash_bytes(self) -> int:
        return self.code_bytes + self.rodata_bytes + self.data_bytes

    @property
    def ram_bytes(self) -> int:
        return self.data_bytes + self.bss_bytes


@dataclass(frozen=True)
class Symbol:
    """A function or object: address without the Thumb bit, size in bytes."""

    name: str
    address: int
    size: int
    is_function: bool


def _section_sizes(path: Path) -> dict[str, int]:
    with path.open("rb") as file:
        image = ELFFile(file)
        return {s.name: s["sh_size"] for s in image.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC}


def library_sizes(path: Path) -> Sizes:
    """What the generated library alone contributes to the linked firmware (unused functions are already dropped)."""
    sizes = _section_sizes(path)
    marks = symbols(path)
    data, bss = (
        marks[f"tc_library_{part}_end"].address - marks[f"tc_library_{part}_start"].address for part in ("data", "bss")
    )
    return Sizes(sizes.get(".tc_library_code", 0), sizes.get(".tc_library_rodata", 0), data, bss)


def firmware_sizes(path: Path) -> Sizes:
    """The whole firmware: library, protocol, port, buffers, stack. Constants outside the library count as code."""
    sizes = _section_sizes(path)
    data, rodata = sizes.get(".data", 0), sizes.get(".tc_library_rodata", 0)
    bss = sum(sizes.get(name, 0) for name in (".bss", ".tc_stack", ".tc_arena", ".tc_state", ".tc_io"))
    return Sizes(sum(sizes.values()) - data - rodata - bss, rodata, data, bss)


def symbols(path: Path) -> dict[str, Symbol]:
    """Functions and objects by name; of local symbols with one name, the first."""
    found: dict[str, Symbol] = {}
    with path.open("rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".symtab")
        for entry in table.iter_symbols():
            kind = entry["st_info"]["type"]
            if kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE") and entry.name and not entry.name.startswith("$"):
                is_function = kind == "STT_FUNC"
                address = entry["st_value"] & ~1 if is_function else entry["st_value"]
                found.setdefault(entry.name, Symbol(entry.name, address, entry["st_size"], is_function))
    return found


def function_at(path: Path, address: int) -> str | None:
    """Name of the function whose code holds `address`."""
    for symbol in symbols(path).values():
        if symbol.is_function and symbol.address <= address < symbol.address + symbol.size:
            return symbol.name
    return None


def segments(path: Path) -> list[tuple[int, bytes]]:
    """(load address, bytes) of every segment that is written to flash, by address."""
    with path.open("rb") as file:
        image = ELFFile(file)
        loads = [(s["p_paddr"], s.data()) for s in image.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_filesz"]]
    return sorted(loads)


def flash_image(path: Path) -> bytes:
    """The bytes from the lowest to the highest loaded address; gaps are 0xFF, as erased flash is."""
    loads = segments(path)
    start = loads[0][0]
    end = max(address + len(data) for address, data in loads)
    image = bytearray(b"\xff" * (end - start))
    for address, data in loads:
        image[address - start : address - start + len(data)] = data
    return bytes(image)
