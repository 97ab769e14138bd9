"""Where a source's batch of 1 stands: in front, or, between recurrent layers and inside attention, elsewhere.

A batch of 1 may be moved, or merged with another axis (heads times batch), without changing any element. So a value
whose batch does not lead has all axes of its source in its shape; one with a leading 1 takes it as its batch again.
Where the batch stands meanwhile matters for outputs alone, and is followed through views only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tinycompress.frontends.layout import Shape
from tinycompress.frontends.values import Value

FIX = "keep the batch axis first and of size 1, except between recurrent layers and inside attention"


def is_whole(value: Value) -> bool:
    """Whether the value's shape holds all axes of the source."""
    return value.batch != 0


def full_shape(value: Value) -> Shape:
    """The source's shape: with the batch of 1 where it leads."""
    return value.shape if is_whole(value) else (1, *value.shape)


def lifted(value: Value) -> Value:
    """The value with all axes of the source in its shape, a batch of 1 still in front of them."""
    return Value(value.tensor, full_shape(value), value.layout)


def placed(value: Value, batch: int | None = None) -> Value:
    """A value whose shape holds all axes of the source: a leading 1 is its batch, else it stands at `batch`."""
    if value.shape[:1] == (1,):
        return Value(value.tensor, value.shape[1:], value.layout)
    return replace(value, batch=batch)


def batch_of_view(value: Value, shape: Shape, perm: Sequence[int] | None = None) -> int | None:
    """Where the batch of `value` stands once its axes are permuted by `perm`, or its elements seen in `shape`.

    None where it is merged: no axis of 1 stands behind as many elements.
    """
    full, at = full_shape(value), value.batch
    if at is None or math.prod(shape) != math.prod(full):
        return None
    if perm is not None:
        return list(perm).index(at)
    before = math.prod(full[:at])
    places = [i for i, size in enumerate(shape) if size == 1 and math.prod(shape[:i]) == before]
    return at if at in places else next(iter(places), None)


def without_batch(value: Value) -> Value | None:
    """The value without its batch; None where that is merged or not known."""
    if not is_whole(value):
        return value
    if value.batch is None:
        return None
    return Value(value.tensor, value.shape[: value.batch] + value.shape[value.batch + 1 :], value.layout)
