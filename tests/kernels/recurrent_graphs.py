"""Graphs of one recurrent operator, for its kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.kernels import harness as h
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams


def lstm_graph(
    seed: int,
    shape: tuple[int, ...],
    units: int,
    exponent: int,
    clip: float,
    rounding: Rounding,
    *,
    starts_anew: bool = False,
    is_reversed: bool = False,
) -> QuantGraph:
    """One LSTM; its states are inputs, or constants when it `starts_anew` with every inference."""
    rng = np.random.default_rng(seed)
    hidden = QParams.per_tensor(float(rng.uniform(0.004, 0.01)), int(rng.integers(-40, 40)))
    cell = QParams.per_tensor(2.0**exponent, 0, 16)
    weights = [rng.integers(-127, 128, (4, units, n)).astype(np.int8) for n in (shape[-1], units)]
    scales = rng.uniform(0.003, 0.02, (2, 4))
    op = o.LSTM(
        name="op", inputs=("x", "h", "c"), outputs=("y", "h2", "c2"), input_weights="w", recurrent_weights="r",
        bias="b" if seed % 3 else None, cell_clip=clip, is_reversed=is_reversed,
    )  # fmt: skip
    tensors = [
        h.quantized("x", shape, 0.03, int(rng.integers(-128, 128))),
        h.Tensor("h", (units,), DType.INT8, hidden, rng.integers(-128, 128, units).astype(np.int8)),
        h.Tensor("c", (units,), DType.INT16, cell, rng.integers(-9000, 9000, units).astype(np.int16)),
        h.constant("w", weights[0], scales[0], axis=0),
        h.constant("r", weights[1], scales[1], axis=0),
        h.constant("b", rng.integers(-9000, 9000, (4, units)).astype(np.int32)),
    ]
    if not starts_anew:
        tensors[1:3] = [replace(t, data=None) for t in tensors[1:3]]
    kept = h.Tensor("h2", (units,), DType.INT8, hidden), h.Tensor("c2", (units,), DType.INT16, cell)
    return h.one_op_graph(op, tensors, [hidden, *kept], rounding)


def svdf_graph(
    inputs: int, units: int, rank: int, memory: int, with_bias: bool, dtype: DType, rounding: Rounding
) -> QuantGraph:
    """One SVDF, whose state of type `dtype` is an input."""
    rng = np.random.default_rng(inputs)
    filters = units * rank
    times = rng.integers(-127, 128, (filters, memory)).astype(dtype.numpy)
    state_zero_point = 6 if dtype is DType.INT8 else 0
    state_scale = 0.05 if dtype is DType.INT8 else 0.0003
    tensors = [
        h.quantized("x", (inputs,), 0.03, -11),
        h.quantized("state", (filters, memory), state_scale, state_zero_point, dtype),
        h.constant("f", rng.integers(-127, 128, (filters, inputs)).astype(np.int8), 0.01),
        h.constant("t", times, 0.004),
        h.constant("b", rng.integers(-3000, 3000, units).astype(np.int32), state_scale * 0.004),
    ]
    op = o.SVDF(
        name="svdf", inputs=("x", "state"), outputs=("y", "kept"), feature_weights="f", time_weights="t",
        bias="b" if with_bias else None, rank=rank, activation=o.RELU,
    )  # fmt: skip
    kept = h.Tensor("kept", (filters, memory), dtype, tensors[1].quantization)
    return h.one_op_graph(op, tensors, [QParams.per_tensor(0.02, -40), kept], rounding)


def recurrent() -> list[tuple[str, QuantGraph]]:
    """Named layers of ordinary size, and odd ones."""
    double = Rounding.DOUBLE
    return [
        ("svdf", svdf_graph(40, 16, 2, 10, True, DType.INT8, double)),
        ("svdf-odd", svdf_graph(7, 5, 1, 5, False, DType.INT8, double)),
        ("svdf-int16", svdf_graph(21, 6, 2, 7, True, DType.INT16, double)),
        ("lstm", lstm_graph(1, (8, 16), 16, -12, 0.0, double)),
        ("lstm-odd", lstm_graph(2, (5, 7), 9, -11, 0.75, double)),
        ("lstm-anew", lstm_graph(3, (3, 1, 6), 5, -12, 0.0, double, starts_anew=True, is_reversed=True)),
    ]
