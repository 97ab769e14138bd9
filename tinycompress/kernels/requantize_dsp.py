"""Requantization in two instructions per output, chosen and proved per layer (codegen/kernels/tc_requantize_dsp.h).

Double rounding of x·Q·2^(−31−s) is one floor: floor(x·Q·2^(−31−s) + 1/2 + 2^(−s−1)) where the result is not negative,
because floors nest; below zero the last term is subtracted (ties go away from zero). Form S computes it with SMMLA and
a saturating shift by S from x' = x·2^(k+1), k = S − s ≥ 1: floor(x'·Q / 2^32) + 2^(S−1) + 2^(k−1), shifted right by S.
It serves layers whose negative results are clamped (zero point = activation minimum: ReLU) and single rounding, whose
one constant is 2^(S−1). Form 0 serves every layer with right shifts ≥ 2, in four instructions; form 1 is form 0 without
the instruction for negative ties, where negative results are clamped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.graph import Rounding

Int64 = NDArray[np.int64]

FORM_TIES = 0
FORM_RELU = 1
UNSHIFTED_FORMS = (FORM_TIES, FORM_RELU)
SHIFT_FORMS = (8, 10, 12, 14)
"""Saturating shifts that the cores are instantiated for; together they hold any right shifts within 5 of each other."""

_LANE_LIMIT = 32768
_LIMIT = 2**31


@dataclass(frozen=True)
class Channels:
    """A layer's outputs before requantization: per channel Q31 multiplier, shift (negative is right), and the exact
    range [low, high] of the int32 accumulator; `largest_weight` is max |w| per channel."""

    multiplier: Int64
    shift: Int64
    low: Int64
    high: Int64
    largest_weight: Int64

    @property
    def count(self) -> int:
        return len(self.multiplier)


@dataclass(frozen=True)
class Clamp:
    """Output zero point and activation range."""

    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class Requantization:
    """Form and per-channel constants: the C kernels' `multiplier` and `addend` as signed 32-bit values, and the power
    of two by which weights and bias are multiplied (0 where the multiplier is 0: the output is the zero point)."""

    form: int
    weight_scale: Int64
    multiplier: Int64
    addend: Int64


def choose_requantization(
    channels: Channels, clamp: Clamp, rounding: Rounding, forms: Iterable[int] = SHIFT_FORMS
) -> Requantization | None:
    """The cheapest exact form, or None when neither applies (left shifts, or an accumulator beyond int32)."""
    if (channels.high >= _LIMIT).any() or (channels.low < -_LIMIT).any():
        return None
    if rounding is Rounding.SINGLE or clamp.low >= clamp.zero_point:
        for form in forms:
            shifted = _shifted(channels, clamp, rounding, form)
            if shifted is not None:
                return shifted
    if rounding is Rounding.SINGLE:
        return None
    ties = ties_form(channels)
    is_relu = clamp.low >= clamp.zero_point
    return replace(ties, form=FORM_RELU) if ties is not None and is_relu else ties


def ties_form(channels: Channels) -> Requantization | None:
    """Form 0: exact for any range that fits int32 and right shifts of at least 2; None otherwise."""
    live = channels.multiplier != 0
    right = np.where(live, -channels.shift, 2)
    if (right < 2).any():
        return None
    doubled = (2 * channels.multiplier + _LIMIT) % (2 * _LIMIT) - _LIMIT
    return Requantization(FORM_TIES, live.astype(np.int64), doubled, np.int64(1) << (32 - right))


def _shifted(channels: Channels, clamp: Clamp, rounding: Rounding, form: int) -> Requantization | None:
    live = channels.multiplier != 0
    wanted = np.where(live, form + channels.shift, 1)
    room = np.floor(np.log2(_LANE_LIMIT / np.maximum(channels.largest_weight, 1))).astype(np.int64)
    k = np.clip(wanted, 1, np.maximum(room - 1, 1))
    reach = np.maximum(channels.high + 1, -channels.low)
    if (wanted > k).any() or (room < 2).any() or ((reach << (k + 1)) > _LIMIT).any():
        return None
    multiplier = _round_shift(channels.multiplier, k - wanted)
    addend = np.full(channels.count, (1 << (form - 1)) + clamp.zero_point * (1 << form), np.int64)
    exact = wanted == k
    if rounding is Rounding.DOUBLE:
        addend += np.where(exact & live, np.int64(1) << (k - 1), 0)
    result = Requantization(form, np.where(live, np.int64(1) << (k + 1), 0), multiplier, addend)
    doubtful = np.flatnonzero(~exact)
    return result if agrees(result, channels, clamp, rounding, doubtful) else None


def agrees(result: Requantization, channels: Channels, clamp: Clamp, rounding: Rounding, index: NDArray[Any]) -> bool:
    """Whether a shifted form equals the specification on the channels of `index`, proved at its thresholds.

    Both functions rise with x, so they are equal everywhere iff they are equal at and just below each threshold and at
    the ends of the range.
    """
    at = thresholds(channels, clamp, rounding, index)
    low, high = channels.low[index, None], channels.high[index, None]
    x = np.clip(np.concatenate([at, at - 1, low, high], axis=1), low, high)
    return bool((_specified(x, channels, clamp, rounding, index) == _computed(x, result, clamp, index)).all())


def thresholds(channels: Channels, clamp: Clamp, rounding: Rounding, index: NDArray[Any]) -> Int64:
    """Per channel of `index` the smallest accumulators in range that give low+1, low+2 … high (else one beyond)."""
    low, high = channels.low[index, None], channels.high[index, None]
    targets = np.arange(clamp.low + 1, clamp.high + 1)[None, :]
    begin = np.broadcast_to(low, (len(index), targets.shape[1])).copy()
    end = np.broadcast_to(high + 1, begin.shape).copy()
    while (begin < end).any():
        middle = (begin + end) >> 1
        reached = _specified(middle, channels, clamp, rounding, index) >= targets
        is_open = begin < end
        end = np.where(is_open & reached, middle, end)
        begin = np.where(is_open & ~reached, middle + 1, begin)
    return begin


def _specified(x: Int64, channels: Channels, clamp: Clamp, rounding: Rounding, index: NDArray[Any]) -> Int64:
    y = requantize(x, channels.multiplier[index, None], channels.shift[index, None], rounding)
    clamped: Int64 = np.clip(y + clamp.zero_point, clamp.low, clamp.high)
    return clamped


def _computed(x: Int64, result: Requantization, clamp: Clamp, index: NDArray[Any]) -> Int64:
    scaled = x * result.weight_scale[index, None]
    high = ((scaled * result.multiplier[index, None]) >> 32) + result.addend[index, None]
    y: Int64 = np.clip(high >> np.int64(result.form), clamp.low, clamp.high)
    return y


def _round_shift(values: Int64, amount: Int64) -> Int64:
    half = np.where(amount > 0, np.int64(1) << np.maximum(amount - 1, 0), 0)
    shifted: Int64 = (values + half) >> amount
    return shifted


def form_instructions(form: int) -> int:
    """Instructions per output of a form, from accumulator to saturated byte."""
    return {FORM_TIES: 4, FORM_RELU: 3}.get(form, 2)
