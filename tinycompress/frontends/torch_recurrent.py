"""nn.LSTM and nn.Embedding, and the views of what an LSTM returns: its states have the batch as their second axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.frontends import batch_axis as ba
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.torch_calls import Call, Handler, Result, entries
from tinycompress.frontends.values import Value, refuse
from tinycompress.ir.tensor import Array


def _lstm(b: ChannelsFirstBuilder, call: Call) -> Result:
    """All layers and directions: [output, last hidden states, last cell states], the latter by layer and direction."""
    x = call.value("input")
    directions = 2 if call["bidirectional"] else 1
    layers = int(call["num_layers"]) * directions
    params: Sequence[Array] = [np.asarray(p, dtype=np.float32) for p in call["params"]]
    count = len(params) // layers
    if not call["batch_first"]:
        raise refuse("takes time before the batch", "construct it with batch_first=True")
    if call["train"] and call["dropout"]:
        raise refuse("dropout that stays active at inference", "export in evaluation mode")
    if count not in (2, 4) or len(params) != count * layers:
        raise refuse("projects its hidden state", "construct it without proj_size")
    if any(isinstance(state, Value) for state in call["hx"]):
        raise refuse("its initial state is computed by the network", "leave it out, or make it a constant")
    hidden, cell = (np.asarray(state, dtype=np.float32)[:, 0] for state in call["hx"])
    last: list[tuple[Value, Value]] = []
    for layer in range(0, layers, directions):
        made = []
        for direction in range(directions):
            at = layer + direction
            weights, recurrent, *biases = params[count * at : count * (at + 1)]
            units = recurrent.shape[1]
            y, *states = b.lstm(
                x,
                weights.reshape(4, units, -1),
                recurrent.reshape(4, units, units),
                (biases[0] + biases[1]).reshape(4, units) if biases else None,
                hidden[at],
                cell[at],
                suffix=_suffix(layer // directions, direction),
                is_reversed=direction == 1,
            )
            made.append(y)
            last.append((states[0], states[1]))
        x = made[0] if directions == 1 else b.concat(made, 1)
    return [x, _stacked(b, [h for h, _ in last]), _stacked(b, [c for _, c in last])]


def _suffix(layer: int, direction: int) -> str:
    """As torch numbers its parameters; nothing for the first."""
    return ("" if layer == 0 and direction == 0 else f"_l{layer}") + ("_reverse" if direction else "")


def _stacked(b: ChannelsFirstBuilder, states: Sequence[Value]) -> Value:
    """States by layer as torch gives them, `(layers, batch, units)`."""
    rows = [b.reshape(state, (1, *state.shape)) for state in states]
    return replace(rows[0] if len(rows) == 1 else b.concat(rows, 0), batch=1)


def _embedding(b: ChannelsFirstBuilder, call: Call) -> Result:
    return b.embedding(call.value("indices"), call.constant("weight"))


def _dims(call: Call) -> list[int]:
    found: Any = call["dim"]
    return [int(d) for d in np.atleast_1d(found)]


def _permuted(b: ChannelsFirstBuilder, call: Call) -> Result:
    return ba.permuted(b, call.value(), permutation(call))


def permutation(call: Call) -> list[int]:
    """What a permute or a transpose does to the axes, the batch included."""
    rank = len(call.value().shape) + 1
    if "dims" in call.args:
        return [int(d) % rank for d in call["dims"]]
    perm = list(range(rank))
    first, second = int(call["dim0"]) % rank, int(call["dim1"]) % rank
    perm[first], perm[second] = second, first
    return perm


def _squeezed(b: ChannelsFirstBuilder, call: Call) -> Result:
    return ba.squeezed(b, call.value(), _dims(call))


def _selected(b: ChannelsFirstBuilder, call: Call) -> Result:
    return ba.selected(b, call.value(), int(call["dim"]), int(call["index"]))


def _sliced(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, dim = call.value(), int(call["dim"])
    size = ba.full_shape(x)[dim]
    begin, end = (default if v is None else int(v) for v, default in ((call["start"], 0), (call["end"], size)))
    return x if (begin, end >= size, call["step"]) == (0, True, 1) else ba.sliced(b, x, dim, begin, end, call["step"])


def _joined(b: ChannelsFirstBuilder, call: Call) -> Result:
    values = list(call["tensors"])
    if not all(isinstance(v, Value) for v in values):
        raise refuse("joining a constant to a state", "leave it out")
    return ba.joined(b, values, int(call["dim"]))


def _unbound(b: ChannelsFirstBuilder, call: Call) -> Result:
    x, dim = call.value(), int(call["dim"])
    return [ba.selected(b, x, dim, i) for i in range(ba.full_shape(x)[dim])]


def _same(b: ChannelsFirstBuilder, call: Call) -> Result:
    return call.value("input" if "input" in call.args else "self")


RECURRENT: dict[str, Handler] = {
    **entries("lstm.input", _lstm),
    **entries("embedding.default", _embedding),
}

MOVED_BATCH: dict[str, Handler] = {
    **entries("permute.default transpose.int swapaxes.default", _permuted),
    **entries("squeeze.dim squeeze.dims", _squeezed),
    **entries("select.int", _selected),
    **entries("slice.Tensor", _sliced),
    **entries("cat.default concat.default", _joined),
    **entries("unbind.int", _unbound),
    **entries("clone.default contiguous.default detach.default alias.default", _same),
}
"""Calls on values whose batch does not lead, or that move it; other calls on such values are refused."""


def has_moved_batch(target: str, call: Call) -> bool:
    """Whether a call reads a value whose batch does not lead, or moves the batch of a sequence."""
    values = [v for a in call.args.values() for v in (a if isinstance(a, (list, tuple)) else [a])]
    if any(isinstance(v, Value) and v.batch for v in values):
        return True
    return MOVED_BATCH.get(target) is _permuted and ba.is_moved(call.value(), permutation(call))
