"""Arithmetic that means the same on Python ints and on torch scalars, without importing torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Scalar = Any
"""An int, a float or a 0-dimensional torch tensor with a gradient."""


def is_integral(value: Scalar) -> bool:
    """True for Python ints: the case in which every cost is exact and stays an int."""
    return isinstance(value, int)


def round_up(value: Scalar, multiple: int) -> Scalar:
    """`value` rounded up to a multiple; a soft value takes the rounded value and keeps its gradient."""
    if is_integral(value):
        return -(-value // multiple) * multiple
    plain = float(value)
    return value + (-(-plain // multiple) * multiple - plain)


def largest(values: Iterable[Scalar], default: Scalar = 0) -> Scalar:
    """The largest value itself, so that only it receives a gradient; the first one on a tie."""
    best, best_plain = default, float(default)
    for value in values:
        if (plain := float(value)) > best_plain:
            best, best_plain = value, plain
    return best


def total(values: Iterable[Scalar]) -> Scalar:
    """Sum that stays an int on ints."""
    result: Scalar = 0
    for value in values:
        result = result + value
    return result
