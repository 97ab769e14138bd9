"""Conv2D 3x3 with stride 1 by Winograd's F(4x4, 3x3) in exact integers (codegen/kernels/tc_winograd_dsp.h)."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.tensor import Array
from tinycompress.kernels.code_dsp import winograd_code
from tinycompress.kernels.tiles_dsp import Cost, Tiling

G = np.array([(6, 0, 0), (-1, -1, -1), (-1, 1, -1), (1, 2, 4), (1, -2, 4), (0, 0, 6)])
"""Weight transform, rows scaled to integers; with B and A of F(4x4, 3x3) the result carries 576 = 9·2^6 at (0, 0)."""


def _transformed(weights: Array) -> list[Array]:
    """Weights `(outputs, channels)` of the 36 positions, column by column of the tile."""
    u = np.einsum("ai,bj,oijc->baoc", G, G, weights.astype(np.int64))
    return list(u.reshape(36, len(weights), -1))


TILING = Tiling(
    name="winograd",
    stride=1,
    max_channels=64,
    powers=range(2, 7),
    lift=13312,
    transformed=_transformed,
    centre=7,
    scratch=(144, 1056),
    cost=Cost(tile=300, group=1230, pair=241, products=36, output=400, sign=68),
    code=winograd_code,
)

WINOGRAD = (TILING.variant(),)
