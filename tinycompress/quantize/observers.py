"""Observers: from the values an activation takes over calibration data to the range that its int8 scale covers.

Sources: METHODS B4.4. An observer sees the batches one after the other (`update`) and gives a range (`range`) of the
real values, not yet widened to contain 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.ir.tensor import Array

Range = tuple[float, float]

HISTOGRAM_BINS = 2048
ENTROPY_LEVELS = 128
INT8_STEPS = 255
SHRINKS = 100
"""The mse and entropy observers try this many shrunk ranges."""


class Observer(Protocol):
    """Collects one activation's values."""

    def update(self, values: Array) -> None:
        """One batch of float values, any shape, finite and not empty."""

    def range(self) -> Range:
        """(low, high) of the values to be represented; low ≤ high. Needs at least one update."""


class MinMax:
    """The smallest and the largest value seen."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, values: Array) -> None:
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))

    def range(self) -> Range:
        return self._low, self._high


class Ema:
    """Exponential moving averages of the batches' minima and maxima, starting at the first batch's."""

    def __init__(self, momentum: float = 0.99) -> None:
        self.momentum = momentum
        self._low: float | None = None
        self._high = 0.0

    def update(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        if self._low is None:
            self._low, self._high = low, high
            return
        self._low += (1 - self.momentum) * (low - self._low)
        self._high += (1 - self.momentum) * (high - self._high)

    def range(self) -> Range:
        return (0.0 if self._low is None else self._low), self._high


class Percentile:
    """The range that holds `percent` of all values, cut equally at both ends; exact order statistics, one pass.

    Only the tails are kept: (1 − percent/100)/2 of `total`, the number of values that all updates together will bring.
    With fewer than that many values to cut, it is the same as MinMax.
    """

    def __init__(self, percent: float = 99.99, total: int = 1 << 24) -> None:
        self._kept = int(total * (1.0 - percent / 100.0) / 2.0) + 1
        self._tail = (1.0 - percent / 100.0) / 2.0
        self._count = 0
        self._lowest = np.empty(0, dtype=np.float32)
        self._highest = np.empty(0, dtype=np.float32)

    def update(self, values: Array) -> None:
        flat = values.reshape(-1)
        self._count += flat.size
        self._lowest = _smallest(np.concatenate([self._lowest, _smallest(flat, self._kept)]), self._kept)
        self._highest = -_smallest(np.concatenate([-self._highest, _smallest(-flat, self._kept)]), self._kept)

    def range(self) -> Range:
        cut = min(int(self._count * self._tail), self._kept - 1)
        return float(np.sort(self._lowest)[cut]), float(np.sort(self._highest)[::-1][cut])


def _smallest(values: Array, count: int) -> Array:
    return values if values.size <= count else np.partition(values, count - 1)[:count]


class Histogram:
    """Counts over equal bins of a range that doubles, merging bins in pairs, when a value falls outside it."""

    def __init__(self, bins: int = HISTOGRAM_BINS) -> None:
        self.counts = np.zeros(bins, dtype=np.float64)
        self.low, self.high = 0.0, 0.0

    def update(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        if not self.counts.any():
            margin = max(high - low, abs(high), 1e-8) * 1e-6
            self.low, self.high = low, high + margin
        while low < self.low or high >= self.high:
            self._double(downwards=low < self.low)
        bins = self.counts.size
        index = ((values.reshape(-1).astype(np.float64) - self.low) * (bins / (self.high - self.low))).astype(np.intp)
        self.counts += np.bincount(np.minimum(index, bins - 1), minlength=bins)

    def _double(self, downwards: bool) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        empty = np.zeros_like(merged)
        width = self.high - self.low
        self.counts = np.concatenate([empty, merged] if downwards else [merged, empty])
        self.low, self.high = (self.low - width, self.high) if downwards else (self.low, self.high + width)

    @property
    def centres(self) -> Array:
        width = (self.high - self.low) / self.counts.size
        return self.low + width * (np.arange(self.counts.size) + 0.5)

    def range(self) -> Range:
        """The occupied bins, widened to their edges."""
        used = np.flatnonzero(self.counts)
        width = (self.high - self.low) / self.counts.size
        return self.low + width * float(used[0]), self.low + width * float(used[-1] + 1)


class MeanSquaredError(Histogram):
    """The shrunk range, out of 100, with the least squared error of rounding and clipping to 8 bits."""

    def range(self) -> Range:
        low, high = super().range()
        centres = self.centres
        best, best_error = (low, high), np.inf
        for candidate in _shrunk(low, high):
            step = max((max(candidate[1], 0.0) - min(candidate[0], 0.0)) / INT8_STEPS, 1e-12)
            rounded = np.round(np.clip(centres, *candidate) / step) * step
            error = float((self.counts * (centres - rounded) ** 2).sum())
            if error < best_error:
                best, best_error = candidate, error
        return best


def _shrunk(low: float, high: float) -> Iterator[Range]:
    """100 ever smaller ranges: both ends of one that contains 0 inside, else the end away from 0."""
    for i in range(SHRINKS):
        factor = 1.0 - i / SHRINKS
        if low < 0 < high:
            yield low * factor, high * factor
        elif high > 0:
            yield low, max(low, high * factor)
        else:
            yield min(high, low * factor), high


class Entropy(Histogram):
    """The range whose 128-level version loses least information: minimal Kullback-Leibler divergence.

    Candidates shrink the range and put outliers into its last bins. The bin that holds exact zeros is left out: int8
    represents 0 exactly, and after a ReLU its spike would outweigh everything else.
    """

    def range(self) -> Range:
        low, high = super().range()
        centres = self.centres
        counts = np.where(np.abs(centres) <= (self.high - self.low) / centres.size, 0.0, self.counts)
        best, best_divergence = (low, high), np.inf
        for candidate in _shrunk(low, high):
            inside = (centres >= candidate[0]) & (centres <= candidate[1])
            if np.count_nonzero(inside) < ENTROPY_LEVELS:
                break
            divergence = _divergence(counts, inside)
            if divergence < best_divergence:
                best, best_divergence = candidate, divergence
        return best


def _divergence(counts: Array, inside: Array) -> float:
    """KL(P ‖ Q): P the counts with outliers in the edge bins, Q the inside merged into 128 levels and spread again.

    Less the part that is expected from counting noise alone, (occupied bins − levels) / 2N, so that few samples don't
    make every range look worse the more bins it merges.
    """
    kept = np.flatnonzero(inside)
    reference = counts[kept].copy()
    reference[0] += counts[: kept[0]].sum()
    reference[-1] += counts[kept[-1] + 1 :].sum()
    total = reference.sum()
    if total == 0.0:
        return 0.0
    level = np.arange(kept.size) * ENTROPY_LEVELS // kept.size
    occupied = counts[kept] > 0
    sums = np.bincount(level, weights=counts[kept], minlength=ENTROPY_LEVELS)
    shares = np.bincount(level, weights=occupied.astype(np.float64), minlength=ENTROPY_LEVELS)
    spread = np.where(occupied, sums[level] / np.maximum(shares[level], 1.0), 0.0)
    p, q = reference / total, spread / max(spread.sum(), 1.0)
    used = p > 0
    noise = (np.count_nonzero(occupied) - np.count_nonzero(shares)) / (2.0 * total)
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))).sum()) - float(noise)


OBSERVERS: dict[str, Callable[[int], Observer]] = {
    "minmax": lambda total: MinMax(),
    "ema": lambda total: Ema(),
    "percentile": lambda total: Percentile(total=total),
    "mse": lambda total: MeanSquaredError(),
    "entropy": lambda total: Entropy(),
}
"""Observer by name; the argument is how many values all calibration batches together will bring."""


def make_observer(name: str, total: int) -> Observer:
    """A new observer; ModelError TC-M410 for an unknown name."""
    if name not in OBSERVERS:
        raise ModelError("TC-M410", f"no activation observer {name!r}", fix=f"one of {', '.join(OBSERVERS)}")
    return OBSERVERS[name](total)
