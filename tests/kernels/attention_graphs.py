"""One MatMul or one LayerNorm as a graph, for the kernels' tests."""

from __future__ import annotations

import numpy as np

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams, Tensor


def matmul_graph(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    columns: int,
    *,
    is_transposed: bool,
    zero_points: tuple[int, int] = (-128, 5),
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """`[g, m, k]` times `columns` columns; scales fill the int8 range for random values."""
    groups, _, terms = shape
    b_shape = (groups, columns, terms) if is_transposed else (groups, terms, columns)
    a, b = (h.quantized(n, s, 0.02, z) for n, s, z in zip("ab", (shape, b_shape), zero_points, strict=True))
    y = QParams.per_tensor(0.02 * 0.02 * 70.0 * 70.0 * terms**0.5 / 50.0, int(rng.integers(-20, 20)))
    op = o.MatMul(name="op", inputs=("a", "b"), outputs=("y",), is_transposed=is_transposed)
    return h.one_op_graph(op, [a, b], [y], rounding)


def layer_norm_graph(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    scale: float = 0.05,
    epsilon: float = 1e-5,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """Random gamma and beta, with the largest of each."""
    channels = shape[-1]
    gamma = rng.integers(-2047, 2048, channels).astype(np.int16)
    beta = rng.integers(-(1 << 22), 1 << 22, channels).astype(np.int32)
    gamma[0], beta[-1] = 2047, rng.choice([-(1 << 30), 1 << 30, 0])
    constants = [
        Tensor("gamma", (channels,), DType.INT16, QParams.per_tensor(1e-3, 0, 16), gamma),
        h.constant("beta", beta, 1e-3 / 4096),
    ]
    op = o.LayerNorm(name="op", inputs=("x",), outputs=("y",), gamma="gamma", beta="beta", epsilon=epsilon)
    return h.one_op_graph(op, [h.quantized("x", shape, scale, 9), *constants], [QParams.per_tensor(0.03, -4)], rounding)
