"""Arithmetic that means the same on Python ints and on torch scalars, without importing torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Scalar = Any
"""An int, a float or a 0-dimensional torch tensor with a gradient."""


def is_integral(value: Scalar) -> bool:
    """True for Python ints: the case in which every cost is exact and stays an int."""
    return isinstance(value, int)


def plain(value: Scalar) -> float:
    """The number itself, without its gradient: what comparisons see."""
    return float(value.detach() if hasattr(value, "detach") else value)


def round_up(value: Scalar, multiple: int) -> Scalar:
    """`value` rounded up to a multiple; a soft value takes the rounded value and keeps its gradient."""
    if is_integral(value):
        return -(-value // multiple) * multiple
    number = plain(value)
    return value + (-(-number // multiple) * multiple - number)


def largest(values: Iterable[Scalar], default: Scalar = 0) -> Scalar:
    """The largest value itself, so that only it receives a gradient; the first one on a tie."""
    best, most = default, plain(default)
    for value in values:
        if (number := plain(value)) > most:
            best, most = value, number
    return best


def total(values: Iterable[Scalar]) -> Scalar:
    """Sum that stays an int on ints."""
    result: Scalar = 0
    for value in values:
        result = result + value
    return result
