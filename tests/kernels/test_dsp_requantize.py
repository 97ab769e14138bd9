"""The two-instruction requantization forms against the specification, at every threshold."""

from __future__ import annotations

import numpy as np
import pytest

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Rounding
from tinycompress.kernels.requantize_dsp import FORM_RELU, FORM_TIES, Channels, Clamp, agrees, choose_requantization

RELU_CLAMP = Clamp(-128, -128, 127)


def random_channels(rng: np.random.Generator, count: int, shifts: tuple[int, int], reach: int) -> Channels:
    multiplier = rng.integers(1 << 30, 1 << 31, count)
    multiplier[:2] = (1 << 30, (1 << 31) - 1)
    return Channels(
        multiplier,
        -rng.integers(shifts[0], shifts[1] + 1, count),
        -rng.integers(1, reach, count),
        rng.integers(1, reach, count),
        rng.integers(1, 128, count),
    )


@pytest.mark.parametrize("shifts", [(1, 6), (3, 8), (5, 10), (7, 12), (8, 13)])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_shifted_forms_are_exact_at_every_threshold(shifts: tuple[int, int], rounding: Rounding) -> None:
    rng = np.random.default_rng(shifts[0])
    channels = random_channels(rng, 64, shifts, 1 << 21)
    clamp = RELU_CLAMP if rounding is Rounding.DOUBLE else Clamp(5, -128, 127)
    chosen = choose_requantization(channels, clamp, rounding)
    assert chosen is not None
    assert chosen.form > FORM_RELU
    assert agrees(chosen, channels, clamp, rounding, np.arange(64))


def test_thresholds_find_a_wrong_constant() -> None:
    rng = np.random.default_rng(1)
    channels = random_channels(rng, 8, (5, 10), 1 << 20)
    chosen = choose_requantization(channels, RELU_CLAMP, Rounding.DOUBLE)
    assert chosen is not None
    chosen.addend[3] += 1 << (chosen.form - 3)
    assert not agrees(chosen, channels, RELU_CLAMP, Rounding.DOUBLE, np.arange(8))


def test_outlying_small_multipliers_are_taken_when_proved() -> None:
    channels = Channels(
        *(np.array(v, np.int64) for v in ([1 << 30, 1_500_000_000], [-7, -20], [-9000, -50], [9000, 60], [50, 1]))
    )
    chosen = choose_requantization(channels, RELU_CLAMP, Rounding.DOUBLE)
    assert chosen is not None
    assert chosen.form > FORM_RELU


def test_signed_outputs_take_the_form_with_ties_away_from_zero() -> None:
    rng = np.random.default_rng(2)
    channels = random_channels(rng, 16, (2, 20), 1 << 24)
    chosen = choose_requantization(channels, Clamp(3, -128, 127), Rounding.DOUBLE)
    assert chosen is not None
    assert chosen.form == FORM_TIES
    x = rng.integers(-(1 << 24), 1 << 24, (16, 4096))
    r = ((x * chosen.multiplier[:, None] + (x << 32) + (1 << 31)) >> 32).astype(np.int64)
    r -= r < 0
    y = ((r * chosen.addend[:, None] + (1 << 31)) >> 32) + 3
    want = requantize(x, channels.multiplier[:, None], channels.shift[:, None]) + 3
    assert (np.clip(y, -128, 127) == np.clip(want, -128, 127)).all()


def test_left_shifts_and_wide_accumulators_are_refused() -> None:
    one = np.ones(1, np.int64)
    left = Channels(one << 30, one, -one, one, one)
    assert choose_requantization(left, Clamp(0, -128, 127), Rounding.DOUBLE) is None
    wide = Channels(one << 30, -8 * one, -one, one << 31, one)
    assert choose_requantization(wide, RELU_CLAMP, Rounding.DOUBLE) is None
