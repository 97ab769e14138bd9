"""Views of source tensors whose batch axis need not lead: sequences with time first, states with layers first.

Axes and shapes here are the source's own, the batch of 1 included; `Value.batch` says where it stands. Operators that
are not of this kind take values with the batch in front only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.values import Value, refuse

FIX = "keep the batch axis first and of size 1, except between recurrent layers"


def is_moved(value: Value, perm: Sequence[int]) -> bool:
    """Whether transposing a sequence (batch, time and features in any order) moves its batch."""
    return len(value.shape) == 2 and len(perm) == 3 and perm[value.batch] % 3 != value.batch


def full_shape(value: Value) -> tuple[int, ...]:
    """The source's shape: with the batch of 1 at its place."""
    return (*value.shape[: value.batch], 1, *value.shape[value.batch :])


def batch_free(value: Value, axis: int) -> int:
    """The batch-free axis of one of the source's; UnsupportedOpError TC-M101 when it is the batch."""
    rank = len(value.shape) + 1
    if not -rank <= axis < rank:
        raise refuse(f"axis {axis} is outside a rank of {rank}", FIX)
    axis %= rank
    if axis == value.batch:
        raise refuse("works along the batch axis", FIX)
    return axis - (axis > value.batch)


def permuted(b: ChannelsFirstBuilder, value: Value, perm: Sequence[int]) -> Value:
    """The source transposed; the batch moves along."""
    order = tuple(batch_free(value, p) for p in perm if p % len(perm) != value.batch)
    moved = value if order == tuple(range(len(order))) else b.transpose(value, order)
    return replace(moved, batch=[p % len(perm) for p in perm].index(value.batch))


def squeezed(b: ChannelsFirstBuilder, value: Value, axes: Sequence[int]) -> Value:
    """The source without some of its axes of size 1; the batch stays."""
    dropped = {batch_free(value, axis) for axis in axes}
    if any(value.shape[axis] != 1 for axis in dropped):
        raise refuse(f"cannot squeeze axes {list(axes)} of {list(full_shape(value))}", "drop axes of size 1 only")
    shape = tuple(s for axis, s in enumerate(value.shape) if axis not in dropped)
    return replace(b.reshape(value, shape), batch=value.batch - sum(axis < value.batch for axis in dropped))


def selected(b: ChannelsFirstBuilder, value: Value, axis: int, index: int) -> Value:
    """One index of an axis, which goes."""
    at = batch_free(value, axis)
    size = value.shape[at]
    if not -size <= index < size:
        raise refuse(f"index {index} is outside an axis of {size}", "select one of its indices")
    index %= size
    part = replace(b.slice(value, at, index, index + 1, 1), batch=value.batch)
    return squeezed(b, part, [axis])


def sliced(b: ChannelsFirstBuilder, value: Value, axis: int, begin: int, end: int, step: int) -> Value:
    """`source[begin:end:step]` along one axis; negative and excessive bounds mean what they do in Python."""
    at = batch_free(value, axis)
    begin, end, _ = slice(begin, end).indices(value.shape[at])
    if end <= begin or step < 1:
        raise refuse(f"slices nothing, or with step {step}", "use positive steps")
    return replace(b.slice(value, at, begin, end, step), batch=value.batch)


def joined(b: ChannelsFirstBuilder, values: Sequence[Value], axis: int) -> Value:
    """The sources joined along one axis."""
    if len({v.batch for v in values}) > 1 or len({len(v.shape) for v in values}) > 1:
        raise refuse("joins values whose batch axes differ", FIX)
    return replace(b.concat(values, batch_free(values[0], axis)), batch=values[0].batch)


def reshaped(b: ChannelsFirstBuilder, value: Value, shape: Sequence[int]) -> Value:
    """The source in another shape; its batch is the axis of 1 behind as many elements as before."""
    before = math.prod(value.shape[: value.batch])
    places = [i for i, size in enumerate(shape) if size == 1 and math.prod(shape[:i]) == before]
    if not places or math.prod(shape) != math.prod(value.shape):
        raise refuse(f"its result of shape {list(shape)} has no batch axis of 1", FIX)
    batch = value.batch if value.batch in places else places[0]
    return replace(b.reshape(value, (*shape[:batch], *shape[batch + 1 :])), batch=batch)
