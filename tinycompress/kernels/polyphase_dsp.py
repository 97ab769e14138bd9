"""Conv2D 3x3 with stride 2 by Winograd's F(4x4, 2x2) over the image's four phases (codegen/kernels/tc_polyphase_dsp.h).

Along an axis even inputs meet taps 0 and 2, odd inputs tap 1; both parts share one output transform. The result is
36·y = 9·2^2·y everywhere.
"""

from __future__ import annotations

import numpy as np

from tinycompress.ir.tensor import Array
from tinycompress.kernels.code_dsp import polyphase_code
from tinycompress.kernels.tiles_dsp import Cost, Tiling

G = np.array([(3, 0), (-3, -3), (-1, 1), (1, 2), (0, 6)])
"""Weight transform of two taps, rows scaled to integers."""

POSITIONS = (
    *((i, j) for j in range(4) for i in range(4)),
    *((4, j) for j in range(4)),
    *((i, 4) for i in range(4)),
    (4, 4),
)
"""(row, column) of the tile in the order in which the kernel computes them."""

_EVEN, _ODD = (0, 2), (1,)


def _transformed(weights: Array) -> list[Array]:
    """Per position the weights `(outputs, phases · channels)` of the phases that reach it."""
    w = weights.astype(np.int64)
    phases = []
    for rows in (_EVEN, _ODD):
        for columns in (_EVEN, _ODD):
            taps = w[:, rows][:, :, columns]
            phases.append(np.einsum("ai,bj,oijc->oabc", G[:, : len(rows)], G[:, : len(columns)], taps))
    positions = []
    for i, j in POSITIONS:
        present = [p for p in range(4) if not (i == 4 and p >= 2) and not (j == 4 and p % 2)]
        positions.append(np.concatenate([phases[p][:, i, j] for p in present], axis=1))
    return positions


TILING = Tiling(
    name="polyphase",
    stride=2,
    max_channels=32,
    powers=range(2, 3),
    lift=5120,
    transformed=_transformed,
    centre=POSITIONS.index((1, 1)),
    scratch=(324, 1624),
    cost=Cost(tile=600, group=2900, pair=335, products=81, output=345, sign=64),
    code=polyphase_code,
)

POLYPHASE = (TILING.variant(),)
