"""One-operator quantized graphs for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, Rounding, State
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph


def qtensor(name: str, shape: tuple[int, ...], scale: float, zero_point: int, dtype: DType = DType.INT8) -> Tensor:
    """An activation with per-tensor quantization; outputs get their shape from `one_op_graph`."""
    return Tensor(name, shape, dtype, QParams.per_tensor(scale, zero_point))


def weights_tensor(name: str, rng: np.random.Generator, shape: tuple[int, ...], axis: int | None) -> Tensor:
    """Random int8 weights with one scale, or one per slice along `axis`."""
    data = rng.integers(-127, 128, size=shape, dtype=np.int8)
    count = 1 if axis is None else shape[axis]
    scales = tuple(float(s) for s in rng.uniform(0.0008, 0.004, count))
    return Tensor(name, shape, DType.INT8, QParams(scales, (0,) * count, axis), data)


def one_op_graph(
    op: o.Op, tensors: list[Tensor], *, state: tuple[str, str] | None = None, rounding: Rounding = Rounding.DOUBLE
) -> QuantGraph:
    """`op` alone; its non-constant inputs are the graph's, its output shapes are inferred."""
    pool = {t.name: t for t in tensors}
    states = ()
    if state is not None:
        pool[state[1]] = replace(pool[state[0]], name=state[1])
        states = (State(*state),)
    for name, shape in zip(op.outputs, infer(op, pool), strict=True):
        pool[name] = replace(pool[name], shape=shape)
    kept = {s.read for s in states}
    inputs = tuple(GraphInput(n) for n in op.inputs if not pool[n].is_constant and n not in kept)
    outputs = tuple(n for n in op.outputs if state is None or n != state[1])
    return to_quant_graph(Graph("single", inputs, outputs, pool, (op,), states), rounding)
