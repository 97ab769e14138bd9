"""LSTM, portable and DSP, against the reference; and the generated library over a sequence of inferences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import harness as h
from tests.kernels.recurrent_graphs import lstm_graph
from tests.oracle.random_graphs import random_graph
from tests.oracle.tflm_oracle import inputs_for
from tinycompress.emit import generate
from tinycompress.execute import reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import DSP, PORTABLE
from tinycompress.plan import plan


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("exponent", [-15, -12, -9, -4, 0])
@pytest.mark.parametrize(("shape", "units", "clip"), [((1, 1), 1, 0.0), ((5, 7), 4, 0.0), ((3, 1, 6), 9, 0.75)])
def test_lstm_equals_the_reference(
    shape: tuple[int, ...], units: int, clip: float, exponent: int, rounding: Rounding
) -> None:
    graph = lstm_graph(7 - exponent, shape, units, exponent, clip, rounding)
    for variant in (*PORTABLE[o.LSTM], *DSP[o.LSTM]):
        h.check(variant, graph, np.random.default_rng(units))


@pytest.mark.parametrize(("shape", "units"), [((1, 3), 2), ((6, 1, 5), 7)])
def test_constant_initial_states_are_the_kernel_s_own(shape: tuple[int, ...], units: int) -> None:
    graph = lstm_graph(3, shape, units, -12, 0.0, Rounding.DOUBLE, starts_anew=True, is_reversed=units == 7)
    assert graph.input_names == ("x",)
    for variant in (*PORTABLE[o.LSTM], *DSP[o.LSTM]):
        h.check(variant, graph, np.random.default_rng(units))
    kept = replace(graph, tensors={**graph.tensors, "h": replace(graph.tensors["h"], data=None)})
    assert not variant.supports(graph.ops[0], kept)


def test_library_with_constant_initial_states_has_no_state(tmp_path: Path) -> None:
    graph = lstm_graph(4, (5, 3), 4, -11, 0.0, Rounding.DOUBLE, starts_anew=True)
    program = generate(plan(graph), tmp_path)
    assert program.state_bytes == 0
    host = program.host()
    for sample in inputs_for(graph, "x", 6, 5):
        expected = reference.run(graph, {"x": sample}).outputs
        for name, value in host.run({"x": sample}).items():
            assert np.array_equal(value, expected[name])


def test_cell_state_off_the_powers_of_two_has_no_kernel() -> None:
    graph = lstm_graph(1, (4, 3), 5, -11, 0.0, Rounding.DOUBLE)
    (variant,) = PORTABLE[o.LSTM]
    odd = h.Tensor("c", (5,), DType.INT16, QParams.per_tensor(0.0006, 0, 16))
    other = QuantGraph(
        graph.name, graph.inputs, graph.outputs, {**graph.tensors, "c": odd, "c2": odd}, graph.ops, graph.states
    )
    assert variant.supports(graph.ops[0], graph)
    assert not variant.supports(other.ops[0], other)


@pytest.mark.parametrize("seed", range(3))
def test_library_carries_the_states_on(tmp_path: Path, seed: int) -> None:
    graph = random_graph(seed, ("LSTM",), 1)
    host = generate(plan(graph), tmp_path).host()
    samples = {name: inputs_for(graph, name, 10, 3) for name in graph.input_names}
    state = None
    for i in range(10):
        sample = {name: values[i] for name, values in samples.items()}
        result = reference.run(graph, sample, state)
        state = result.state
        for name, value in host.run(sample).items():
            assert np.array_equal(value, result.outputs[name])
