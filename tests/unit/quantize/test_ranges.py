"""Scales from ranges and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycompress.errors import ModelError
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.tensor import DType
from tinycompress.quantize.ranges import activation_qparams, largest_magnitudes, least_error, weight_scales

RANGES = [
    ((0.0, 255.0), 1.0, -128),
    ((0.0, 1.0), 1 / 255, -128),
    ((-1.0, 3.0), 4 / 255, -64),
    ((0.5, 2.0), 2 / 255, -128),
    ((-3.0, -1.0), 3 / 255, 127),
    ((0.0, 0.0), 1 / 255, -128),
]


@pytest.mark.parametrize(("limits", "scale", "zero_point"), RANGES)
def test_activation_parameters(limits: tuple[float, float], scale: float, zero_point: int) -> None:
    qparams = activation_qparams(*limits)
    assert qparams.tensor_scale == pytest.approx(scale, rel=1e-6)
    assert qparams.tensor_zero_point == zero_point


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_zero_is_exact_and_the_range_is_covered(low: float, width: float) -> None:
    qparams = activation_qparams(low, low + width)
    zero = quantize_values(np.zeros(1), qparams, DType.INT8)
    assert dequantize_values(zero, qparams)[0] == 0.0
    for end in (low, low + width):
        back = dequantize_values(quantize_values(np.array([end]), qparams, DType.INT8), qparams)[0]
        assert abs(back - end) <= 1.01 * qparams.tensor_scale + 1e-6 * abs(end)


def test_weight_scales_per_row() -> None:
    rows = np.array([[1.27, -0.3], [0.0, 0.0], [-2.54, 1.0]])
    np.testing.assert_allclose(largest_magnitudes(rows), [0.01, 1e-8, 0.02])


def test_least_error_beats_largest_magnitude_on_an_outlier() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (4, 4000))
    rows[2, 7] = 6.5

    def error(scales: np.ndarray) -> np.ndarray:
        rounded = np.clip(np.round(rows / scales[:, None]), -127, 127) * scales[:, None]
        return (np.abs(rows - rounded) ** 2.4).sum(axis=1)

    assert (error(least_error(rows)) <= error(largest_magnitudes(rows))).all()
    assert least_error(rows)[2] < largest_magnitudes(rows)[2]


def test_unknown_weight_method() -> None:
    with pytest.raises(ModelError, match=r"TC-M410.*'max'.*minmax"):
        weight_scales("max")
