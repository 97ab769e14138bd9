"""Integer form of the LSTM (the TFLite int8 specification): int8 weights with a scale a gate, int16 cell state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tinycompress.execute.float_reference import lstm_steps
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array, QParams, Tensor
from tinycompress.quantize.constants import BIAS_LIMIT, quantize_bias, quantize_symmetric, renamed
from tinycompress.quantize.ranges import WeightScales

CELL_BITS = 16
FINEST_CELL_EXPONENT, COARSEST_CELL_EXPONENT = -15, 0
"""The cell state is an int16 times 2^n: products of two Q0.15 numbers bring nothing finer, the kernel nothing wider."""


def cell_states(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """Every cell state that an LSTM takes, step by step, by the name of its last one: calibration has to see all."""
    found = {}
    for op in graph.ops:
        if isinstance(op, o.LSTM):
            operands = [values[n] if n in values else graph.tensors[n].constant for n in op.inputs]
            found[op.outputs[2]] = lstm_steps(op, operands, graph.tensors)[1]
    return found


def cell_tensors(graph: Graph) -> frozenset[str]:
    """The tensors that hold an LSTM's cell state before or after it."""
    return frozenset(n for op in graph.ops if isinstance(op, o.LSTM) for n in (op.inputs[2], op.outputs[2]))


def cell_qparams(low: float, high: float) -> QParams:
    """int16 parameters of a cell state: zero point 0, the smallest power of two as the scale that holds the range."""
    largest = max(-low, high, 2.0**-40)
    exponent = math.ceil(math.log2(largest)) - (CELL_BITS - 1)
    return QParams.per_tensor(2.0 ** min(max(exponent, FINEST_CELL_EXPONENT), COARSEST_CELL_EXPONENT), 0, CELL_BITS)


def quantize_lstm(
    op: o.LSTM, original: o.LSTM, floats: Mapping[str, Tensor], x: QParams, method: WeightScales
) -> dict[str, Tensor]:
    """The constants of `op`, named by it, from the float ones that `original` names.

    Weights are symmetric int8 in [−127, 127] with one scale a gate, the bias is int32 of scale s_x · s_w. A gate whose
    bias would exceed BIAS_LIMIT gets a larger weight scale.
    """
    bias = None if original.bias is None else floats[original.bias]
    least = 0.0 if bias is None else np.abs(bias.constant).max(axis=1) / (x.tensor_scale * BIAS_LIMIT)
    kernels = _weights(renamed(floats[original.input_weights], op.input_weights), method, least)
    recurrent = _weights(renamed(floats[original.recurrent_weights], op.recurrent_weights), method, 0.0)
    made = [kernels, recurrent]
    if bias is not None and op.bias is not None:
        made.append(quantize_bias(renamed(bias, op.bias), x.tensor_scale, kernels.quantization))
    return {tensor.name: tensor for tensor in made}


def _weights(weights: Tensor, method: WeightScales, least: float | Array) -> Tensor:
    """`(4, units, n)` in int8 with one scale a gate, none below `least`."""
    scales = np.maximum(method(weights.constant.reshape(len(weights.constant), -1).astype(np.float64)), least)
    return quantize_symmetric(weights, QParams(tuple(float(s) for s in scales), (0,) * len(scales), 0))
