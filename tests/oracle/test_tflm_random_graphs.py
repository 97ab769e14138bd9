"""Random graphs, exported to TFLite: TFLM, our reference and the re-imported graph give the same bytes."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.oracle.random_graphs import STEPS, random_graph
from tests.oracle.tflm_oracle import Tflm, differing_bytes, inputs_for
from tinycompress.execute.reference import run
from tinycompress.export.tflite import export_tflite
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir.graph import QuantGraph

SAMPLES = 4


def compare(graph: QuantGraph) -> None:
    """Over SAMPLES steps (state carries on): outputs of TFLM, of the graph and of the graph imported again."""
    data = export_tflite(graph)
    imported = import_tflite(data, graph.name)
    assert isinstance(imported, QuantGraph)
    oracle = Tflm(data)
    inputs = {name: inputs_for(graph, name, SAMPLES + 4, 7)[4:] for name in graph.input_names}
    state = again = None
    for i in range(SAMPLES):
        sample = {name: values[i] for name, values in inputs.items()}
        result, repeated = run(graph, sample, state), run(imported, sample, again)
        state, again = result.state, repeated.state
        expected = oracle.run([sample[name] for name in graph.input_names])
        for name, other, value in zip(graph.outputs, imported.outputs, expected, strict=True):
            assert differing_bytes(value, result.outputs[name]) == 0, f"{graph.name}: {name} differs from TFLM's"
            assert np.array_equal(result.outputs[name], repeated.outputs[other]), f"{graph.name}: import changes {name}"


@pytest.mark.parametrize("kind", sorted(STEPS))
def test_each_operator_alone(kind: str) -> None:
    covered = 0
    for seed in range(12):
        graph = random_graph(seed, (kind,), 1)
        if graph.ops:
            compare(graph)
            covered += 1
    assert covered >= 4


@pytest.mark.parametrize("runs", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_random_graphs(request: pytest.FixtureRequest, runs: int) -> None:
    """As many graphs as named, or as --fuzz-runs asks for."""
    kinds: collections.Counter[str] = collections.Counter()
    for seed in range(1000, 1000 + (request.config.getoption("--fuzz-runs") or runs)):
        graph = random_graph(seed, None, 8)
        kinds.update(op.kind for op in graph.ops)
        compare(graph)
    assert set(kinds) == set(STEPS)
