"""nn.LSTM and nn.Embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

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
    joined = rows[0] if len(rows) == 1 else b.concat(rows, 0)
    return replace(b.reshape(joined, (len(states), 1, joined.shape[-1])), batch=1)


def _embedding(b: ChannelsFirstBuilder, call: Call) -> Result:
    return b.embedding(call.value("indices"), call.constant("weight"))


RECURRENT: dict[str, Handler] = {
    **entries("lstm.input", _lstm),
    **entries("embedding.default", _embedding),
}
