"""2:4 masks and packing: every claim about the pattern, the storage and the order of lanes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.unit.gpu.emulation import dense_a, sparse_a, unpacked
from tinycompress.gpu import masks as mk
from tinycompress.gpu import packing as pk
from tinycompress.gpu.packing import Words
from tinycompress.ir.tensor import Array


def masked(matrix: Array) -> tuple[Array, pk.Packed]:
    mask = mk.magnitude_mask(matrix)
    return np.where(mask, matrix, 0).astype(matrix.dtype), pk.pack(matrix, mask)


def matrix(rows: int, columns: int, seed: int, dtype: type = np.int8) -> Array:
    rng = np.random.default_rng(seed)
    if dtype is np.int8:
        return rng.integers(-128, 128, (rows, columns)).astype(np.int8)
    return rng.standard_normal((rows, columns)).astype(dtype)


def test_sparse24_example_of_the_specification() -> None:
    kept, packed = masked(np.array([[1, -3, 2, 0.5]], dtype=np.float32))
    assert kept.tolist() == [[0, -3, 2, 0]]
    assert packed.positions.tolist() == [[1, 2]]
    assert packed.values.tolist() == [[-3, 2]]


def test_sparse24_equal_magnitudes_keep_the_earlier() -> None:
    assert mk.magnitude_mask(np.array([[2, -2, 2, 2]])).tolist() == [[True, True, False, False]]
    assert mk.magnitude_mask(np.array([[0, 0, 0, 5]])).tolist() == [[True, False, False, True]]


def test_sparse24_int8_minimum_counts_as_128() -> None:
    assert mk.magnitude_mask(np.array([[127, -128, 127, 0]], dtype=np.int8)).tolist() == [[True, True, False, False]]


@given(npst.arrays(np.int8, st.tuples(st.integers(1, 20), st.integers(1, 40).map(lambda n: 4 * n))))
@settings(max_examples=50, deadline=None)
def test_sparse24_packing_round_trip(weights: Array) -> None:
    kept, packed = masked(weights)
    assert (np.count_nonzero(kept.reshape(len(kept), -1, 4), axis=-1) <= 2).all()
    assert mk.is_two_of_four(kept)
    assert (packed.positions[:, ::2] < packed.positions[:, 1::2]).all()
    np.testing.assert_array_equal(unpacked(packed), kept)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_sparse24_packed_product_equals_the_masked_dense_one(dtype: type) -> None:
    weights, dense = matrix(24, 96, 0, dtype), matrix(96, 10, 1, dtype)
    kept, packed = masked(weights)
    wide = np.int64 if dtype is np.int8 else np.float64
    np.testing.assert_allclose(pk.multiply(packed, dense), kept.astype(wide) @ dense.astype(wide), rtol=1e-12)


def test_sparse24_fp16_product_is_within_one_percent() -> None:
    weights, dense = matrix(32, 64, 0, np.float16), matrix(64, 8, 1, np.float16)
    kept, packed = masked(weights)
    expected = kept.astype(np.float64) @ dense.astype(np.float64)
    got = pk.multiply(packed, dense).astype(np.float16)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-2


@pytest.mark.parametrize(("dtype", "ratio"), [(np.int8, 0.625), (np.float16, 0.5625)])
def test_sparse24_storage_ratio(dtype: type, ratio: float) -> None:
    weights = matrix(16, 128, 0, dtype)
    _, packed = masked(weights)
    stored = packed.values.nbytes + packed.positions.size * 2 / 8
    assert stored / weights.nbytes == ratio
    assert mk.STORAGE_RATIO["int8" if dtype is np.int8 else "fp16"] == ratio


def test_sparse24_a_mask_that_keeps_three_is_refused() -> None:
    with pytest.raises(ValueError, match="does not keep 2 of every 4"):
        pk.pack(np.ones((1, 4)), np.array([[True, True, True, False]]))
    with pytest.raises(ValueError, match="not a multiple of 4"):
        mk.keep_two(np.ones((2, 6)))


@pytest.mark.parametrize("seed", range(5))
def test_sparse24_lanes_hold_what_the_instruction_manual_says(seed: int) -> None:
    """Every element of both operands, read back through the tables of the PTX ISA."""
    weights = matrix(45, 180, seed)
    kept, packed = masked(weights)
    values, metadata = pk.sparse_words(packed, 3)
    dense = pk.dense_words(weights, 3)
    whole_kept, whole = (np.pad(m.astype(np.int64), ((0, 3), (0, 12))) for m in (kept, weights))
    for part in range(3):
        rows = slice(16 * part, 16 * part + 16)
        for step in range(3):
            columns = slice(64 * step, 64 * step + 64)
            got = sparse_a(values[part, step, 0], metadata[part, step])
            np.testing.assert_array_equal(got, whole_kept[rows, columns])
            halves = np.concatenate([dense_a(dense[part, step, i]) for i in range(2)], axis=1)
            np.testing.assert_array_equal(halves, whole[rows, columns])


def cutlass_reordered(words: Words) -> Words:
    """Metadata words `(rows, columns / 32)` in CUTLASS's order: rows of a slice interleaved in twos, each square of two
    by two turned over, and then two columns side by side going down."""
    rows, columns = words.shape
    moved = np.zeros(words.size, dtype=np.uint32)
    for row in range(rows):
        for column in range(columns):
            to_row, to_column = row // 16 * 16 + row % 8 * 2 + row % 16 // 8, column
            if (to_row + to_column) % 2:
                to_row, to_column = to_row + (1 if column % 2 else -1), to_column + (-1 if column % 2 else 1)
            moved[to_column // 2 * 2 * rows + 2 * to_row + to_column % 2] = words[row, column]
    return moved


def test_sparse24_metadata_is_in_the_order_of_cutlass_and_pytorch() -> None:
    """CUTLASS stores a lane's word where `ldmatrix` hands it to that lane: per step of 64 columns, lane after lane. Its
    formula, written anew, and PyTorch's own conversion for CUTLASS must both give what we give the lanes."""
    rows, columns = 48, 192
    rng = np.random.default_rng(3)
    weights = (rng.integers(1, 128, (rows, columns)) * rng.choice([-1, 1], (rows, columns))).astype(np.int8)
    kept, packed = masked(weights)
    _, metadata = pk.sparse_words(packed, rows // 16)
    ours = metadata.transpose(1, 0, 2).reshape(-1)  # [step][slice][lane]
    np.testing.assert_array_equal(ours, cutlass_reordered(pk._position_words(packed.positions)))
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    values, reordered = conversions.sparse_semi_structured_from_dense_cutlass(torch.from_numpy(kept))
    np.testing.assert_array_equal(values.numpy(), packed.values)
    np.testing.assert_array_equal(reordered.numpy().view(np.uint32).reshape(-1), ours)


def test_sparse24_lane_order_of_the_instruction_manual() -> None:
    """Spot checks, by hand from the PTX ISA: where single elements of A must be."""
    weights = np.zeros((16, 64), dtype=np.int8)
    weights[9, 37] = 5  # row 8 + 1, second half of the columns, second of its group
    packed = pk.pack(weights, mk.magnitude_mask(weights))
    values, metadata = pk.sparse_words(packed, 1)
    # 37 is position 1 of group 9; position 0 stays as filler, so the value is stored column 19 = 16 + 3.
    lane = 4 * 1 + 0
    assert np.ascontiguousarray(values[0, 0, 0, lane]).view(np.int8).reshape(4, 4)[1 + 2].tolist() == [0, 0, 0, 5]
    # Row 9, columns 32..63: lane t = 3 of group 1; group 9 is the second there: positions 0 and 1.
    assert metadata[0, 0, 4 * 1 + 3] >> 4 & 0xF == 0b0100
    dense = pk.dense_words(weights, 1)
    # Column 37 is column 5 of the second operand: t = 1, byte 1, word of rows 8..15.
    assert np.ascontiguousarray(dense[0, 0, 1, 4 * 1 + 1]).view(np.int8).reshape(4, 4)[1].tolist() == [0, 5, 0, 0]


def test_sparse24_padding_is_valid_metadata() -> None:
    weights = matrix(5, 20, 0)
    _, packed = masked(weights)
    values, metadata = pk.sparse_words(packed, 4)
    assert values.shape == (4, 1, 1, 32, 4)
    assert metadata.shape == (4, 1, 32)
    fields = metadata[..., None] >> (4 * np.arange(8, dtype=np.uint32)) & np.uint32(15)
    assert ((fields & 3) < (fields >> 2)).all()
