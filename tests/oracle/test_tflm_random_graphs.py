"""Random graphs, exported to TFLite: TFLM, our reference and the re-imported graph give the same bytes."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.oracle.random_graphs import NOT_IN_TFLITE, STEPS, random_graph
from tests.oracle.tflm_oracle import Tflm, differing_bytes, inputs_for
from tinycompress.execute.reference import run
from tinycompress.export.tflite import export_tflite
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import GraphInput, QuantGraph, State
from tinycompress.ir.tensor import DType, QParams, Tensor

SAMPLES = 4
SAMPLES_ALONE = 60
SVDF_SCALES = (0.059208333, 0.0091712065, 0.8073114, 0.014938734, 0.23618338)
"""Of input, feature weights, state, time weights and output."""


def compare(graph: QuantGraph, samples: int = SAMPLES) -> None:
    """Over `samples` steps (state carries on): outputs of TFLM, of the graph and of the graph imported again."""
    data = export_tflite(graph)
    imported = import_tflite(data, graph.name)
    assert isinstance(imported, QuantGraph)
    oracle = Tflm(data)
    inputs = {name: inputs_for(graph, name, samples + 4, 7)[4:] for name in graph.input_names}
    state = again = None
    for i in range(samples):
        sample = {name: values[i] for name, values in inputs.items()}
        result, repeated = run(graph, sample, state), run(imported, sample, again)
        state, again = result.state, repeated.state
        expected = oracle.run([sample[name] for name in graph.input_names])
        for name, other, value in zip(graph.outputs, imported.outputs, expected, strict=True):
            assert differing_bytes(value, result.outputs[name]) == 0, f"{graph.name}: {name} differs from TFLM's"
            assert np.array_equal(result.outputs[name], repeated.outputs[other]), f"{graph.name}: import changes {name}"


@pytest.mark.parametrize("kind", sorted(set(STEPS) - set(NOT_IN_TFLITE)))
def test_each_operator_alone(kind: str) -> None:
    covered = 0
    for seed in range(12):
        graph = random_graph(seed, (kind,), 1)
        if graph.ops:
            compare(graph, SAMPLES_ALONE)
            covered += 1
    assert covered >= 4


def test_scales_of_svdf_are_multiplied_in_double() -> None:
    """A sum of products near a tie: with scales multiplied in float32 the newest state would be 114."""
    weights, values = [127] * 11 + [1], [127] * 10 + [58, 87]
    x, feature, state, time, y = (QParams.per_tensor(float(np.float32(s)), 0) for s in SVDF_SCALES)
    tensors = [
        Tensor("x", (12,), DType.INT8, x),
        Tensor("feature", (1, 12), DType.INT8, feature, np.array([weights], dtype=np.int8)),
        Tensor("time", (1, 2), DType.INT8, time, np.array([[0, 1]], dtype=np.int8)),
        Tensor("before", (1, 2), DType.INT8, state),
        Tensor("after", (1, 2), DType.INT8, state),
        Tensor("y", (1,), DType.INT8, y),
    ]
    op = o.SVDF(
        name="svdf_0", inputs=("x", "before"), outputs=("y", "after"), feature_weights="feature", time_weights="time"
    )
    states = (State("before", "after"),)
    graph = QuantGraph("svdf", (GraphInput("x"),), ("y",), {t.name: t for t in tensors}, (op,), states)
    oracle = Tflm(export_tflite(graph), keeps_tensors=True)
    sample = np.array(values, dtype=np.int8)
    oracle.run([sample])
    expected = oracle.tensor(oracle.file.operators[0].inputs[4])
    found = run(graph, {"x": sample}).tensors["after"]
    assert expected.reshape(-1).tolist() == found.reshape(-1).tolist() == [0, 113]


@pytest.mark.parametrize("runs", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_random_graphs(request: pytest.FixtureRequest, runs: int) -> None:
    """As many graphs as named, or as --fuzz-runs asks for."""
    kinds: collections.Counter[str] = collections.Counter()
    for seed in range(1000, 1000 + (request.config.getoption("--fuzz-runs") or runs)):
        graph = random_graph(seed, None, 8)
        kinds.update(op.kind for op in graph.ops)
        compare(graph)
    assert set(kinds) == set(STEPS) - set(NOT_IN_TFLITE)
