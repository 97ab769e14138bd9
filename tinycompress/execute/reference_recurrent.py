"""Operators with state of the integer reference: SVDF and LSTM."""

from __future__ import annotations

import numpy as np

from tinycompress.execute.reference_steps import Context, centred, finish
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixedpoint import integer_range, requantize
from tinycompress.ir.tensor import Array


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
