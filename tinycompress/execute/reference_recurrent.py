"""Operators with state of the integer reference: SVDF and LSTM."""

from __future__ import annotations

import numpy as np

from tinycompress.execute.reference_steps import Context, centred, finish
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixed_functions import sigmoid_16, tanh_16
from tinycompress.ir.fixedpoint import integer_range, requantize
from tinycompress.ir.tensor import Array, DType


def svdf(op: o.SVDF, inputs: list[Array], context: Context) -> list[Array]:
    x, state = context[op.inputs[0]], context[op.inputs[1]]
    feature, time = context[op.feature_weights], context[op.time_weights]
    y = context[op.outputs[0]]
    (m1, s1), (m2, s2) = qp.svdf_multipliers(x, feature, state, time, y, context.rounding)
    products = centred(inputs[0], x, np.int64) @ feature.constant.astype(np.int64).T
    # TFLM saturates before it adds the state's zero point and stores the low byte, so the sum may wrap.
    saturated = np.clip(requantize(products, m1, s1, context.rounding), *integer_range(state.dtype))
    newest = (saturated + state.quantization.tensor_zero_point).astype(state.dtype.numpy)
    memory = np.concatenate([inputs[1][:, :, 1:], newest[:, :, np.newaxis]], axis=2)
    filtered = (centred(memory, state, np.int64) * time.constant.astype(np.int64)).sum(axis=2)
    sums = filtered.reshape(filtered.shape[0], -1, op.rank).sum(axis=2)
    if op.bias is not None:
        sums = sums + context[op.bias].constant
    return [finish(requantize(sums, m2, s2, context.rounding), y, op.activation), memory]


def _int16(values: Array) -> Array:
    return np.clip(values, *integer_range(DType.INT16))


def lstm(op: o.LSTM, inputs: list[Array], context: Context) -> list[Array]:
    """Gates are the sums of two int16 products, each requantized on its own; the cell state saturates at int16."""
    x, y = context[op.inputs[0]], context[op.outputs[0]]
    p, rounding = qp.lstm_params(op, context.tensors, context.rounding), context.rounding
    kernels, recurrent = (context[n].constant.astype(np.int64) for n in (op.input_weights, op.recurrent_weights))
    bias = context[op.bias].constant.astype(np.int64) if op.bias is not None else np.zeros(kernels.shape[:2], np.int64)
    steps = centred(inputs[0], x, np.int64).reshape(len(inputs[0]), -1, x.shape[-1])
    hidden, cell = inputs[1], inputs[2].astype(np.int64)

    def gate(index: int, sample: Array, previous: Array) -> Array:
        fed = requantize(sample @ kernels[index].T + bias[index], *p.inputs[index], rounding)
        kept = requantize(previous @ recurrent[index].T, *p.recurrents[index], rounding)
        return 3 * _int16(_int16(fed) + _int16(kept))

    made = []
    for t in range(steps.shape[1])[:: -1 if op.is_reversed else 1]:
        gates = [gate(i, steps[:, t], centred(hidden, y, np.int64)) for i in range(4)]
        enter, forget, leave = (sigmoid_16(gates[i]) for i in (0, 1, 3))
        kept = _int16(requantize(forget * cell, *p.forget, rounding))
        fresh = _int16(requantize(enter * tanh_16(gates[2]), *p.update, rounding))
        cell = np.clip(_int16(kept + fresh), -p.cell_limit, p.cell_limit)
        scaled = (cell * p.tanh_multiplier + ((1 << p.tanh_shift) >> 1)) >> p.tanh_shift
        hidden = finish(requantize(tanh_16(scaled) * leave, *p.output, rounding), y)
        made.append(hidden)
    made = made[:: -1 if op.is_reversed else 1]
    return [np.stack(made, axis=1).reshape(*inputs[0].shape[:-1], -1), hidden, cell.astype(np.int16)]
