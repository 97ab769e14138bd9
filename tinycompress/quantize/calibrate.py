"""Calibration: real inputs through the float graph, and the range that each activation takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.execute import float_reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array, DType
from tinycompress.quantize.observers import Observer, Range, make_observer
from tinycompress.quantize.recurrent import cell_states, cell_tensors

Calibration = Array | Sequence[Array] | Mapping[str, Array]
"""Real inputs `(n, *shape)`: the one input's, one array per graph input in order, or by tensor name."""

BATCH_BYTES = 64 << 20
"""All float32 activations of one calibration batch stay below this, if one sample does."""

RECOMMENDED = "give 100 to 500 training samples, without augmentation"


def calibration_inputs(graph: Graph, calibration: Calibration) -> dict[str, Array]:
    """Checked batches by input name: float32, or int32 for inputs of indices.

    ModelError TC-M411 for none, too few arrays, a wrong shape or an empty or differing number of samples, TC-M412 for
    values that are not finite.
    """
    if isinstance(calibration, Mapping):
        arrays = dict(calibration)
    else:
        given = [calibration] if isinstance(calibration, np.ndarray) else list(calibration)
        if len(given) != len(graph.inputs):
            raise ModelError(
                "TC-M411",
                f"{len(given)} calibration arrays for {len(graph.inputs)} inputs",
                where=graph.name,
                fix=f"give one array per input: {', '.join(graph.input_names)}",
            )
        arrays = dict(zip(graph.input_names, given, strict=True))
    result = {}
    for name in graph.input_names:
        array = arrays.get(name)
        shape = graph.tensors[name].shape
        if array is None or np.ndim(array) != len(shape) + 1 or np.shape(array)[1:] != shape or len(array) == 0:
            found = "absent" if array is None else f"shaped {list(np.shape(array))}"
            wanted = ", ".join(["n", *map(str, shape)])
            raise ModelError("TC-M411", f"calibration data is {found}, not [{wanted}]", where=name, fix=RECOMMENDED)
        real = np.asarray(array, dtype=np.float32)
        if not np.isfinite(real).all():
            bad = int(np.count_nonzero(~np.isfinite(real).reshape(len(real), -1).all(axis=1)))
            raise ModelError(
                "TC-M412", f"{bad} of {len(real)} calibration samples have NaN or infinity", where=name, fix=RECOMMENDED
            )
        result[name] = real if graph.tensors[name].dtype is DType.FLOAT32 else np.asarray(array).astype(np.int32)
    if len({len(a) for a in result.values()}) > 1:
        counts = {name: len(a) for name, a in result.items()}
        raise ModelError("TC-M411", f"calibration inputs differ in samples: {counts}", where=graph.name)
    return result


def observe(graph: Graph, inputs: Mapping[str, Array], activations: str) -> dict[str, Range]:
    """The range of every activation of `graph` over the calibration `inputs`.

    `activations` names the observer; graph inputs, outputs and cell states always use minmax; indices have no range.
    A graph that `carries_state` takes samples as one sequence, in order. ModelError TC-M413 when an activation is not
    finite.
    """
    samples = len(next(iter(inputs.values())))
    step = batch_size(graph)
    state: Mapping[str, Array] | None = None
    plain = {*graph.input_names, *graph.outputs, *cell_tensors(graph)}
    is_carried = carries_state(graph)
    observers: dict[str, Observer] = {}
    for first in range(0, samples, step):
        batch = {name: array[first : first + step] for name, array in inputs.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            result = float_reference.run(graph, batch, state)
        state = result.state if is_carried else None
        real = {n: v for n, v in result.tensors.items() if graph.tensors[n].dtype is DType.FLOAT32}
        for name, values in (real | cell_states(graph, result.tensors)).items():
            if not np.isfinite(values).all():
                raise ModelError(
                    "TC-M413",
                    f"activation {name!r} is NaN or infinite on calibration data",
                    where=_producer_name(graph, name),
                    fix="check the preprocessing of the calibration data and the model's weights",
                )
            if name not in observers:
                kind = "minmax" if name in plain else activations
                observers[name] = make_observer(kind, samples * graph.tensors[name].elements)
            observers[name].update(values)
    return {name: observer.range() for name, observer in observers.items()}


def batch_size(graph: Graph) -> int:
    """Samples per batch so that all activations together stay near BATCH_BYTES; 1 when samples depend on each other."""
    if carries_state(graph):
        return 1
    sample_bytes = sum(4 * t.elements for t in graph.tensors.values() if not t.is_constant)
    return max(1, BATCH_BYTES // max(1, sample_bytes))


def carries_state(graph: Graph) -> bool:
    """Whether a sample continues the one before it.

    So it is with state, unless all of it is that of LSTMs that see several steps at once: their samples are sequences
    by themselves, each from the initial state.
    """
    sequences = [op for op in graph.ops if isinstance(op, o.LSTM) and graph.tensors[op.inputs[0]].shape[0] > 1]
    return not {s.read for s in graph.states} <= {n for op in sequences for n in op.inputs[1:]}


def _producer_name(graph: Graph, tensor: str) -> str:
    producer = graph.producer(tensor)
    return graph.name if producer is None else producer.name
