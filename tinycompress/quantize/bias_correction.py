"""Empirical bias correction: each channel's mean error, E[Ŵx̂ − Wx], is taken off its bias (METHODS B4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinycompress.execute import float_reference, reference
from tinycompress.execute.batching import initial_state
from tinycompress.execute.reference_steps import Context
from tinycompress.ir.fixedpoint import dequantize_values, quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.ops import NO_ACTIVATION
from tinycompress.ir.tensor import Array, Tensor
from tinycompress.quantize.constants import WEIGHTED, WeightedOp

SAMPLES = 128
"""Calibration samples used; the mean over them and over all positions is what is corrected."""


def corrected_biases(graph: Graph, quantized: QuantGraph, inputs: Mapping[str, Array]) -> QuantGraph:
    """`quantized` with biases shifted so that pre-activation means equal the float graph's on real `inputs`.

    `quantized` has the operators of the float `graph`, in its order. Layer by layer, each seeing the corrected layers
    before it. Operators without a bias stay as they are.
    """
    samples = {name: array[:SAMPLES] for name, array in inputs.items()}
    floats = float_reference.run(graph, samples).tensors
    tensors = dict(quantized.tensors)
    values = {n: v if v.dtype == np.int32 else quantize_values(v, tensors[n].quantization, tensors[n].dtype)
              for n, v in samples.items()}  # fmt: skip
    values.update(initial_state(quantized, len(next(iter(samples.values()))), None))
    for op, float_op in zip(quantized.ops, graph.ops, strict=True):
        if isinstance(op, WEIGHTED) and isinstance(float_op, WEIGHTED) and op.bias is not None:
            name = op.inputs[0]
            seen = dequantize_values(values[name], tensors[name].quantization)
            error = _mean_output(op, seen, tensors) - _mean_output(float_op, floats[name], graph.tensors)
            tensors[op.bias] = _shifted(tensors[op.bias], error)
        context = Context(tensors, quantized.rounding)
        operands = [values[n] if n in values else tensors[n].constant for n in op.inputs]
        values.update(zip(op.outputs, reference.execute(op, operands, context), strict=True))
    return replace(quantized, tensors=tensors)


def _mean_output(op: WeightedOp, x: Array, tensors: Mapping[str, Tensor]) -> Array:
    """Mean per output channel before the activation, in float64."""
    (output,) = float_reference.execute(replace(op, activation=NO_ACTIVATION), [x], tensors)
    return np.asarray(output.mean(axis=tuple(range(output.ndim - 1)), dtype=np.float64))


def _shifted(bias: Tensor, error: Array) -> Tensor:
    values = bias.constant - np.round(error / np.asarray(bias.quantization.scale))
    return bias.with_data(np.clip(values, -(2.0**31), 2.0**31 - 1).astype(np.int32))
