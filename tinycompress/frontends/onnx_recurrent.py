"""LSTM nodes of ONNX, lookups in a table, and the views between recurrent layers, where time leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.batch_axis import full_shape
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, Handler, Result, batch_error, refused
from tinycompress.frontends.onnx_file import OnnxNode
from tinycompress.frontends.onnx_whole import on_whole_shapes
from tinycompress.frontends.values import Value
from tinycompress.ir.tensor import Array, DType

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
GATES = (0, 2, 3, 1)
"""Where the gates input, forget, cell, output stand in the file: input, output, forget, cell."""

DEFAULT_ACTIVATIONS = ["Sigmoid", "Tanh", "Tanh"]


def _lstm(b: ChannelsFirstBuilder, call: Call) -> Result:
    """[Y, Y_h, Y_c]: hidden states by step and direction, and the last hidden and cell states by direction."""
    directions = _checked(call)
    is_batch_first = bool(call.node.get("layout", 0))
    shape = full_shape(call.value())
    at = 0 if is_batch_first else 1
    if len(shape) != 3 or shape[at] != 1:
        raise batch_error("reads a sequence whose batch is not the axis that its layout says")
    x = b.reshape(call.value(), shape[:at] + shape[at + 1 :])
    weights, recurrent, bias = call.weights(1), call.weights(2), call.real(3)
    count, units = len(directions), recurrent.shape[-1]
    shapes = {"W": (weights, (count, 4 * units, x.shape[1])), "R": (recurrent, (count, 4 * units, units)),
              "B": (bias, (count, 8 * units))}  # fmt: skip
    for name, (found, wanted) in shapes.items():
        if found is not None and found.shape != wanted:
            raise ModelError("TC-M306", f"{name} is {list(found.shape)}, not {list(wanted)}")
    lengths = call.integers(4)
    if lengths is not None and set(lengths) != {x.shape[0]}:
        raise refused(f"reads {lengths} of {x.shape[0]} steps", "leave sequence_lens out, or cut the sequence before")
    hidden, cell = (_initial(call, position, (count, units)) for position in (5, 6))
    made, last = [], []
    for i, is_reversed in enumerate(directions):
        y, *states = b.lstm(
            x,
            _by_gate(weights[i], units),
            _by_gate(recurrent[i], units),
            None if bias is None else _by_gate(bias[i, : 4 * units] + bias[i, 4 * units :], units),
            hidden[i],
            cell[i],
            suffix="_reverse" if i else "",
            is_reversed=is_reversed,
        )
        made.append(y)
        last.append(states)
    joined = made[0] if count == 1 else b.concat(made, 1)
    states = [_stacked(b, [s[i] for s in last]) for i in range(2)]
    if is_batch_first:
        return [b.reshape(joined, (x.shape[0], count, units)), *states]
    outputs = b.reshape(joined, (x.shape[0], count, 1, units))
    return [replace(outputs, batch=2), *(replace(b.reshape(s, (count, 1, units)), batch=1) for s in states)]


def _checked(call: Call) -> tuple[bool, ...]:
    """For each direction, whether it runs backwards; UnsupportedOpError TC-M304 for what the IR's LSTM is not."""
    node = call.node
    directions = DIRECTIONS.get(node.get("direction", "forward"))
    if directions is None:
        raise ModelError("TC-M306", f"direction {node.get('direction')!r} is not one")
    activations = node.get("activations") or DEFAULT_ACTIVATIONS * len(directions)
    problems = {
        "other functions than sigmoid and tanh": list(activations) != DEFAULT_ACTIVATIONS * len(directions),
        "a clip": bool(node.get("clip", 0.0)),
        "coupled input and forget gates": bool(node.get("input_forget", 0)),
        "peephole weights": call.has(7) and bool(np.any(call.constant(7))),
    }
    found = [what for what, is_there in problems.items() if is_there]
    if found:
        raise refused(f"uses {' and '.join(found)}", "use a plain LSTM layer with its default activations")
    return directions


def _initial(call: Call, position: int, shape: tuple[int, int]) -> Array:
    """An initial state by direction, zeros where there is none."""
    if not call.has(position):
        return np.zeros(shape, np.float32)
    if isinstance(call.operand(position), Value):
        raise refused("its initial state is computed by the network", "leave it out, or make it a constant")
    found = call.weights(position)
    if found.size != shape[0] * shape[1]:
        raise ModelError("TC-M306", f"an initial state is {list(found.shape)}, for {list(shape)}")
    return found.reshape(shape)


def _by_gate(values: Array, units: int) -> Array:
    return values.reshape(4, units, *values.shape[1:])[list(GATES)]


def _stacked(b: ChannelsFirstBuilder, states: Sequence[Value]) -> Value:
    rows = [b.reshape(state, (1, *state.shape)) for state in states]
    return rows[0] if len(rows) == 1 else b.concat(rows, 0)


RECURRENT_HANDLERS: dict[str, Handler] = {"LSTM": _lstm}


def handler_for(call: Call, ordinary: Handler) -> Handler:
    """The `ordinary` handler, unless the node is about a batch that does not lead, or about indices."""
    kind = call.node.kind
    if kind == "Gather" and not isinstance(call.operand(0), Value):
        return _look_up
    if kind == "Cast" and call.node.get("to") in (6, 7):
        return _index_cast(ordinary)
    return ordinary if kind in RECURRENT_HANDLERS else on_whole_shapes(call, ordinary)


def _look_up(b: ChannelsFirstBuilder, call: Call) -> Result:
    """Gather of a constant's rows is an embedding."""
    table = call.weights(0)
    if table.ndim != 2 or int(call.node.get("axis", 0)) % table.ndim != 0:
        raise refused(f"looks up in a constant of shape {list(table.shape)}", "look up rows of a matrix")
    return b.embedding(call.value(1), table)


def _index_cast(ordinary: Handler) -> Handler:
    """Indices of 32 bits and of 64 are the same."""

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        x = call.value()
        return x if b.tensors[x.tensor].dtype is DType.INT32 else ordinary(b, call)

    return handler


def is_index_input(readers: Sequence[OnnxNode], name: str) -> bool:
    """Whether all that reads an input of integers looks up rows by it."""
    return bool(readers) and all(n.kind == "Gather" and n.inputs[0] != name for n in readers)


def reads_sequences(node: OnnxNode) -> bool:
    """Whether a reader of `[batch, time, features]` takes features last: an LSTM, or a transpose before one."""
    return node.kind == "LSTM" or (node.kind == "Transpose" and list(node.get("perm") or ()) == [1, 0, 2])


def sequence_batch(shape: Sequence[int | None], readers: Sequence[OnnxNode]) -> int:
    """The batch axis of an input: 1 for the time-major sequence of an LSTM, else 0."""
    is_sequence = len(shape) == 3 and shape[0] not in (None, 0, 1) and shape[1] in (None, 0, 1)
    return int(is_sequence and bool(readers) and all(n.kind == "LSTM" and not n.get("layout", 0) for n in readers))
