"""FullyConnected, portable: packing and predicate."""

from __future__ import annotations

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import FullyConnected
from tinycompress.ir.shapes import row_elements
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.packing import (
    bias_array,
    describe,
    estimate,
    folded_bias,
    has_plain_weights,
    output_range,
    requantization,
)


def taps(op: FullyConnected, graph: Graph) -> int:
    """Multiply-accumulates of one output."""
    return graph.tensors[op.weights].shape[1]


def pack(op: FullyConnected, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are (out, in), input zero point folded into the bias."""
    x, y, weights = graph.tensors[op.inputs[0]], graph.tensors[op.output], graph.tensors[op.weights]
    outputs, inputs = weights.shape
    step, multiplier, shift = requantization(op, graph, rounding)
    return PackedKernel(
        "tc_fully_connected_s8_params",
        (
            ("vectors", row_elements(x.shape) // inputs),
            ("inputs", inputs),
            ("outputs", outputs),
            *output_range(op.activation, y),
            ("requant_step", step),
        ),
        (
            PackedArray("weights", weights.constant, describe(weights, "weights", "OI")),
            bias_array(folded_bias(op, graph), op, graph),
            multiplier,
            shift,
        ),
    )


FULLY_CONNECTED = (
    KernelVariant(
        name="fully_connected_s8",
        header="tc_fully_connected.h",
        tier="portable",
        pack=pack,
        supports=has_plain_weights,
        code=fixed_code(760),
        instructions=estimate(60, 3.5, taps),
    ),
)
