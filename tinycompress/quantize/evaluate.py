"""Outputs and accuracy of a graph over a data set, in batches that bound memory: float or integer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.execute import float_reference, reference
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.tensor import Array, DType
from tinycompress.quantize.calibrate import batch_size, carries_state


def predict(graph: Graph, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Every output over all samples `(n, …)`, as the graph gives it: float32, or integers from a QuantGraph.

    `inputs` are what the graph takes, the one input's array or by name; for a QuantGraph real values (floats, after
    preprocessing) are quantized first. A graph that `carries_state` takes the samples as one sequence, in order.
    """
    arrays = dict(inputs) if isinstance(inputs, Mapping) else {graph.input_names[0]: np.asarray(inputs)}
    samples = len(next(iter(arrays.values())))
    step, is_carried = batch_size(graph), carries_state(graph)
    parts: dict[str, list[Array]] = {name: [] for name in graph.outputs}
    state: Mapping[str, Array] | None = None
    for first in range(0, max(samples, 1), step):
        batch = {name: array[first : first + step] for name, array in arrays.items()}
        if isinstance(graph, QuantGraph):
            result = reference.run(graph, _integers(graph, batch), state, keep_tensors=False)
        else:
            result = float_reference.run(graph, batch, state, keep_tensors=False)
        state = result.state if is_carried else None
        for name, value in result.outputs.items():
            parts[name].append(value)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _integers(graph: QuantGraph, batch: Mapping[str, Array]) -> dict[str, Array]:
    result = {}
    for name, array in batch.items():
        tensor = graph.tensors[name]
        is_real = array.dtype.kind == "f" and tensor.dtype is not DType.FLOAT32
        result[name] = quantize_values(array, tensor.quantization, tensor.dtype) if is_real else array
    return result


def accuracy(graph: Graph, inputs: Array | Mapping[str, Array], labels: Array) -> float:
    """Share of samples whose largest output is `labels[i]`, of the graph's only output; the first of equals counts.

    ModelError TC-M415 when there are several outputs or not one label per sample.
    """
    outputs = predict(graph, inputs)
    if len(outputs) != 1:
        raise ModelError("TC-M415", f"accuracy needs one output, the graph has {len(outputs)}", where=graph.name)
    (scores,) = outputs.values()
    if len(labels) != len(scores) or len(labels) == 0:
        raise ModelError("TC-M415", f"{len(labels)} labels for {len(scores)} samples", where=graph.name)
    return float((scores.reshape(len(scores), -1).argmax(axis=1) == np.asarray(labels)).mean())
