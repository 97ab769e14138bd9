"""Mean over any axes: packing and predicate."""

from __future__ import annotations

import math

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Mean
from tinycompress.ir.quant_params import mean_params
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel
from tinycompress.kernels.packing import are_activations, as_rows, estimate, is_int8, strides_of

AxisFacts = tuple[int, int, int]
"""(extent, input rows per step, input elements per step) of one axis."""
UNIT: AxisFacts = (1, 0, 0)


def averaged(op: Mean, graph: Graph) -> int:
    """Number of elements averaged into one output."""
    shape = graph.tensors[op.inputs[0]].shape
    return math.prod(shape[axis] for axis in op.axes)


def _axes(op: Mean, graph: Graph) -> tuple[list[AxisFacts], list[AxisFacts]]:
    """Facts of three output axes (the row axis first) and of three averaged axes (the input's row axis first)."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    facts = [(extent, *step) for extent, step in zip(x.shape, strides_of(x.shape), strict=True)]
    kept = [UNIT if i in op.axes else fact for i, fact in enumerate(facts) if op.keepdims or i not in op.axes]
    kept = list(as_rows(kept, len(y.shape), UNIT))
    first, rest = (facts[0] if 0 in op.axes else UNIT), [facts[i] for i in sorted(op.axes) if i > 0]
    return kept + [UNIT] * (3 - len(kept)), [first, *[UNIT] * (2 - len(rest)), *rest]


def supports(op: Mean, graph: Graph) -> bool:
    """int8, an input of at most three axes, and sums that fit int32."""
    rank = len(graph.tensors[op.inputs[0]].shape)
    return is_int8(op, graph) and are_activations(op, graph) and rank <= 3 and averaged(op, graph) < 2**22


def pack(op: Mean, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Every axis as its extent and its steps through the input's rows."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    kept, reduced = _axes(op, graph)
    count = averaged(op, graph)
    params = mean_params(x, y, count, rounding)
    return PackedKernel(
        "tc_mean_s8_params",
        (
            ("kept", tuple(f[0] for f in kept)),
            ("kept_rows", tuple(f[1] for f in kept)),
            ("kept_elements", tuple(f[2] for f in kept)),
            ("reduced", tuple(f[0] for f in reduced)),
            ("reduced_rows", reduced[0][1]),
            ("reduced_elements", tuple(f[2] for f in reduced)),
            ("input_sum", x.quantization.tensor_zero_point * count),
            ("output_zero_point", y.quantization.tensor_zero_point),
            ("output_multiplier", params.multiplier),
            ("output_shift", params.shift),
        ),
    )


MEAN = (
    KernelVariant(
        name="mean_s8",
        header="tc_mean.h",
        tier="portable",
        pack=pack,
        supports=supports,
        instructions=estimate(150, 5, averaged),
        whole_input=True,
    ),
)
