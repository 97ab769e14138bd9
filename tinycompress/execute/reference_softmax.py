"""Softmax and LogSoftmax of the integer reference, in TFLM's fixed point."""

from __future__ import annotations

import numpy as np

from tinycompress.execute.reference_steps import Context, require_int8
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixed_functions import (
    divide_by_power,
    leading_zeros,
    log_of_at_least_one,
    multiply,
    reciprocal,
    softmax_exponentials,
)
from tinycompress.ir.fixedpoint import integer_range, requantize
from tinycompress.ir.tensor import Array, DType

ACCUMULATION_BITS = 12
"""Softmax sums its exponentials in Q12.19."""

LOG_SOFTMAX_OUTPUT_BITS = 4
"""LogSoftmax's output has 4 integer bits: scale 1/16."""


def _differences(x: Array) -> Array:
    """q − row maximum."""
    found: Array = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    return found


def _sum(exponentials: Array) -> Array:
    """Of a row, in Q12.19."""
    total: Array = divide_by_power(exponentials, ACCUMULATION_BITS).sum(axis=-1, keepdims=True)
    return total


def softmax(op: o.Softmax, inputs: list[Array], context: Context) -> list[Array]:
    if context[op.inputs[0]].dtype is context[op.output].dtype is DType.INT16:
        return _softmax_16(op, inputs[0], context)
    require_int8(op, op.inputs, context)
    x, y = context[op.inputs[0]], context[op.output]
    p = qp.softmax_params(x, op.beta, context.rounding)
    diff = _differences(inputs[0])
    exponentials = softmax_exponentials(p, context.rounding)[-diff]
    scale, bits = reciprocal(_sum(exponentials), ACCUMULATION_BITS)
    low, high = integer_range(y.dtype)
    output_bits = 8 * y.dtype.itemsize
    values = divide_by_power(multiply(scale, exponentials), bits + 31 - output_bits) + low
    return [np.where(diff >= p.diff_min, np.clip(values, low, high), low).astype(y.dtype.numpy)]


def _between(table: Array, x: Array) -> Array:
    """`table` at 256 + x / 128, interpolated and rounded."""
    index = 256 + (x >> 7)
    low = table[index]
    result: Array = low + (((table[index + 1] - low) * (x & 127) + 64) >> 7)
    return result


def _softmax_16(op: o.Softmax, x: Array, context: Context) -> list[Array]:
    low, high = integer_range(DType.INT16)
    exp, one_over_one_plus = (np.array(t, dtype=np.int64) for t in qp.softmax_16_tables())
    multiplier, shift = qp.softmax_16_scaling(context[op.inputs[0]], op.beta, context.rounding)
    diff = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    scaled = requantize(diff, multiplier, shift, context.rounding)
    exponentials = _between(exp, np.clip(scaled + high, low, high))
    total = exponentials.sum(axis=-1, keepdims=True)
    zeros = leading_zeros(total)
    centred = (((total << (zeros - 1)) + (1 << 13)) >> 14) - (1 << 15) - (1 << 16)
    scale = _between(one_over_one_plus, np.clip(centred, low, high))
    right = 31 - zeros
    values = (exponentials * scale + (np.int64(1) << (right - 1))) >> right
    return [np.clip(values, 0, high).astype(np.int16)]


def log_softmax(op: o.LogSoftmax, inputs: list[Array], context: Context) -> list[Array]:
    require_int8(op, (op.inputs[0], *op.outputs), context)
    x, y = context[op.inputs[0]], context[op.output]
    p = qp.log_softmax_params(x, context.rounding)
    diff = _differences(inputs[0])
    total = _sum(softmax_exponentials(p.softmax, context.rounding)[-diff])
    log_total = log_of_at_least_one(total, ACCUMULATION_BITS, qp.SOFTMAX_INTEGER_BITS)
    smallest = requantize(log_total - 2**31, p.reverse_multiplier, p.reverse_shift, context.rounding)
    smallest = np.maximum(p.softmax.diff_min - 1, smallest)
    within = diff > smallest
    scaled = requantize(np.where(within, diff, 0), p.softmax.multiplier, p.softmax.left_shift, context.rounding)
    low, high = integer_range(y.dtype)
    shift = 31 - qp.SOFTMAX_INTEGER_BITS - LOG_SOFTMAX_OUTPUT_BITS
    values = np.clip(divide_by_power(scaled - log_total, shift) + high, low, high)
    return [np.where(within, values, low).astype(y.dtype.numpy)]
