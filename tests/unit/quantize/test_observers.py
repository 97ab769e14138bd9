"""Observers against closed forms and by-hand cases of METHODS B4.4."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycompress.errors import ModelError
from tinycompress.quantize.observers import OBSERVERS, Ema, Histogram, MinMax, Percentile, make_observer


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)


def observed(name: str, *batches: np.ndarray) -> tuple[float, float]:
    observer = make_observer(name, sum(b.size for b in batches))
    for batch in batches:
        observer.update(batch)
    return observer.range()


def test_two_sided_percentile_of_a_normal_sample(normal: np.ndarray) -> None:
    observer = Percentile(99.9, total=normal.size)
    for batch in np.split(normal, 10):
        observer.update(batch)
    low, high = observer.range()
    assert low == pytest.approx(-3.29, abs=0.03)
    assert high == pytest.approx(3.29, abs=0.03)


def test_one_outlier_moves_minmax_but_not_the_percentile(normal: np.ndarray) -> None:
    spoiled = normal.copy()
    spoiled[123] = 1000.0
    before, after = Percentile(99.9, total=normal.size), Percentile(99.9, total=normal.size)
    before.update(normal)
    after.update(spoiled)
    assert after.range()[1] == pytest.approx(before.range()[1], abs=0.01)
    low, high = observed("minmax", spoiled)
    assert (max(high, 0) - min(low, 0)) / 255 == pytest.approx(3.94, abs=0.05)


def test_percentile_is_an_exact_order_statistic_whatever_the_batches() -> None:
    values = np.random.default_rng(1).permutation(20_001).astype(np.float32)
    whole, parts = Percentile(99.0, total=values.size), Percentile(99.0, total=values.size)
    whole.update(values)
    for batch in np.array_split(values, 7):
        parts.update(batch)
    assert whole.range() == parts.range() == (100.0, 19_900.0)


def test_percentile_of_few_values_is_minmax() -> None:
    assert observed("percentile", np.array([3.0, -1.0, 2.0], np.float32)) == (-1.0, 3.0)


def test_ema_follows_the_batches() -> None:
    observer = Ema(0.9)
    observer.update(np.array([-1.0, 1.0]))
    observer.update(np.array([-2.0, 3.0]))
    assert observer.range() == pytest.approx((-1.1, 1.2))


def test_minmax() -> None:
    observer = MinMax()
    observer.update(np.array([1.0, 2.0]))
    observer.update(np.array([-4.0, 0.0]))
    assert observer.range() == (-4.0, 2.0)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40), st.integers(1, 5))
def test_histogram_keeps_every_value(values: list[float], parts: int) -> None:
    histogram = Histogram()
    array = np.array(values, np.float32)
    for batch in np.array_split(array, parts):
        if batch.size:
            histogram.update(batch)
    assert histogram.counts.sum() == len(values)
    low, high = histogram.range()
    width = (histogram.high - histogram.low) / histogram.counts.size
    assert low <= array.min() + width
    assert high >= array.max() - width


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_ranges_of_a_relu_output_start_at_zero(name: str, normal: np.ndarray) -> None:
    low, high = observed(name, *np.split(np.maximum(normal[:100_000], 0), 4))
    assert low == pytest.approx(0.0, abs=1e-3)
    assert 2.5 < high < 5.0


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_constant_activations_have_a_range(name: str) -> None:
    low, high = observed(name, np.full((2, 8), 1.5, np.float32))
    assert low <= high
    assert high == pytest.approx(1.5, rel=1e-3)


def test_squared_error_cuts_a_rare_outlier(normal: np.ndarray) -> None:
    values = np.append(normal, np.float32(40.0))
    low, high = observed("mse", values)
    assert 3.5 < high < 30.0
    assert -6.0 < low < -0.3


def test_unknown_observer_is_a_coded_error() -> None:
    with pytest.raises(ModelError, match=r"TC-M410.*'median'.*percentile"):
        make_observer("median", 1)
