"""From the user's samples to what a graph takes: layout, preprocessing, quantization; the same for all stages.

And back: outputs in the axis order of the user's own model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycompress.errors import ConfigError
from tinycompress.ir.fixedpoint import integer_range, quantize_values
from tinycompress.ir.graph import Graph, GraphInput, Preprocess
from tinycompress.ir.ops import Embedding
from tinycompress.ir.tensor import Array, DType

_TO_CHANNELS_LAST = {"CHW": (0, 2, 3, 1), "CT": (0, 2, 1), "CL": (0, 2, 1)}


def preprocess(samples: Array, settings: Preprocess) -> Array:
    """real = (user · scale − mean) / std in float32; mean and std per last axis or scalar."""
    real = np.asarray(samples, dtype=np.float32)
    if settings.is_identity:
        return real
    mean, std = np.asarray(settings.mean, np.float32), np.asarray(settings.std, np.float32)
    return ((real * np.float32(settings.scale) - mean) / std).astype(np.float32)


def to_graph_layout(samples: Array, entry: GraphInput, shape: tuple[int, ...]) -> Array:
    """A batch `(n, …)` in the user's layout as `(n, *shape)`; channels-last data is taken as it is.

    ConfigError TC-C107 when neither the user's layout nor the graph's shape fits.
    """
    moved = samples
    order = _TO_CHANNELS_LAST.get(entry.source_layout)
    if order is not None and samples.ndim == len(order):
        candidate = samples.transpose(order)
        if candidate.size == candidate.shape[0] * int(np.prod(shape)) and _same(candidate.shape[1:], shape):
            moved = candidate
    if not _same(moved.shape[1:], shape):
        wanted = _wanted(shape, entry.source_layout)
        raise ConfigError(
            "TC-C107",
            f"samples are {list(samples.shape[1:])}, input {entry.tensor!r} takes {wanted}",
            fix="give one leading sample axis and then the axes of the model's own input",
        )
    return moved.reshape(len(moved), *shape)


def _wanted(shape: tuple[int, ...], layout: str) -> str:
    """A sample's shape as the user writes it, with the names of the axes where they are known."""
    order = _TO_CHANNELS_LAST.get(layout, ())
    if len(order) == len(shape) + 1:
        shape = tuple(shape[order.index(axis) - 1] for axis in range(1, len(order)))
    return f"{list(shape)}{f' ({layout})' if len(layout) == len(shape) else ''}"


def _same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal up to axes of size 1 (a grey image without channel axis, a series without width)."""
    return tuple(s for s in shape if s != 1) == tuple(s for s in wanted if s != 1)


def source_axes(layout: str) -> tuple[int, ...]:
    """For each axis of a user's layout, the tensor's axis that holds it; a series `[t,1,c]` counts as `[t,c]`."""
    letters = {3: "HWC", 2: "TC"}.get(len(layout), layout)
    return tuple(letters.index(letter) for letter in layout)


def to_source_layout(values: Array, layout: str) -> Array:
    """A batch `(n, *shape)` of an output in the user's axis order `layout`; as it is where that is empty."""
    if not layout:
        return values
    if len(layout) == 2 and values.ndim == 4:
        values = values.reshape(len(values), values.shape[1], values.shape[3])
    return values.transpose(0, *(1 + axis for axis in source_axes(layout)))


def source_outputs(outputs: Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """Outputs `(n, *shape)` by name, each in the axis order of the user's own model."""
    return {name: to_source_layout(values, graph.output_layout(name)) for name, values in outputs.items()}


def real_inputs(samples: Array, graph: Graph, index: int = 0) -> Array:
    """User samples `(n, …)` as the batch that input `index` of a float graph takes: float32, or int32 indices."""
    entry = graph.inputs[index]
    if graph.tensors[entry.tensor].dtype is DType.INT32:
        return _indices(samples, graph, index)
    return preprocess(to_graph_layout(samples, entry, graph.tensors[entry.tensor].shape), entry.preprocess)


def _indices(samples: Array, graph: Graph, index: int) -> Array:
    """User samples of an input of indices as int32; ConfigError TC-C107 where they are not whole numbers of that size.

    Beyond int32 there is no table, so such an index is a mistake and not clamped.
    """
    entry = graph.inputs[index]
    whole = samples.astype(np.int32)
    if not np.array_equal(whole, samples):
        raise ConfigError(
            "TC-C107",
            f"input {entry.tensor!r} takes indices; the samples are not whole numbers of 32 bits",
            fix="give the indices as integers",
        )
    return to_graph_layout(whole, entry, graph.tensors[entry.tensor].shape)


def inputs_by_name(samples: Array | Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """User samples of every input, by tensor name in the graph's order: one array, or several by name.

    Names are the tensors', the user's own, or x0, x1 … in order. ConfigError TC-C107 when they do not match.
    """
    names = graph.input_names
    if not isinstance(samples, Mapping):
        if len(names) == 1:
            return {names[0]: samples}
        found = "one array"
    else:
        for keys in (names, [graph.tensors[n].source for n in names], [f"x{i}" for i in range(len(names))]):
            if set(keys) == set(samples):
                return {name: samples[key] for name, key in zip(names, keys, strict=True)}
        found = ", ".join(samples)
    raise ConfigError(
        "TC-C107",
        f"the samples are {found}; the model takes {', '.join(names)}",
        fix="give one array per input, named after it",
    )


def real_batches(samples: Array | Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """`inputs_by_name` as the float32 batches that a float graph takes."""
    named = inputs_by_name(samples, graph)
    return {name: real_inputs(array, graph, i) for i, (name, array) in enumerate(named.items())}


def integer_inputs(samples: Array, graph: Graph, index: int = 0) -> Array:
    """User samples `(n, …)` as the integer batch that input `index` of a quantized graph takes.

    Samples that already have the input's integer dtype are taken as quantized values, bit for bit; uint8 samples of an
    int8 input without preprocessing of their own are real values like any other.
    """
    entry = graph.inputs[index]
    tensor = graph.tensors[entry.tensor]
    if tensor.dtype is DType.INT32 and tensor.qparams is None:
        return _indices(samples, graph, index)
    if samples.dtype == tensor.dtype.numpy and tensor.dtype is not DType.FLOAT32:
        return to_graph_layout(samples, entry, tensor.shape)
    return quantize_values(real_inputs(samples, graph, index), tensor.quantization, tensor.dtype)


def integer_batches(samples: Array | Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """`inputs_by_name` as the integer batches that a quantized graph takes."""
    named = inputs_by_name(samples, graph)
    return {name: integer_inputs(array, graph, i) for i, (name, array) in enumerate(named.items())}


def noise_range(graph: Graph, name: str) -> tuple[int, int]:
    """The values an input is tried with: its integer range; for indices, the table and one step beyond each end."""
    tables = [graph.tensors[op.table].shape[0] for op in graph.consumers(name) if isinstance(op, Embedding)]
    return (-1, max(tables)) if tables else integer_range(graph.tensors[name].dtype)
