"""LayerNorm of the integer reference: exact sums, an integer root, one rounding of the normalised value, one of y.

The formula stands in `ir.quant_params.LayerNormParams`. TFLite has no such operator whose bytes could be equalled.
"""

from __future__ import annotations

import numpy as np

from tinycompress.errors import UnsupportedOpError
from tinycompress.execute.reference_steps import Context, finish, require_int8
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp
from tinycompress.ir.fixedpoint import requantize
from tinycompress.ir.tensor import Array

ROOT_BITS = 31
"""Bits of the root; the number under it has twice as many."""


def integer_root(x: Array) -> Array:
    """floor(sqrt(x)) of int64 in [0, 2^62), bit by bit."""
    root = np.zeros_like(x)
    for bit in reversed(range(ROOT_BITS)):
        larger = root + (1 << bit)
        root = np.where(larger * larger <= x, larger, root)
    return root


def layer_norm(op: o.LayerNorm, inputs: list[Array], context: Context) -> list[Array]:
    require_int8(op, (op.inputs[0], op.output), context)
    y, channels = context[op.output], context[op.output].shape[-1]
    if channels > qp.LAYER_NORM_CHANNELS:
        raise UnsupportedOpError("TC-M402", f"LayerNorm over {channels} channels", where=op.name)
    p = qp.layer_norm_params(op, context.tensors, context.rounding)
    x = inputs[0].astype(np.int64)
    total = x.sum(axis=-1, keepdims=True)
    spread = np.maximum(channels * (x * x).sum(axis=-1, keepdims=True) - total * total + p.epsilon, 1)
    twice = np.zeros_like(spread)
    for step in (32, 16, 8, 4, 2):
        twice = np.where(spread << twice < 1 << (62 - step), twice + step, twice)
    inverse = ((1 << (2 * ROOT_BITS - 1)) - 1) // integer_root(spread << twice)
    down = 2 * ROOT_BITS - 1 - qp.LAYER_NORM_BITS - twice // 2
    normalised = ((channels * x - total) * inverse + (np.int64(1) << (down - 1))) >> down
    sums = normalised * context[op.gamma].constant.astype(np.int64) + context[op.beta].constant
    return [finish(requantize(sums, p.multiplier, p.shift, context.rounding), y)]
