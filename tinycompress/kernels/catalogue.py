"""What a kernel variant is: when it applies, what it needs, what it costs, and how its weights are packed.

The predicates that choose a kernel are the functions that size its scratch: plan, cost and emit all ask here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Op
from tinycompress.ir.tensor import Array


@dataclass(frozen=True)
class PackedArray:
    """One `static const` array of the generated weights file.

    `field` is the params member that points at it; `data` is a numpy array of the C element type, flattened in storage
    order on emission; `comment` says name, type, shape, layout and source.
    """

    field: str
    data: Array
    comment: str
    alignment: int = 4

    @property
    def bytes(self) -> int:
        return int(self.data.nbytes)

    @property
    def c_type(self) -> str:
        return f"{np.dtype(self.data.dtype).name}_t"


@dataclass(frozen=True)
class PackedKernel:
    """Everything emission needs for one layer: the params struct's type, its scalar members in order, and its arrays.

    `scalars` maps member name to an int (or a braced tuple of ints); array members are filled from `arrays`.
    """

    params_type: str
    scalars: tuple[tuple[str, int | tuple[int, ...]], ...]
    arrays: tuple[PackedArray, ...] = ()

    @property
    def weights_bytes(self) -> int:
        return sum(a.bytes for a in self.arrays)


@dataclass(frozen=True)
class Code:
    """Estimated machine code of a layer, Armv7E-M at -O2: bytes of its own function, and of the functions that layers
    share, by name."""

    own_bytes: int
    shared: tuple[tuple[str, int], ...] = ()


ORDINARY_OWN_BYTES = 80
ORDINARY_KERNEL_BYTES = 600
"""A kernel of average size, for variants that don't say."""


def _no_scratch(op: Any, graph: Graph, rows: int) -> int:
    return 0


def _always(op: Any, graph: Graph) -> bool:
    return True


def _one_row(op: Any, graph: Graph) -> int:
    return 1


@dataclass(frozen=True)
class KernelVariant:
    """One C function of `codegen/kernels`, as the planner and the emitter see it.

    name          unique, e.g. ``conv2d_s8_dsp``; the C function is ``tc_<name>``
    header        file in codegen/kernels that defines it, e.g. ``tc_conv2d.h``
    tier          'portable' or 'dsp' (Armv7E-M; needs Board.has_dsp)
    supports      the exact predicate under which the kernel computes the reference's bytes
    pack          params struct and packed arrays for the op
    scratch_bytes bytes of step-local scratch for `rows` output rows per call (8-byte aligned)
    rows_per_step preferred number of output rows per call (the last call may make fewer)
    rows_at_once  the same where the layer runs as a whole, when more rows per call are cheaper
    in_place      indices of activation inputs whose row an output row may overwrite (same bytes per row)
    code          estimated machine code of the layer, from measured builds (tests/emulator/test_code_size.py)
    instructions  estimated Armv7E-M instructions of the whole layer, from counted kernels; for choosing only
    whole_input   True when one call needs all input rows and makes all output rows
    row_alignment bytes to which every row it reads or writes must be aligned
    needs_zero_row  rows of padding are a constant row of the input's zero point; otherwise they are NULL
    accumulator_bytes  set for kernels that take input rows as they come: n_rows counts input rows, `scratch` is memory
                  that lasts from the first call (zeroed before it) to the last, out_rows[0] is NULL before the last
    """

    name: str
    header: str
    tier: str
    pack: Callable[[Any, Graph, Rounding], PackedKernel]
    supports: Callable[[Any, Graph], bool] = _always
    scratch_bytes: Callable[[Any, Graph, int], int] = _no_scratch
    rows_per_step: Callable[[Any, Graph], int] = _one_row
    rows_at_once: Callable[[Any, Graph], int] | None = None
    in_place: tuple[int, ...] = ()
    code: Callable[[Any, Graph], Code] | None = None
    instructions: Callable[[Any, Graph], int] | None = None
    whole_input: bool = False
    row_alignment: int = 1
    needs_zero_row: bool = False
    accumulator_bytes: Callable[[Any, Graph], int] | None = None

    @property
    def function(self) -> str:
        return f"tc_{self.name}"

    def code_of(self, op: Op, graph: Graph) -> Code:
        """Estimated machine code of the layer."""
        if self.code is not None:
            return self.code(op, graph)
        return Code(ORDINARY_OWN_BYTES, ((self.name, ORDINARY_KERNEL_BYTES),))


def fixed_code(own_bytes: int, *shared: tuple[str, int]) -> Callable[[Any, Graph], Code]:
    """Code of a kernel whose size hardly depends on the layer."""

    def code(op: Any, graph: Graph) -> Code:
        return Code(own_bytes, shared)

    return code


KernelTable = dict[type[Op], tuple[KernelVariant, ...]]


def candidates(op: Op, graph: Graph, table: KernelTable, *, has_dsp: bool) -> tuple[KernelVariant, ...]:
    """Variants that compute `op` exactly on a core with or without the DSP extension, preferred first."""
    return tuple(v for v in table.get(type(op), ()) if (has_dsp or v.tier == "portable") and v.supports(op, graph))
