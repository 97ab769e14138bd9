"""How the convolutions of the matrix core see a window: runs of values, in groups of 4, and the rows of one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Conv2D
from tinycompress.ir.tensor import Array, Tensor
from tinycompress.kernels import gemm_dsp as gemm

MAX_ROWS_AT_ONCE = 16
"""Output rows of a call in whole layers: more cost stack (two pointers a row) and save next to nothing."""


@dataclass(frozen=True)
class Window:
    """How a convolution's window is gathered: `rows` runs of `run` values, and the core's walk over them.

    Runs are padded to 4 values each; where that saves groups of 4 (`is_dense`), what they have over whole groups is
    joined at the end instead.
    """

    run: int
    rows: int
    is_dense: bool
    depth: gemm.Depth

    @property
    def staging_bytes(self) -> int:
        """Bytes of one row of the window and of what the rows have over whole groups, each padded to 4."""
        joined = self.rows * (self.run % 4) if self.is_dense else 0
        return -(-self.run // 4) * 4 + -(-joined // 4) * 4


def window_of(weights: Tensor) -> Window:
    """The window of OHWI weights."""
    _, height, width, channels = weights.shape
    run = width * channels
    padded, joined = height * -(-run // 4), height * (run // 4) + -(-height * (run % 4) // 4)
    return Window(run, height, joined < padded, gemm.depth_for(min(joined, padded)))


def run_rows(weights: Array, window: Window) -> Array:
    """OHWI weights as `(outputs, K)`, each run padded to 4 values."""
    rows = weights.reshape(len(weights), window.rows, window.run)
    return np.pad(rows, ((0, 0), (0, 0), (0, -window.run % 4))).reshape(len(rows), -1)


def weight_rows(weights: Tensor, window: Window) -> Array:
    """OHWI weights as `(outputs, K)` in the order in which the window is gathered."""
    if not window.is_dense:
        return run_rows(weights.constant, window)
    rows = weights.constant.reshape(weights.shape[0], window.rows, window.run)
    whole = window.run - window.run % 4
    return np.concatenate(
        [rows[:, :, :whole].reshape(len(rows), -1), rows[:, :, whole:].reshape(len(rows), -1)], axis=1
    )


def has_group_rows(op: Conv2D, graph: Graph) -> bool:
    """True where each row of a window is one group of 4 values, so that output rows share what is widened."""
    window = window_of(graph.tensors[op.weights])
    return window.run == 4 and window.rows > op.stride[0] and op.dilation[0] == 1


def rows_at_once(op: Any, graph: Graph) -> int:
    """Rows of a call in whole layers, as many as are worth their pointers on the stack."""
    return MAX_ROWS_AT_ONCE


def padded_columns(op: Conv2D, graph: Graph) -> int:
    """Output columns whose window is gathered tap by tap: it leaves the row, or is dilated."""
    width, outputs = graph.tensors[op.inputs[0]].shape[1], graph.tensors[op.output].shape[1]
    reach = graph.tensors[op.weights].shape[2]
    if op.dilation[1] > 1:
        return outputs
    starts = (x * op.stride[1] - op.padding[1] for x in range(outputs))
    return sum(start < 0 or start + reach > width for start in starts)
