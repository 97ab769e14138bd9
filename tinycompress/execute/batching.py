"""How executors take and give arrays: one sample, or a batch with one leading axis, checked against the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Op
from tinycompress.ir.tensor import Array, DType, Tensor


@dataclass(frozen=True)
class Result:
    """What a run made. Arrays have the caller's batch axis, or none when the inputs had none.

    `tensors` holds every activation, graph inputs and outputs included, when the run kept them; `state` is keyed by
    `State.read` and goes straight into the next call.
    """

    outputs: Mapping[str, Array]
    tensors: Mapping[str, Array]
    state: Mapping[str, Array]

    @property
    def output(self) -> Array:
        """The only output; ValueError when there are several."""
        (value,) = self.outputs.values()
        return value


def run_graph(
    graph: Graph,
    inputs: Mapping[str, Array],
    state: Mapping[str, Array] | None,
    keep_tensors: bool,
    execute: Callable[[Op, Sequence[Array]], Sequence[Array]],
    constant: Callable[[Tensor], Array],
) -> Result:
    """Runs `execute` over the operators in order; operands are batched activations and, without batch axis, constants.

    Without `keep_tensors` an activation is dropped after its last reader.
    """
    values, is_batch = batched_inputs(graph, inputs)
    batch = next(iter(values.values())).shape[0] if values else 1
    values.update(initial_state(graph, batch, state))
    wanted = {*graph.outputs, *(s.write for s in graph.states)}
    last_use = {name: i for i, op in enumerate(graph.ops) for name in op.inputs}
    for i, op in enumerate(graph.ops):
        operands = [values[n] if n in values else constant(graph.tensors[n]) for n in op.inputs]
        values.update(zip(op.outputs, execute(op, operands), strict=True))
        if not keep_tensors:
            for name in op.inputs:
                if last_use[name] == i and name not in wanted:
                    values.pop(name, None)

    def give(name: str) -> Array:
        if name not in values:
            return constant(graph.tensors[name])
        return values[name] if is_batch else values[name][0]

    outputs = {name: give(name) for name in graph.outputs}
    tensors = {name: give(name) for name in values} if keep_tensors else dict(outputs)
    return Result(outputs, tensors, {s.read: give(s.write) for s in graph.states})


def batched_inputs(graph: Graph, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], bool]:
    """The inputs with a leading batch axis and the tensors' dtypes, and whether the caller gave a batch.

    ModelError TC-M401 for a missing or unknown name, a shape that fits neither `tensor.shape` nor `(n, *tensor.shape)`,
    differing batch sizes, or values that the dtype cannot hold.
    """
    unknown = sorted(set(inputs) - set(graph.input_names))
    missing = sorted(set(graph.input_names) - set(inputs))
    if unknown or missing:
        raise ModelError(
            "TC-M401",
            f"inputs missing: {missing or 'none'}, unknown: {unknown or 'none'}",
            where=graph.name,
            fix=f"give exactly {list(graph.input_names)}",
        )
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    ranks = {name: array.ndim - len(graph.tensors[name].shape) for name, array in arrays.items()}
    is_batch = all(extra == 1 for extra in ranks.values())
    result = {}
    for name, array in arrays.items():
        shape = graph.tensors[name].shape
        if ranks[name] not in (0, 1) or ranks[name] != int(is_batch) or array.shape[ranks[name] :] != shape:
            raise ModelError(
                "TC-M401",
                f"input {name!r} has shape {list(array.shape)}",
                where=graph.name,
                fix=f"give {list(shape)} for one sample or [n, {', '.join(map(str, shape))}] for a batch",
            )
        result[name] = _cast(array if is_batch else array[np.newaxis], graph.tensors[name])
    sizes = {array.shape[0] for array in result.values()}
    if len(sizes) > 1:
        raise ModelError("TC-M401", f"inputs have different batch sizes: {sorted(sizes)}", where=graph.name)
    return result, is_batch


def _cast(array: Array, tensor: Tensor) -> Array:
    if tensor.dtype is DType.FLOAT32:
        return array.astype(np.float32, copy=False)
    if array.dtype == tensor.dtype.numpy:
        return array
    limits = np.iinfo(tensor.dtype.numpy)
    if array.dtype.kind not in "iu" or (array.size and (array.min() < limits.min or array.max() > limits.max)):
        raise ModelError(
            "TC-M401",
            f"input {tensor.name!r} is {array.dtype}, the graph takes {tensor.dtype.value}",
            where=tensor.name,
            fix="quantize real values with the input's scale and zero point first (ir.inputs.integer_inputs)",
        )
    return array.astype(tensor.dtype.numpy)


def initial_state(graph: Graph, batch: int, given: Mapping[str, Array] | None) -> dict[str, Array]:
    """State tensors with a leading batch axis: those of `given` (with or without it), else `initial` or "all zero"."""
    state: dict[str, Array] = {}
    for entry in graph.states:
        tensor = graph.tensors[entry.read]
        value = None if given is None else given.get(entry.read)
        if value is None and entry.initial is not None:
            value = graph.tensors[entry.initial].constant
        if value is None:
            zero = tensor.quantization.tensor_zero_point if tensor.qparams is not None else 0
            value = np.full(tensor.shape, zero, dtype=tensor.dtype.numpy)
        state[entry.read] = np.broadcast_to(value, (batch, *tensor.shape)).astype(tensor.dtype.numpy)
    return state


def align(array: Array, rank: int, is_constant: bool) -> Array:
    """An operand of an element-wise op with 1s put in, so that it broadcasts against `[n, <rank axes>]`."""
    batch = () if is_constant else array.shape[:1]
    own = array.shape if is_constant else array.shape[1:]
    return array.reshape(*batch, *(1,) * (rank - len(own)), *own)
