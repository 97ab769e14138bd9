"""The generated C on this machine equals the integer reference on every tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.plan.networks import mixed, recurrent, residual
from tinycompress.emit import HostProgram, generate
from tinycompress.errors import ModelError
from tinycompress.execute import reference
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import Array
from tinycompress.plan import plan
from tinycompress.plan.planner import Schedule


def random_inputs(graph: QuantGraph, seed: int) -> dict[str, Array]:
    """Uniform int8, except seeds 0 and 1: all −128, all 127."""
    generator = np.random.default_rng(seed)
    fixed = {0: -128, 1: 127}.get(seed)
    found = {}
    for name in graph.input_names:
        shape = graph.tensors[name].shape
        values = np.full(shape, fixed) if fixed is not None else generator.integers(-128, 128, shape)
        found[name] = values.astype(graph.tensors[name].dtype.numpy)
    return found


def assert_exact(host: HostProgram, graph: QuantGraph, samples: int) -> None:
    for seed in range(samples):
        inputs = random_inputs(graph, seed)
        expected = reference.run(graph, inputs).tensors
        for name, values in host.run_traced(inputs).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=f"{name}, sample {seed}")


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("schedule", ["layers", "streamed"])
@pytest.mark.parametrize("has_dsp", [False, True])
def test_mixed_network_with_two_inputs_and_outputs(
    tmp_path: Path, rounding: Rounding, has_dsp: bool, schedule: Schedule
) -> None:
    graph = mixed(rounding=rounding)
    host = generate(plan(graph, has_dsp=has_dsp, schedule=schedule), tmp_path).host()
    assert_exact(host, graph, 6)


@pytest.mark.parametrize("schedule", ["layers", "streamed"])
@pytest.mark.parametrize("has_dsp", [False, True])
def test_residual_network(tmp_path: Path, schedule: Schedule, has_dsp: bool) -> None:
    graph = residual()
    assert_exact(generate(plan(graph, has_dsp=has_dsp, schedule=schedule), tmp_path).host(), graph, 6)


@pytest.mark.parametrize("schedule", ["layers", "streamed"])
def test_state_is_kept_between_inferences_and_reset(tmp_path: Path, schedule: Schedule) -> None:
    graph = recurrent()
    host = generate(plan(graph, schedule=schedule), tmp_path).host()
    first: Array | None = None
    for _ in range(2):
        host.reset()
        state = None
        for seed in range(2, 6):
            inputs = random_inputs(graph, seed)
            expected = reference.run(graph, inputs, state)
            state = expected.state
            made = host.run(inputs)
            np.testing.assert_array_equal(made[graph.outputs[0]], expected.output)
            np.testing.assert_array_equal(host.state()["h"], state["h"])
        first = made[graph.outputs[0]] if first is None else first
        np.testing.assert_array_equal(made[graph.outputs[0]], first)


@pytest.mark.parametrize("model", ["pretrainedResnet_quant", "kws_ref_model", "vww_96_int8", "ad01_int8"])
@pytest.mark.parametrize(("schedule", "has_dsp"), [("layers", False), ("layers", True), ("streamed", True)])
def test_published_models(tmp_path: Path, data_dir: Path, model: str, has_dsp: bool, schedule: Schedule) -> None:
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{model}.tflite")
    assert isinstance(graph, QuantGraph)
    made = plan(graph, has_dsp=has_dsp, schedule=schedule, state_budget=500)
    assert_exact(generate(made, tmp_path).host(), graph, 3)


def test_only_one_sample_of_integers_is_taken(tmp_path: Path) -> None:
    graph = residual()
    host = generate(plan(graph), tmp_path).host()
    (name,) = graph.input_names
    sample = np.zeros(graph.tensors[name].shape, np.int8)
    host.run(sample)
    for wrong in (sample[:1], np.stack([sample, sample]), sample.astype(np.float32)):
        with pytest.raises(ModelError, match="one sample of integers") as caught:
            host.run(wrong)
        assert caught.value.code == "TC-M401"
