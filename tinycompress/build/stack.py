"""Static worst-case stack depth of a function in a linked firmware.

Frame sizes are the compiler's own (clang's ``.stack_sizes`` section, gcc's ``.su`` files), or what the function's own
instructions push where that is more: compilers do not look into assembly. Calls are read from the machine code. The
bound is exact over the static call graph: no path in it is deeper.
"""

from __future__ import annotations

import bisect
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class StackBound:
    """`bytes` of stack from entry of the root, along `path`; None with the `reason` when there is no bound."""

    bytes: int | None
    reason: str | None
    path: tuple[str, ...]


@dataclass(frozen=True)
class _Edge:
    target: int
    is_tail: bool  # a jump after the caller's own frame is gone


class _Unbounded(Exception):
    pass


def bound(elf: Path, root: str, build_dir: Path) -> StackBound:
    """Deepest stack from entry of `root`. `build_dir` is where the objects (and gcc's ``.su`` files) lie."""
    image = _Image(elf, build_dir)
    if root not in image.starts:
        return StackBound(None, f"{root} is not in the firmware", ())
    try:
        depth, path = _deepest(image, image.starts[root], ())
    except _Unbounded as why:
        return StackBound(None, str(why), ())
    return StackBound(depth, None, path)


def _deepest(image: _Image, start: int, above: tuple[int, ...]) -> tuple[int, tuple[str, ...]]:
    name = image.names[start]
    if start in above:
        raise _Unbounded(f"{name} is recursive")
    frame = image.frame(start)
    below, tail = 0, 0
    path: tuple[str, ...] = ()
    tail_path: tuple[str, ...] = ()
    for edge in image.edges(start):
        depth, names = _deepest(image, edge.target, (*above, start))
        if edge.is_tail and depth > tail:
            tail, tail_path = depth, names
        elif not edge.is_tail and depth > below:
            below, path = depth, names
    if tail > frame + below:
        return tail, (name, *tail_path)
    return frame + below, (name, *path)


