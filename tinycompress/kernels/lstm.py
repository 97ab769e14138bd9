"""LSTM, portable and on Armv7E-M: packing and predicate."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import LSTM
from tinycompress.ir.quant_params import Scaling, log2_of_scale, lstm_params
from tinycompress.ir.shapes import row_count
from tinycompress.ir.tensor import Array, DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.packing import INT32_MAX, Scalars, describe, estimate

SMALLEST_CELL_EXPONENT, LARGEST_CELL_EXPONENT = -20, 0
"""Scales 2^n of the cell state: below, its 16 bits would hold nothing; above, its products leave int32."""


def taps(op: LSTM, graph: Graph) -> int:
    """Multiply-accumulates of one element of y; the states, which count as outputs too, are a small part of them."""
    _, units, inputs = graph.tensors[op.input_weights].shape
    rows = row_count(graph.tensors[op.outputs[0]].shape)
    return 4 * (inputs + units) * rows // (rows + 2)


def _folded(weights: Array, zero_point: int, bias: Array) -> Array:
    """`bias` less the zero point times the sum of each unit's weights, as int64."""
    folded: Array = bias - zero_point * weights.astype(np.int64).sum(axis=2)
    return folded


def _biases(op: LSTM, graph: Graph) -> tuple[Array, Array]:
    """(input bias, recurrent bias), zero points folded in, as int64."""
    x, hidden = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    weights, recurrent = graph.tensors[op.input_weights].constant, graph.tensors[op.recurrent_weights].constant
    shape = weights.shape[:2]
    bias = np.zeros(shape, np.int64) if op.bias is None else graph.tensors[op.bias].constant.astype(np.int64)
    return (
        _folded(weights, x.quantization.tensor_zero_point, bias),
        _folded(recurrent, hidden.quantization.tensor_zero_point, np.zeros(shape, np.int64)),
    )


def supports(op: LSTM, graph: Graph) -> bool:
    """int8 but for an int16 cell state; symmetric int8 weights; sums that fit int32; a cell scale within its range.

    Both initial states are constants, or neither is.
    """
    x, hidden, cell, y, kept, inner = (graph.tensors[n] for n in (*op.inputs, *op.outputs))
    weights = [graph.tensors[n] for n in (op.input_weights, op.recurrent_weights)]
    narrow = all(t.dtype is DType.INT8 for t in (x, hidden, y, kept, *weights))
    if not narrow or cell.dtype is not DType.INT16 or inner.dtype is not DType.INT16:
        return False
    if x.is_constant or hidden.is_constant is not cell.is_constant:
        return False
    exponent = log2_of_scale(cell.quantization.tensor_scale)
    symmetric = not any(any(w.quantization.zero_point) for w in weights) and not cell.quantization.tensor_zero_point
    reach = [
        np.abs(bias) + 128 * np.abs(w.constant.astype(np.int64)).sum(axis=2)
        for bias, w in zip(_biases(op, graph), weights, strict=True)
    ]
    return (
        symmetric
        and exponent is not None
        and SMALLEST_CELL_EXPONENT <= exponent <= LARGEST_CELL_EXPONENT
        and hidden.quantization == y.quantization == kept.quantization
        and all(bool((r <= INT32_MAX).all()) for r in reach)
    )


def _pairs(name: str, values: tuple[Scaling, ...]) -> Scalars:
    return (
        (f"{name}_multiplier", tuple(m for m, _ in values)),
        (f"{name}_shift", tuple(s for _, s in values)),
    )


def _pair(name: str, value: Scaling) -> Scalars:
    return ((f"{name}_multiplier", value[0]), (f"{name}_shift", value[1]))


def _initial(op: LSTM, graph: Graph) -> tuple[PackedArray, ...]:
    """The initial states where they are constants."""
    hidden, cell = (graph.tensors[n] for n in op.inputs[1:])
    if not hidden.is_constant:
        return ()
    return (
        PackedArray("initial_hidden", hidden.constant, describe(hidden, "initial hidden state", "unit"), 1),
        PackedArray("initial_cell", cell.constant, describe(cell, "initial cell state", "unit")),
    )


def pack(op: LSTM, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Weights as they are, zero points of input and hidden state folded into biases."""
    weights, recurrent = graph.tensors[op.input_weights], graph.tensors[op.recurrent_weights]
    _, units, inputs = weights.shape
    params = lstm_params(op, graph.tensors, rounding)
    input_bias, recurrent_bias = _biases(op, graph)
    return PackedKernel(
        "tc_lstm_s8_params",
        (
            ("inputs", inputs),
            ("units", units),
            *_pairs("input", params.inputs),
            *_pairs("recurrent", params.recurrents),
            *_pair("forget", params.forget),
            *_pair("update", params.update),
            ("cell_limit", params.cell_limit),
            ("tanh_multiplier", params.tanh_multiplier),
            ("tanh_shift", params.tanh_shift),
            *_pair("output", params.output),
            ("output_zero_point", graph.tensors[op.outputs[0]].quantization.tensor_zero_point),
            ("is_reversed", int(op.is_reversed)),
        ),
        (
            PackedArray("input_weights", weights.constant, describe(weights, "input weights", "gate, unit, input")),
            PackedArray("input_bias", input_bias.astype(np.int32), "bias of gates, input zero point folded in"),
            PackedArray(
                "recurrent_weights", recurrent.constant, describe(recurrent, "recurrent weights", "gate, unit, unit")
            ),
            PackedArray(
                "recurrent_bias", recurrent_bias.astype(np.int32), "minus hidden zero point times the sum of weights"
            ),
            *_initial(op, graph),
        ),
    )


def _scratch(op: LSTM, graph: Graph, rows: int) -> int:
    """One row of the input and the hidden state, widened."""
    _, units, inputs = graph.tensors[op.input_weights].shape
    return 8 * (-(-inputs // 4) - (-units // 4))


LSTM_S8_DSP = (
    KernelVariant(
        name="lstm_s8_dsp",
        header="tc_lstm_dsp.h",
        tier="dsp",
        pack=pack,
        supports=supports,
        scratch_bytes=_scratch,
        code=fixed_code(800, ("lstm_s8_unit", 1400)),
        instructions=estimate(300, 1.5, taps),
        whole_input=True,
    ),
)

LSTM_S8 = (
    KernelVariant(
        name="lstm_s8",
        header="tc_lstm.h",
        tier="portable",
        pack=pack,
        supports=supports,
        code=fixed_code(130, ("lstm_s8", 1540)),
        instructions=estimate(300, 5.0, taps),
        whole_input=True,
    ),
)
