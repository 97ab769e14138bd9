"""Closed forms of METHODS B4.2: multipliers and both roundings."""

from __future__ import annotations

import numpy as np
import pytest

from tinycompress.ir.fixedpoint import activation_range, quantize_multiplier, requantize
from tinycompress.ir.graph import Rounding
from tinycompress.ir.ops import RELU6
from tinycompress.ir.tensor import DType, QParams, Tensor

MULTIPLIERS = [
    (0.5, 1073741824, 0),
    (1.0, 1073741824, 1),
    (0.25, 1073741824, -1),
    (1 / 3, 1431655765, -1),
    (0.0003, 1319413953, -11),
    (0.00123456789, 1357421750, -9),
    (2.5, 1342177280, 2),
]
ROUNDINGS = [
    (1, 0.5, 1, 1), (-1, 0.5, 0, 0), (3, 0.5, 2, 2), (-3, 0.5, -1, -1), (2, 0.25, 1, 1), (-2, 0.25, -1, 0),
    (6, 0.25, 2, 2), (-6, 0.25, -2, -1), (5000, 0.0003, 2, 1), (-5000, 0.0003, -2, -1), (12345, 0.0003, 4, 4),
    (-19999, 1 / 3, -6667, -6666), (-299295, 0.00123456789, -370, -369),
]  # fmt: skip


@pytest.mark.parametrize(("real", "multiplier", "shift"), MULTIPLIERS)
def test_multiplier(real: float, multiplier: int, shift: int) -> None:
    assert quantize_multiplier(real) == (multiplier, shift)


@pytest.mark.parametrize(("x", "real", "double", "single"), ROUNDINGS)
def test_rounding(x: int, real: float, double: int, single: int) -> None:
    m, s = quantize_multiplier(real)
    assert requantize(np.array(x), m, s) == double
    assert requantize(np.array(x), m, s, Rounding.SINGLE) == single


@pytest.mark.parametrize(("rounding", "expected"), [(Rounding.DOUBLE, 0), (Rounding.SINGLE, -(2**31))])
def test_what_leaves_32_bits_wraps_as_int32_does(rounding: Rounding, expected: int) -> None:
    m, s = quantize_multiplier(2.0)
    assert requantize(np.array([2**31 - 1, -(2**31), 2**30]), m, s, rounding).tolist() == [-2, 0, expected]


@pytest.mark.parametrize(
    ("real", "count"),
    [(0.25, 10_000), (1 / 3, 13_334), (0.125, 5_000), (0.5, 0), (0.9, 0), (0.00123, 50), (0.0003, 12)],
)
def test_how_often_the_roundings_differ(real: float, count: int) -> None:
    x = np.arange(-20000, 20001)
    m, s = quantize_multiplier(real)
    assert np.count_nonzero(requantize(x, m, s) != requantize(x, m, s, Rounding.SINGLE)) == count


def test_relu6_in_the_quantized_domain() -> None:
    y = Tensor("y", (1,), DType.INT8, QParams.per_tensor(6 / 255, -128))
    assert activation_range(RELU6, y) == (-128, 127)
    wide = Tensor("y", (1,), DType.INT8, QParams.per_tensor(0.1, -100))
    assert activation_range(RELU6, wide) == (-100, -40)
