"""Generated CUDA without a GPU: compiled for this machine, and the instructions' layouts as the PTX ISA's tables have
them, element by element and in code of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinycompress.build.host import host_compiler
from tinycompress.build.toolchain import is_zig, run_compiler
from tinycompress.gpu.packing import Packed, Words
from tinycompress.ir.tensor import Array

STRICT = ("-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


def compile_host(source: Path, target: Path, flags: Sequence[str] = ()) -> Path:
    """Builds a .cu as plain C++ for this machine, where the tensor cores are emulated; ToolchainError when it fails."""
    compiler = host_compiler()
    own = ("-fno-sanitize=all", "-lc++") if is_zig(compiler) else ("-lstdc++",)
    command = [*compiler, "-x", "c++", "-std=c++17", "-O2", *STRICT, *flags, f"-I{source.parent.resolve()}"]
    command += [source.name, *own, "-o", str(target.resolve())]
    run_compiler(command, source.parent, code="TC-T202", what=f"{source.name} does not compile for the host")
    return target


def unpacked(packed: Packed) -> Array:
    """The matrix with its zeros."""
    rows, kept = packed.values.shape
    matrix = np.zeros((rows, 2 * kept), dtype=packed.values.dtype)
    columns = np.arange(kept) // 2 * 4 + packed.positions
    np.put_along_axis(matrix, columns.astype(np.int64), packed.values, axis=1)
    return matrix


def byte(word: int, index: int) -> int:
    value = word >> (8 * index) & 0xFF
    return value - 256 if value > 127 else value


def dense_a(words: Words) -> Array:
    """Operand A of mma.m16n8k32 of int8 from `(32, 4)` registers: a_i is row groupID or + 8, columns 4t + (i & 3)."""
    a = np.zeros((16, 32), dtype=np.int64)
    for lane in range(32):
        group, thread = lane >> 2, lane % 4
        for i in range(16):
            row = group if i < 4 or 8 <= i < 12 else group + 8
            column = thread * 4 + (i & 3) + (16 if i >= 8 else 0)
            a[row, column] = byte(int(words[lane, i // 4]), i % 4)
    return a


def sparse_a(words: Words, metadata: Words) -> Array:
    """Operand A of mma.sp.m16n8k64 of int8 from `(32, 4)` registers and `(32,)` metadata, with its zeros.

    a_i is row groupID for i < 4 and 8 <= i < 12, else groupID + 8; i < 8 are the kept elements of columns 8t … 8t + 7,
    the others those of 8t + 32 … 8t + 39. Of each four lanes T0 has the positions of row groupID, columns 0 … 31, T1 of
    row groupID + 8, T2 and T3 of the same rows, columns 32 … 63; four bits for a chunk of four columns, the first
    chunk lowest.
    """
    a = np.zeros((16, 64), dtype=np.int64)
    for lane in range(32):
        group, thread = lane >> 2, lane % 4
        for i in range(16):
            is_low = i < 4 or 8 <= i < 12
            chunk = (8 * thread + (32 if i >= 8 else 0)) // 4 + i % 4 // 2
            holder = 4 * group + (0 if is_low else 1) + (2 if chunk >= 8 else 0)
            nibble = int(metadata[holder]) >> (4 * (chunk % 8)) & 15
            position = nibble >> (2 * (i % 2)) & 3
            a[group + (0 if is_low else 8), 4 * chunk + position] = byte(int(words[lane, i // 4]), i % 4)
    return a
