"""The weight stream of the 2 outputs x 2 pixels matrix core (codegen/kernels/tc_gemm_dsp.h), and its cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.kernels.requantize_dsp import UNSHIFTED_FORMS, Channels, Int64, Requantization, form_instructions

MAX_STEPS = 18
_CHUNK_STEPS = range(9, MAX_STEPS + 1)
_LOOP_INSTRUCTIONS = 3


@dataclass(frozen=True)
class Depth:
    """How the core walks K: `chunks` rounds of `steps` groups of 4 values; K is padded with zero weights."""

    steps: int
    chunks: int

    @property
    def groups(self) -> int:
        return self.steps * self.chunks


def depth_for(groups: int) -> Depth:
    """The cheapest walk over at least `groups` groups of 4 values: straight-line up to 18, else equal chunks."""
    if groups <= MAX_STEPS:
        return Depth(groups, 1)
    options = (Depth(steps, -(-groups // steps)) for steps in _CHUNK_STEPS)
    return min(options, key=lambda d: d.chunks * (10 * d.steps + _LOOP_INSTRUCTIONS))


def core_instructions(form: int, depth: Depth, outputs: int) -> int:
    """Counted instructions of the core for a pair of pixels and all `outputs` channels."""
    loops = _LOOP_INSTRUCTIONS * depth.chunks if depth.chunks > 1 else 0
    block = 10 + 4 * form_instructions(form) + 10 * depth.groups + loops
    is_two = depth.chunks == 1 and outputs % 4 < 2
    return -(-outputs // 2) * block - is_two * (outputs // 4) * (2 if form in UNSHIFTED_FORMS else 3)


def channels_of(weights: NDArray[Any], folded_bias: NDArray[Any], multiplier: Any, shift: Any) -> Channels:
    """Exact accumulator ranges over raw int8 activations −128 … 127. `weights` is (outputs, K)."""
    w = weights.astype(np.int64)
    positive = np.where(w > 0, w, 0).sum(axis=1)
    negative = np.where(w < 0, -w, 0).sum(axis=1)
    bias = folded_bias.astype(np.int64)
    return Channels(
        multiplier=np.asarray(multiplier, np.int64),
        shift=np.asarray(shift, np.int64),
        low=bias - 128 * positive - 127 * negative,
        high=bias + 127 * positive + 128 * negative,
        largest_weight=np.abs(w).max(axis=1, initial=0),
    )


def lane_words(values: Int64) -> Int64:
    """int16 values `(..., 4·n)` as words `(..., 2·n)`: each 4 values become lanes (0, 2) and (1, 3)."""
    quads = values.reshape(*values.shape[:-1], -1, 4) & 0xFFFF
    words = np.stack([quads[..., 0] | quads[..., 2] << 16, quads[..., 1] | quads[..., 3] << 16], axis=-1)
    return words.reshape(*values.shape[:-1], -1)


def to_words(values: NDArray[Any]) -> NDArray[np.int32]:
    """Integers modulo 2^32 as int32."""
    return np.ascontiguousarray((values & 0xFFFFFFFF).astype(np.uint32)).view(np.int32)


def pack_stream(
    weights: NDArray[Any], folded_bias: NDArray[Any], requantization: Requantization, depth: Depth
) -> NDArray[np.int32]:
    """The stream as int32: weights `(outputs, K)` with K ≤ 4·groups in lane order, outputs padded to a pair."""
    outputs, k = weights.shape
    pairs = -(-outputs // 2)
    scaled = np.zeros((2 * pairs, 4 * depth.groups), np.int64)
    scaled[:outputs, :k] = weights.astype(np.int64) * requantization.weight_scale[:, None]
    columns = np.zeros((2 * pairs, 3), np.int64)
    columns[:outputs, 0] = folded_bias.astype(np.int64) * requantization.weight_scale
    columns[:outputs, 1] = requantization.multiplier
    columns[:outputs, 2] = requantization.addend
    bias = np.repeat(columns[:, 0].reshape(pairs, 2), 2, axis=1)
    words = lane_words(scaled).reshape(pairs, 2, depth.groups, 2).swapaxes(1, 2).reshape(pairs, -1)
    constants = columns[:, 1:].reshape(pairs, 4)
    stream: NDArray[np.int64] = np.concatenate([bias, words, constants], axis=1)
    return to_words(stream).ravel()
