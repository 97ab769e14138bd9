"""Scales: from a range of real values, or from weights, to int8 quantization parameters (METHODS B4.1, B4.4)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tinycompress.errors import ModelError
from tinycompress.ir.tensor import Array, QParams

SMALLEST_SCALE = 1e-8
WEIGHT_LIMIT = 127
MSE_SHRINKS = 80
MSE_NORM = 2.4

Scales = NDArray[np.float64]
WeightScales = Callable[[Array], Scales]


def activation_qparams(low: float, high: float) -> QParams:
    """Asymmetric int8 parameters for [low, high], widened to contain 0, so that 0.0 is exactly the zero point.

    An activation that is always 0 gets the range [0, 1]: with a minute scale its accumulators, should they ever not be
    0, would be shifted out of 32 bits.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    scale = float(np.float32(max((high - low) / 255.0, SMALLEST_SCALE)))
    zero_point = int(np.clip(np.round(-128.0 - low / scale), -128, 127))
    return QParams.per_tensor(scale, zero_point)


def largest_magnitudes(rows: Array) -> Scales:
    """max|w| / 127 of each row; the smallest scale for rows of zeros."""
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    return np.asarray(np.maximum(largest / WEIGHT_LIMIT, SMALLEST_SCALE))


def least_error(rows: Array) -> Scales:
    """Per row, out of 80 shrunk versions of max|w| / 127, the scale with the least Σ|w − q(w)|^2.4."""
    full = largest_magnitudes(rows)
    best = full.copy()
    best_error = np.full(rows.shape[0], np.inf)
    for i in range(MSE_SHRINKS):
        scale = np.maximum(full * (1.0 - i / 100.0), SMALLEST_SCALE)
        rounded = np.clip(np.round(rows / scale[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT) * scale[:, None]
        error = (np.abs(rows - rounded) ** MSE_NORM).sum(axis=1)
        better = error < best_error
        best[better], best_error[better] = scale[better], error[better]
    return best


WEIGHT_SCALES: dict[str, WeightScales] = {"minmax": largest_magnitudes, "mse": least_error}
"""Symmetric weight scales by name, of a `(channels, elements)` matrix."""


def weight_scales(name: str) -> WeightScales:
    """The method of that name; ModelError TC-M410 when there is none."""
    if name not in WEIGHT_SCALES:
        raise ModelError("TC-M410", f"no weight quantizer {name!r}", fix=f"one of {', '.join(WEIGHT_SCALES)}")
    return WEIGHT_SCALES[name]
