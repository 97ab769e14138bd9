"""2:4 weights as values and 2-bit positions, and in the order in which the lanes of a warp hold them.

Letters: a matrix is `(rows, columns)`; a *slice* is 16 rows; a *step* is what one sparse instruction reduces. Layouts
are those of the PTX ISA's fragments for mma.m16n8k32 (int8), mma.sp.m16n8k64 (int8) and mma.sp.m16n8k32 (fp16);
codegen/kernels/cuda/tc_gpu_mma.h has the same in C, and the tests hold both against plain products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompress.gpu.masks import GROUP, KEPT, Bools
from tinycompress.ir.tensor import Array

SLICE_ROWS = 16
STEP_COLUMNS = 64
"""Reduction of one step of the int8 kernels: one sparse instruction, or two dense ones."""
LANES = 32

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Packed:
    """`values` `(rows, columns / 2)` and `positions` of the same shape, 0…3 within the group, rising in each pair."""

    values: Array
    positions: NDArray[np.uint8]

    @property
    def columns(self) -> int:
        return int(self.values.shape[1]) * GROUP // KEPT

    @property
    def storage_bytes(self) -> float:
        """Values and positions of 2 bits each."""
        return float(self.values.nbytes + self.positions.size * 2 / 8)


def pack(matrix: Array, mask: Bools) -> Packed:
    """The values that `mask` keeps and where they were; exactly KEPT of each GROUP must be kept (else ValueError).

    A kept value may be zero: what counts is the mask.
    """
    rows, columns = matrix.shape
    if columns % GROUP or not (mask.reshape(rows, -1, GROUP).sum(axis=-1) == KEPT).all():
        raise ValueError(f"the mask does not keep {KEPT} of every {GROUP}")
    positions = np.nonzero(mask.reshape(-1, GROUP))[1].astype(np.uint8).reshape(rows, -1)
    return Packed(matrix[mask].reshape(rows, -1), positions)


def unpack(packed: Packed) -> Array:
    """The matrix with its zeros: the inverse of `pack` on masked weights."""
    matrix = np.zeros((len(packed.values), packed.columns), dtype=packed.values.dtype)
    np.put_along_axis(matrix, _absolute(packed), packed.values, axis=1)
    return matrix


def _absolute(packed: Packed) -> NDArray[np.int64]:
    """Column of every kept value."""
    group = np.arange(packed.values.shape[1]) // KEPT
    return group * GROUP + packed.positions.astype(np.int64)


def multiply(packed: Packed, dense: Array) -> Array:
    """`unpack(packed) @ dense` by gathering the rows of `dense` that the positions name; int64 for integers."""
    wide = np.int64 if packed.values.dtype.kind in "iu" else np.float64
    gathered = dense.astype(wide)[_absolute(packed)]
    product: Array = np.einsum("rk,rkn->rn", packed.values.astype(wide), gathered)
    return product


def position_bits(positions: NDArray[np.uint8], columns_per_word: int) -> NDArray[np.uint64]:
    """2-bit positions of a row gathered into words of `columns_per_word` columns of A, first pair lowest."""
    per_word = columns_per_word * KEPT // GROUP
    fields = positions.reshape(len(positions), -1, per_word).astype(np.uint64)
    words: NDArray[np.uint64] = np.bitwise_or.reduce(fields << (2 * np.arange(per_word, dtype=np.uint64)), axis=-1)
    return words


def _padded(array: Array, rows: int, columns: int) -> Array:
    return np.pad(array, ((0, rows - array.shape[0]), (0, columns - array.shape[1])))


def _rounded_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def dense_words(matrix: Array, slices: int) -> Words:
    """int8 `(rows, columns)` as operand A of mma.m16n8k32: `[slice][step][operand 2][lane][4]` uint32.

    Rows are padded with zeros to `slices` · 16, columns to whole steps of 64.
    """
    columns = _rounded_up(matrix.shape[1], STEP_COLUMNS)
    whole = _padded(matrix, slices * SLICE_ROWS, columns)
    operands = whole.reshape(slices, SLICE_ROWS, columns // 32, 32).transpose(0, 2, 1, 3)
    return _operand_words(operands).reshape(slices, columns // STEP_COLUMNS, 2, LANES, 4)


def sparse_words(packed: Packed, slices: int) -> tuple[Words, Words]:
    """int8 values and metadata of mma.sp.m16n8k64: `[slice][step][1][lane][4]` and `[slice][step][lane]` uint32.

    Padding is zero values at the valid positions 0 and 1.
    """
    columns = _rounded_up(packed.columns, STEP_COLUMNS)
    rows = slices * SLICE_ROWS
    values = _padded(packed.values, rows, columns // 2)
    positions = np.tile(np.array([0, 1], dtype=np.uint8), (rows, columns // GROUP))
    positions[: packed.positions.shape[0], : packed.positions.shape[1]] = packed.positions
    operands = values.reshape(slices, SLICE_ROWS, columns // STEP_COLUMNS, 32).transpose(0, 2, 1, 3)
    halves = position_bits(positions, 32).astype(np.uint32).reshape(slices, 2, 8, columns // STEP_COLUMNS, 2)
    # Lane 4·group + t: t % 2 chooses the row (group or group + 8), t // 2 the half of the 64 columns.
    metadata = halves.transpose(0, 3, 2, 4, 1).reshape(slices, columns // STEP_COLUMNS, LANES)
    words = _operand_words(operands).reshape(slices, columns // STEP_COLUMNS, 1, LANES, 4)
    return words, np.ascontiguousarray(metadata)


def _operand_words(operands: Array) -> Words:
    """int8 `(…, 16, 32)` in lane order `(…, 32, 4)`: word j is row group + 8·(j % 2), columns 16·(j // 2) + 4t…."""
    lead = operands.shape[:-2]
    split = operands.reshape(*lead, 2, 8, 2, 4, 4)  # row half, group, column half, t, byte
    axes = len(lead)
    moved = split.transpose(*range(axes), axes + 1, axes + 3, axes + 2, axes, axes + 4)
    contiguous = np.ascontiguousarray(moved, dtype=np.int8)
    return contiguous.view("<u4").reshape(*lead, LANES, 4)


def half_metadata(positions: NDArray[np.uint8]) -> Words:
    """Metadata of one mma.sp.m16n8k32 of fp16: `(16, 16)` positions of 16 rows and 32 columns → `(32,)` uint32.

    With sparsity selector 0 lanes t = 0 (columns 0…15) and t = 1 (16…31) of each four count: row group in the low half,
    row group + 8 in the high half. The others hold the same, for selector 1.
    """
    halves = position_bits(positions, 16).astype(np.uint32)  # (row, column half)
    words = halves[:8] | halves[8:] << np.uint32(16)
    return np.tile(words, (1, 2)).reshape(LANES)


def half_values(values: NDArray[np.float16]) -> Words:
    """Stored values of one mma.sp.m16n8k32 of fp16: `(16, 16)` → `(32, 4)` uint32, laid out as a dense m16n8k16's A."""
    split = values.reshape(2, 8, 2, 4, 2)  # row half, group, column half, t, element
    moved = np.ascontiguousarray(split.transpose(1, 3, 2, 0, 4), dtype=np.float16)
    return moved.view("<u4").reshape(LANES, 4)


def emulate_sparse_half(values: Words, metadata: Words, dense: Array) -> NDArray[np.float64]:
    """What mma.sp.m16n8k32 computes from lane-ordered fp16 values and metadata and a `(32, 8)` B: `(16, 8)`."""
    stored = np.ascontiguousarray(values).view(np.float16).reshape(8, 4, 2, 2, 2)
    rows = stored.transpose(3, 0, 2, 1, 4).reshape(SLICE_ROWS, 16).astype(np.float64)
    lanes = metadata.reshape(8, 4)[:, :2]
    low, high = lanes & np.uint32(0xFFFF), lanes >> np.uint32(16)
    bits = np.concatenate([low, high])[:, :, None] >> (2 * np.arange(8, dtype=np.uint32)) & np.uint32(3)
    packed = Packed(rows, bits.reshape(SLICE_ROWS, 16).astype(np.uint8))
    return np.asarray(multiply(packed, dense), dtype=np.float64)


def emulate_sparse_int8(values: Words, metadata: Words, dense: Array) -> NDArray[np.int64]:
    """What mma.sp.m16n8k64 computes: lane-ordered `(32, 4)` values, `(32,)` metadata, int8 `(64, 8)` B → `(16, 8)`."""
    stored = np.ascontiguousarray(values).view(np.int8).reshape(8, 4, 2, 2, 4)
    rows = stored.transpose(3, 0, 2, 1, 4).reshape(SLICE_ROWS, 32)
    words = metadata.reshape(8, 2, 2).transpose(2, 0, 1).reshape(SLICE_ROWS, 2)  # row, column half
    bits = words[:, :, None] >> (2 * np.arange(16, dtype=np.uint32)) & np.uint32(3)
    packed = Packed(rows, bits.reshape(SLICE_ROWS, 32).astype(np.uint8))
    return np.asarray(multiply(packed, dense), dtype=np.int64)
