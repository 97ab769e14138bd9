"""2:4 weights as values and 2-bit positions, and in the order in which the lanes of a warp hold them.

Letters: a matrix is `(rows, columns)`; a *slice* is 16 rows; a *step* is what one sparse instruction reduces. Layouts
are those of the PTX ISA's fragments for mma.m16n8k32 and mma.sp.m16n8k64 of int8; codegen/kernels/cuda/tc_gpu_mma.h has
the same in C. The tests hold both against plain products, and these against the tables of the PTX ISA.
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


def pack(matrix: Array, mask: Bools) -> Packed:
    """The values that `mask` keeps and where they were; exactly KEPT of each GROUP must be kept (else ValueError).

    A kept value may be zero: what counts is the mask.
    """
    rows, columns = matrix.shape
    if columns % GROUP or not (mask.reshape(rows, -1, GROUP).sum(axis=-1) == KEPT).all():
        raise ValueError(f"the mask does not keep {KEPT} of every {GROUP}")
    positions = np.nonzero(mask.reshape(-1, GROUP))[1].astype(np.uint8).reshape(rows, -1)
    return Packed(matrix[mask].reshape(rows, -1), positions)


def _absolute(packed: Packed) -> NDArray[np.int64]:
    """Column of every kept value."""
    group = np.arange(packed.values.shape[1]) // KEPT
    return group * GROUP + packed.positions.astype(np.int64)


def multiply(packed: Packed, dense: Array) -> Array:
    """The masked matrix times `dense`, by gathering the rows of `dense` that the positions name; int64 for integers."""
    wide = np.int64 if packed.values.dtype.kind in "iu" else np.float64
    gathered = dense.astype(wide)[_absolute(packed)]
    product: Array = np.einsum("rk,rkn->rn", packed.values.astype(wide), gathered)
    return product


def _position_words(positions: NDArray[np.uint8]) -> Words:
    """2-bit positions of rows gathered into `(rows, columns / 32)` words of 32 columns of A, first pair lowest."""
    fields = positions.reshape(len(positions), -1, 32 * KEPT // GROUP).astype(np.uint32)
    words: Words = np.bitwise_or.reduce(fields << (2 * np.arange(fields.shape[-1], dtype=np.uint32)), axis=-1)
    return words


def _padded(array: Array, rows: int, columns: int) -> Array:
    return np.pad(array, ((0, rows - array.shape[0]), (0, columns - array.shape[1])))


def rounded_up(value: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def dense_words(matrix: Array, slices: int) -> Words:
    """int8 `(rows, columns)` as operand A of mma.m16n8k32: `[slice][step][operand 2][lane][4]` uint32.

    Rows are padded with zeros to `slices` · 16, columns to whole steps of 64.
    """
    columns = rounded_up(matrix.shape[1], STEP_COLUMNS)
    whole = _padded(matrix, slices * SLICE_ROWS, columns)
    operands = whole.reshape(slices, SLICE_ROWS, columns // 32, 32).transpose(0, 2, 1, 3)
    return _operand_words(operands).reshape(slices, columns // STEP_COLUMNS, 2, LANES, 4)


def sparse_words(packed: Packed, slices: int) -> tuple[Words, Words]:
    """int8 values and metadata of mma.sp.m16n8k64: `[slice][step][1][lane][4]` and `[slice][step][lane]` uint32.

    Padding is zero values at the valid positions 0 and 1.
    """
    columns = rounded_up(packed.columns, STEP_COLUMNS)
    rows = slices * SLICE_ROWS
    values = _padded(packed.values, rows, columns // 2)
    positions = np.tile(np.array([0, 1], dtype=np.uint8), (rows, columns // GROUP))
    positions[: packed.positions.shape[0], : packed.positions.shape[1]] = packed.positions
    operands = values.reshape(slices, SLICE_ROWS, columns // STEP_COLUMNS, 32).transpose(0, 2, 1, 3)
    halves = _position_words(positions).reshape(slices, 2, 8, columns // STEP_COLUMNS, 2)
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
