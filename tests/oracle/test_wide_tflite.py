"""int16 activations with int8 weights: TFLM, our reference, the re-imported graph and the generated C agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.oracle.tflm_oracle import Tflm, differing_bytes, inputs_for
from tests.oracle.wide_graphs import WIDE_STEPS, wide_graph
from tests.unit.frontends.tflite_edit import edited
from tinycompress.emit import generate
from tinycompress.errors import ModelError
from tinycompress.execute.reference import run
from tinycompress.export import to_tflite
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir.graph import QuantGraph
from tinycompress.passes.remove_dead_channels import remove_dead_channels
from tinycompress.plan import plan

SAMPLES = 4


def samples(graph: QuantGraph) -> list[dict[str, np.ndarray]]:
    noise = {name: inputs_for(graph, name, SAMPLES + 4, 7)[4:] for name in graph.input_names}
    return [{name: values[i] for name, values in noise.items()} for i in range(SAMPLES)]


def compare(graph: QuantGraph) -> None:
    data = to_tflite(graph)
    imported = import_tflite(data, graph.name)
    assert isinstance(imported, QuantGraph)
    oracle = Tflm(data)
    for sample in samples(graph):
        result, repeated = run(graph, sample), run(imported, sample)
        expected = oracle.run(list(sample.values()))
        for name, other, value in zip(graph.outputs, imported.outputs, expected, strict=True):
            assert differing_bytes(value, result.outputs[name]) == 0, f"{graph.name}: {name} differs from TFLM's"
            assert np.array_equal(result.outputs[name], repeated.outputs[other])


@pytest.mark.parametrize("kind", sorted(WIDE_STEPS))
def test_each_operator_gives_tflm_bytes(kind: str) -> None:
    covered = 0
    for seed in range(12):
        graph = wide_graph(seed, (kind,), 1)
        if graph.ops:
            compare(graph)
            covered += 1
    assert covered >= 4


@pytest.mark.parametrize("seed", range(12))
def test_networks_give_tflm_bytes_and_generate(seed: int, tmp_path: Path) -> None:
    graph = wide_graph(seed + 100)
    compare(graph)
    host = generate(plan(graph, has_dsp=bool(seed % 2)), tmp_path).host()
    for sample in samples(graph):
        expected = run(graph, sample).tensors
        for name, value in host.run_traced(sample).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_channels_of_int16_layers_stay() -> None:
    """Their sums have 64 bits and their own rounding, which folding a constant channel into a bias would not keep."""
    graph = wide_graph(101)
    assert remove_dead_channels(graph) is graph


def test_asymmetric_int16_activations_are_refused() -> None:
    def shifted(model: object) -> None:
        model.subgraphs[0].tensors[0].quantization.zeroPoint = [5]  # type: ignore[attr-defined]

    with pytest.raises(ModelError, match="zero point that is not 0") as caught:
        import_tflite(edited(to_tflite(wide_graph(1, ("Conv2D",), 1)), shifted), "net")
    assert caught.value.code == "TC-M204"
