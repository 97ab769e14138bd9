"""ONNX's index rules of nearest-neighbour resizing, which importer and exporter match with the IR's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rule = Callable[[NDArray[Any]], NDArray[Any]]

RULES: dict[str, Rule] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}
TRANSFORMS = ("asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners")


def onnx_nearest_indices(size: int, output: int, transform: str, rule: str) -> tuple[int, ...]:
    """Per output position along one axis, the input position that ONNX's Resize copies; `transform` and `rule` by name.

    KeyError for a rule that ONNX does not have, ValueError for a transform.
    """
    i = np.arange(output, dtype=np.float64)
    scale = output / size
    if transform == "asymmetric":
        places = i / scale
    elif transform == "align_corners":
        places = i * (size - 1) / max(output - 1, 1)
    elif transform == "pytorch_half_pixel" and output == 1:
        places = i
    elif transform in TRANSFORMS:
        places = (i + 0.5) / scale - 0.5
    else:
        raise ValueError(f"unknown coordinate transform {transform!r}")
    return tuple(int(v) for v in np.clip(RULES[rule](places), 0, size - 1))
