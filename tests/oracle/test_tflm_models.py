"""Third-party int8 models, imported, give TFLM's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.oracle.tflm_oracle import (
    Tflm,
    differing_bytes,
    file_indices,
    index_of,
    inputs_for,
    mismatching_bytes,
    unexcited,
)
from tinycompress.execute.reference import run
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.ops import SVDF

STATELESS = (
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/vww_96_int8",
    "mlperf_tiny/ad01_int8",
    "derived/kws_ref_model.nosm",
    "derived/pretrainedResnet_quant.nosm",
    "derived/vww_96_int8.nosm",
    "tflite_micro/hello_world_int8",
    "tflite_micro/micro_speech_quantized",
)


def load(data_dir: Path, model: str) -> tuple[bytes, QuantGraph]:
    data = (data_dir / "models" / f"{model}.tflite").read_bytes()
    graph = import_tflite(data, Path(model).name)
    assert isinstance(graph, QuantGraph)
    return data, graph


@pytest.mark.slow
@pytest.mark.parametrize("model", STATELESS)
def test_thousand_inputs_give_tflm_bytes(data_dir: Path, model: str) -> None:
    data, graph = load(data_dir, model)
    wrong = 0
    for seed in range(10):
        inputs = {name: inputs_for(graph, name, 100, seed) for name in graph.input_names}
        wrong += mismatching_bytes(data, graph, inputs)
    assert wrong == 0


@pytest.mark.parametrize("model", STATELESS)
def test_every_intermediate_tensor_is_tflms(data_dir: Path, model: str) -> None:
    data, graph = load(data_dir, model)
    oracle = Tflm(data, keeps_tensors=True)
    inputs = {name: inputs_for(graph, name, 12, 5) for name in graph.input_names}
    result = run(graph, inputs)
    indices = file_indices(graph, oracle.file)
    assert len(indices) >= len(graph.ops) - 1
    for i in range(12):
        oracle.run([inputs[name][i] for name in graph.input_names])
        for name, index in indices.items():
            assert differing_bytes(oracle.tensor(index), result.tensors[name][i]) == 0, name


@pytest.mark.parametrize("model", STATELESS)
def test_inputs_excite_every_layer(data_dir: Path, model: str) -> None:
    _, graph = load(data_dir, model)
    inputs = {name: inputs_for(graph, name, 100, 0) for name in graph.input_names}
    assert unexcited(graph, run(graph, inputs)) == []


def test_keyword_spotting_on_real_inputs(data_dir: Path) -> None:
    """All shared MFCC inputs: TFLM's bytes, so TFLM's predictions; and the accuracy they give."""
    data, graph = load(data_dir, "mlperf_tiny/kws_ref_model")
    with np.load(data_dir / "kws01_mfcc_dev500.npz") as file:
        samples, labels = file["x"], file["y"]
    oracle = Tflm(data)
    expected = np.stack([oracle.run([sample])[0] for sample in samples])
    found = run(graph, {graph.input_names[0]: samples}, keep_tensors=False).output
    assert differing_bytes(expected, found) == 0
    assert np.mean(found.argmax(1) == labels) > 0.87


def test_float_edges_are_compared_at_the_cut(data_dir: Path) -> None:
    """LeNet-300-100 quantizes its float input and ends in a float log-softmax: TFLM is read inside."""
    data, graph = load(data_dir, "tinyengine/ptq_mnist_lenet-300-100")
    assert len(graph.notes) == 2
    oracle = Tflm(data, keeps_tensors=True)
    samples = inputs_for(graph, graph.input_names[0], 40, 1)
    real = (samples.astype(np.float32) + 128) * np.float32(graph.tensors[graph.input_names[0]].quantization.scale[0])
    result = run(graph, {graph.input_names[0]: samples})
    names = [t.name for t in oracle.file.tensors]
    last = names.index(graph.tensors[graph.outputs[0]].source)
    for i in range(40):
        oracle.run([real[i]])
        assert differing_bytes(oracle.tensor(last), result.output[i]) == 0


@pytest.mark.parametrize("steps", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_svdf_state_over_time(data_dir: Path, steps: int) -> None:
    """keyword_scrambled: int16 in, int32 out, seven state tensors; every tensor over a sequence without reset.

    Its biases were scrambled to noise, so its activations saturate; the states do vary. SVDF layers whose outputs vary
    are among the random graphs.
    """
    data, graph = load(data_dir, "tflite_micro/keyword_scrambled_8bit")
    oracle = Tflm(data, keeps_tensors=True)
    indices = file_indices(graph, oracle.file)
    generator = np.random.default_rng(3)
    state = None
    states = {op.outputs[1]: oracle.file.operators[index_of(op)].inputs[4] for op in graph.ops if isinstance(op, SVDF)}
    indices.update(states)
    distinct: dict[str, set[int]] = {name: set() for name in states}
    for step in range(steps):
        # The features are non-negative; their level drifts, as speech does, so that no layer stays saturated.
        level = 600 * (1 + step % 40)
        frame = generator.integers(0, level, graph.tensors["x"].shape).astype(np.int16)
        result = run(graph, {"x": frame}, state)
        state = result.state
        oracle.run([frame])
        for name, index in indices.items():
            assert differing_bytes(oracle.tensor(index), result.tensors[name]) == 0, name
        for name in states:
            distinct[name].update(result.tensors[name].reshape(-1).tolist())
    assert len(distinct["svdf_1_next_state"]) >= 128
