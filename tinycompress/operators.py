"""Each room's table per operator, side by side: what exists for every operator, and a test that fails on a hole."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.ir.ops import ALL_OPS, BatchNorm, Dequantize, Dropout, Op


@dataclass(frozen=True)
class Support:
    """What the rooms know of one operator: kernels in preference order, and which tables hold it."""

    op: str
    summary: str
    integer_reference: bool
    float_reference: bool
    kernels: tuple[str, ...]


FLOAT_ONLY: tuple[type[Op], ...] = (BatchNorm, Dropout, Dequantize)
"""Operators that never reach the generated code: folded, dropped or cut before."""


def support() -> list[Support]:
    """One row per operator, in the IR's order. Every operator with a float reference can be trained (test)."""
    from tinycompress.execute.float_reference import FLOAT_REFERENCE
    from tinycompress.execute.reference import REFERENCE
    from tinycompress.kernels import KERNELS

    return [
        Support(
            op=op.__name__,
            summary=(op.__doc__ or "").splitlines()[0],
            integer_reference=op in REFERENCE,
            float_reference=op in FLOAT_REFERENCE,
            kernels=tuple(v.name for v in KERNELS.get(op, ())),
        )
        for op in ALL_OPS
    ]
