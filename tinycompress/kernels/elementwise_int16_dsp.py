"""Add, Sub and Mul of two int16 operands of one shape on Armv7E-M: a word of each at a time."""

from __future__ import annotations

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.shapes import row_elements
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.int16 import Binary, pack_binary, supports_binary
from tinycompress.kernels.packing import are_activations, estimate, no_taps


def _scalars(op: Binary, graph: Graph, rounding: Rounding) -> dict[str, int]:
    """The portable kernel's parameters but for the broadcasting."""
    scalars = pack_binary(op, graph, rounding).scalars
    return {name: value for name, value in scalars if isinstance(value, int)}


def _supports(op: Binary, graph: Graph) -> bool:
    """What the portable kernel takes, of one shape without constants, and right shifts of at least 2."""
    shapes = {graph.tensors[name].shape for name in (*op.inputs, op.output)}
    if len(shapes) > 1 or not are_activations(op, graph) or not supports_binary(op, graph):
        return False
    p = _scalars(op, graph, rounding_of(graph))
    return p["output_multiplier"] > 0 and p["output_shift"] <= -2 and max(p["a_shift"], p["b_shift"]) <= 0


def _pack(op: Binary, graph: Graph, rounding: Rounding) -> PackedKernel:
    elements = row_elements(graph.tensors[op.output].shape)
    scalars = _scalars(op, graph, rounding)
    return PackedKernel("tc_elementwise_s16_dsp_params", (("elements", elements), *scalars.items()))


def _variant(name: str, per_output: float) -> tuple[KernelVariant, ...]:
    return (
        KernelVariant(
            name=name,
            header="tc_elementwise_s16_dsp.h",
            tier="dsp",
            pack=_pack,
            supports=_supports,
            in_place=(0, 1),
            code=lambda op, graph: Code(300),
            instructions=estimate(per_output, 0, no_taps),
        ),
    )


ADD = _variant("add_s16_dsp", 15)
SUB = _variant("sub_s16_dsp", 15)
MUL = _variant("mul_s16_dsp", 10)
