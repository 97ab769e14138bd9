"""Layouts follow source reshapes and transposes; arranging a value gives exactly the source's elements."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycompress.execute import float_reference
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.layout import (
    canonical,
    layout_of,
    order_of,
    permuted,
    plain_layout,
    rearrangement,
    source_indices,
    split_at,
)


def test_runs_merge_and_ones_vanish() -> None:
    assert canonical([(4, 15), (3, 5), (1, 7), (5, 1)]) == ((60, 1),)
    assert layout_of((6, 9, 8), (1, 2, 0)) == ((72, 1), (6, 72))
    assert layout_of((1, 9, 8), (1, 2, 0)) == plain_layout((1, 9, 8))


def test_orders_are_recognised_channels_last_first() -> None:
    assert order_of(((72, 1), (6, 72)), (6, 9, 8)) == (1, 2, 0)
    assert order_of(((9, 8), (6, 72), (8, 1)), (6, 9, 8)) == (1, 0, 2)
    assert order_of(((432, 1),), (6, 9, 8)) == (0, 1, 2)
    assert order_of(((2, 72), (3, 144), (72, 1)), (6, 9, 8)) is None


def test_runs_split_only_evenly() -> None:
    assert split_at(((12, 1),), [4]) == ((3, 4), (4, 1))
    assert split_at(((12, 1),), [5]) is None
    assert permuted(((12, 1),), (3, 4), (1, 0)) == ((3, 1), (4, 3))
    assert permuted(((4, 1), (3, 4)), (4, 3), (1, 0)) is None


def test_rearrangement_moves_whole_runs() -> None:
    assert rearrangement(((72, 1), (6, 72)), ((432, 1),)) == ((72, 6), (1, 0))
    assert rearrangement(((6, 1), (2, 6)), ((3, 4), (4, 1))) is None


def test_source_indices_enumerate_the_layout() -> None:
    image = np.arange(24).reshape(2, 3, 4)
    flat = source_indices(layout_of((2, 3, 4), (1, 2, 0)))
    np.testing.assert_array_equal(flat, image.transpose(1, 2, 0).reshape(-1))


def factorisations(total: int, rank: int) -> st.SearchStrategy[tuple[int, ...]]:
    def split(values: list[int]) -> tuple[int, ...]:
        shape, left = [], total
        for value in values:
            divisors = [d for d in range(1, left + 1) if left % d == 0]
            shape.append(divisors[value % len(divisors)])
            left //= shape[-1]
        return (*shape, left)

    return st.lists(st.integers(0, 20), min_size=rank - 1, max_size=rank - 1).map(split)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_views_end_in_the_sources_elements(data: st.DataObject) -> None:
    total = data.draw(st.sampled_from([12, 24, 36, 30]))
    shape = data.draw(factorisations(total, 3))
    builder = ChannelsFirstBuilder("net")
    value = builder.input("x", shape)
    source = np.arange(total, dtype=np.float32).reshape(shape)
    given_values = np.moveaxis(source, 0, -1)
    for step in range(data.draw(st.integers(1, 5))):
        builder.at(f"step{step}")
        if data.draw(st.booleans()):
            shape = data.draw(st.integers(1, 4).flatmap(lambda rank: factorisations(total, rank)))
            value, source = builder.reshape(value, shape), source.reshape(shape)
        else:
            perm = tuple(data.draw(st.permutations(range(source.ndim))))
            value, source = builder.transpose(value, perm), source.transpose(perm)
    assert value.shape == source.shape
    value = builder.arrange(value, tuple(range(source.ndim)))
    graph = builder.graph([value])
    graph = type(graph)(graph.name, graph.inputs, (value.tensor,), builder.tensors, tuple(builder.ops))
    result = float_reference.run(graph, {"x": given_values}).outputs[value.tensor]
    assert math.prod(result.shape) == total
    np.testing.assert_array_equal(result.reshape(-1), source.reshape(-1))