class _Image:
    """Functions of an ELF file: where they start and end, their frames, whom they call."""

    def __init__(self, elf: Path, build_dir: Path) -> None:
        self.names: dict[int, str] = {}
        self.starts: dict[str, int] = {}
        self._ends: dict[int, int] = {}
        self._frames: dict[int, int] = {}
        self._marks: list[tuple[int, bool]] = []  # (address, whether data begins here), sorted
        self._code: list[tuple[int, bytes]] = []
        self._edges: dict[int, tuple[_Edge, ...]] = {}
        with elf.open("rb") as file:
            image = ELFFile(file)
            for section in image.iter_sections():
                if section["sh_type"] == "SHT_PROGBITS" and section["sh_flags"] & 4:
                    self._code.append((section["sh_addr"], section.data()))
            self._read_symbols(image.get_section_by_name(".symtab"))
            sizes = image.get_section_by_name(".stack_sizes")
            if sizes is not None:
                self._frames.update(_parse_stack_sizes(sizes.data()))
        self._su = _read_su_files(build_dir)

    def _read_symbols(self, table: object) -> None:
        for symbol in table.iter_symbols():  # type: ignore[attr-defined]
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]:
                start = symbol["st_value"] & ~1
                self.names.setdefault(start, symbol.name)
                self.starts.setdefault(symbol.name, start)
                self._ends[start] = start + symbol["st_size"]
            elif symbol.name.startswith(("$t", "$d")):
                self._marks.append((symbol["st_value"], symbol.name.startswith("$d")))
        self._marks.sort()

    def frame(self, start: int) -> int:
        """Bytes the function pushes and reserves."""
        return max(self._compilers_frame(start), self._pushed(start))

    def _compilers_frame(self, start: int) -> int:
        if start in self._frames:
            return self._frames[start]
        name = self.names[start]
        # gcc leaves the last number off the names of clones: f.part.0.isra for f.part.0.isra.0
        candidates = self._su.get(name) or self._su.get(re.sub(r"\.\d+$", "", name))
        if candidates is None:
            raise _Unbounded(f"the compiler gave no frame size for {name}")
        if None in candidates:
            raise _Unbounded(f"{name} has a frame of variable size")
        return max(c for c in candidates if c is not None)

    def _pushed(self, start: int) -> int:
        """Deepest point below the entry's stack pointer, following the instructions in the order they lie in."""
        depth = deepest = 0
        for _, first, second in self._instructions(start, self._ends[start]):
            depth = max(depth + _lowering(first, second), 0)
            deepest = max(deepest, depth)
        return deepest

    def edges(self, start: int) -> tuple[_Edge, ...]:
        if start not in self._edges:
            self._edges[start] = tuple(self._scan(start))
        return self._edges[start]

    def _scan(self, start: int) -> Iterator[_Edge]:
        end = self._ends[start]
        for at, first, second in self._instructions(start, end):
            kind, target = _branch(at, first, second)
            if kind == "indirect":
                raise _Unbounded(f"{self.names[start]} calls through a pointer at {at:#010x}")
            if kind == "call" or (kind == "jump" and not start <= target < end):
                if target not in self.names:
                    raise _Unbounded(f"{self.names[start]} calls {target:#010x}, which is no function's start")
                yield _Edge(target, kind == "jump")

    def _instructions(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(address, first halfword, second halfword or 0) of the code, without literal pools and jump tables."""
        base, code = next((b, c) for b, c in self._code if b <= start < b + len(c))
        at = start
        while at < end:
            index = bisect.bisect_right(self._marks, (at, True)) - 1
            if index >= 0 and self._marks[index][1]:
                at = self._marks[index + 1][0] if index + 1 < len(self._marks) else end
                continue
            (first,) = struct.unpack_from("<H", code, at - base)
            is_wide = first >= 0xE800
            second = struct.unpack_from("<H", code, at - base + 2)[0] if is_wide else 0
            yield at, first, second
            at += 4 if is_wide else 2


def _branch(at: int, first: int, second: int) -> tuple[str, int]:
    """('call' | 'jump' | 'indirect' | '', target) of one Thumb-2 instruction (Arm ARM v7-M, A5 and A7.7.12)."""
    pc = at + 4
    if first & 0xF800 == 0xF000 and second & 0x8000:
        sign = first >> 10 & 1
        if second & 0x5000 == 0x0000:  # B<c>.W
            if first >> 6 & 14 == 14:
                return "", 0  # not a branch: MSR, barriers, hints
            j1, j2 = second >> 13 & 1, second >> 11 & 1
            value = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3F) << 12 | (second & 0x7FF) << 1
            return "jump", pc + value - (sign << 21)
        i1, i2 = 1 - (second >> 13 & 1 ^ sign), 1 - (second >> 11 & 1 ^ sign)
        value = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1
        is_call = second & 0x5000 == 0x5000
        return ("call" if is_call else "jump"), pc + value - (sign << 25)
    if first & 0xF000 == 0xD000 and first >> 8 & 15 < 14:  # B<c>
        value = (first & 0xFF) << 1
        return "jump", pc + value - ((value & 0x100) << 1)
    if first & 0xF800 == 0xE000:  # B
        value = (first & 0x7FF) << 1
        return "jump", pc + value - ((value & 0x800) << 1)
    is_blx = first & 0xFF87 == 0x4780
    is_bx = first & 0xFF87 == 0x4700 and first >> 3 & 15 != 14
    is_mov_pc = first & 0xFF87 == 0x4687
    return ("indirect", 0) if is_blx or is_bx or is_mov_pc else ("", 0)


def _lowering(first: int, second: int) -> int:
    """Bytes by which one Thumb-2 instruction lowers the stack pointer (negative: raises it), immediates only."""
    if first & 0xFE00 == 0xB400 or first & 0xFE00 == 0xBC00:  # PUSH, POP
        count = 4 * (first & 0x1FF).bit_count()
        return count if first & 0x0800 == 0 else -count
    if first & 0xFF00 == 0xB000:  # SUB SP, ADD SP
        count = 4 * (first & 0x7F)
        return count if first & 0x80 else -count
    if first in (0xE92D, 0xE8BD):  # STMDB sp!, LDMIA sp!
        count = 4 * second.bit_count()
        return count if first == 0xE92D else -count
    if first & 0xFFBF in (0xED2D, 0xECBD):  # VPUSH, VPOP
        count = 4 * (second & 0xFF)
        return count if first & 0xFFBF == 0xED2D else -count
    if first in (0xE96D, 0xE8FD):  # STRD [sp, #-n]!, LDRD [sp], #n
        count = 4 * (second & 0xFF)
        return count if first == 0xE96D else -count
    if first == 0xF84D and second & 0x0F00 == 0x0D00:  # STR [sp, #-n]!
        return second & 0xFF
    if first == 0xF85D and second & 0x0F00 == 0x0B00:  # LDR [sp], #n
        return -(second & 0xFF)
    if second & 0x0F00 == 0x0D00 and first & 0xFBFF in (0xF1AD, 0xF2AD, 0xF10D, 0xF20D):  # SUB.W sp, ADD.W sp
        plain = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | (second & 0xFF)
        count = plain if first & 0x0200 else _expand_immediate(plain)
        return count if first & 0x00A0 == 0x00A0 else -count
    return 0


def _expand_immediate(field: int) -> int:
    """ThumbExpandImm (Arm ARM v7-M, A5.3.2) of the 12-bit field i:imm3:imm8."""
    byte = field & 0xFF
    if field >> 10 == 0:
        return (byte, byte * 0x00010001, byte * 0x01000100, byte * 0x01010101)[field >> 8 & 3]
    rotation = field >> 7
    value = 0x80 | field & 0x7F
    return (value >> rotation | value << 32 - rotation) & 0xFFFFFFFF


def _parse_stack_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """clang's section: a 4-byte address, then a ULEB128 size, per function."""
    at = 0
    while at + 4 < len(data):
        (address,) = struct.unpack_from("<I", data, at)
        at += 4
        size = shift = 0
        while True:
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        yield address & ~1, size


def _read_su_files(build_dir: Path) -> dict[str, list[int | None]]:
    """gcc's lines ``file:line:column:name<tab>bytes<tab>kind``: name -> sizes, None for an unbounded frame."""
    found: dict[str, list[int | None]] = {}
    for path in sorted(build_dir.rglob("*.su")):
        for line in path.read_text().splitlines():
            place, size, kind = line.split("\t")
            name = place.rpartition(":")[2]
            is_bounded = kind == "static" or "bounded" in kind
            found.setdefault(name, []).append(int(size) if is_bounded else None)
    return found
