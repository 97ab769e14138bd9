"""Where a source's batch of 1 stands: in front, or, between recurrent layers and inside attention, anywhere.

A batch of 1 may be moved, or merged with another axis (heads times batch), without changing any element. So a value
whose batch does not lead has all axes of its source in its shape and no batch; one with a leading 1 takes it as its
batch again.
"""

from __future__ import annotations

from dataclasses import replace

from tinycompress.frontends.layout import Shape
from tinycompress.frontends.values import Value

FIX = "keep the batch axis first and of size 1, except between recurrent layers and inside attention"


def full_shape(value: Value) -> Shape:
    """The source's shape: with the batch of 1 where it leads."""
    return (1, *value.shape) if value.has_batch else value.shape


def whole(value: Value) -> Value:
    """The value with all axes of the source in its shape."""
    return Value(value.tensor, full_shape(value), value.layout, has_batch=False)


def placed(value: Value) -> Value:
    """A value whose shape holds all axes of the source: a leading 1 is its batch."""
    if value.shape[:1] == (1,):
        return Value(value.tensor, value.shape[1:], value.layout)
    return replace(value, has_batch=False)


def without_batch(value: Value) -> Value | None:
    """The value without its batch, which is any axis of 1; None when there is none."""
    if value.has_batch:
        return value
    if 1 not in value.shape:
        return None
    at = value.shape.index(1)
    return Value(value.tensor, value.shape[:at] + value.shape[at + 1 :], value.layout)
