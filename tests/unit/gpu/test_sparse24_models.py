"""Which networks run as generated CUDA: every zoo network, every shared int8 model without state, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.gpu.test_sparse24_cuda import differences
from tinycompress import api
from tinycompress.errors import UnsupportedOpError
from tinycompress.frontends.torch_export import import_module
from tinycompress.gpu.generate import generate_cuda
from tinycompress.gpu.operators import obstacles
from tinycompress.ir.graph import QuantGraph
from tinycompress.quantize.ptq import quantize
from tinycompress.zoo import ZOO

MLPERF = (
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
)
MODELS = (
    *MLPERF,
    "mlperf_tiny/ad01_int8.tflite",
    "tflite_micro/hello_world_int8.tflite",
    "tflite_micro/micro_speech_quantized.tflite",
    "tinyengine/ptq_mnist_lenet-300-100.tflite",
    "derived/mnist_int8_qdq.onnx",
)
SAME_WITHOUT_SOFTMAX = tuple(f"derived/{Path(name).stem}.nosm.tflite" for name in MLPERF)


def load(data_dir: Path, name: str) -> QuantGraph:
    graph = api.load(data_dir / "models" / name)
    assert isinstance(graph, QuantGraph)
    return graph


@pytest.mark.parametrize("name", MODELS)
def test_sparse24_shared_model_equals_the_reference(name: str, data_dir: Path, tmp_path: Path) -> None:
    assert differences(load(data_dir, name), tmp_path, samples=2) == []


@pytest.mark.parametrize("name", SAME_WITHOUT_SOFTMAX)
def test_sparse24_shared_model_can_be_lowered(name: str, data_dir: Path) -> None:
    assert obstacles(load(data_dir, name)) == []


def test_sparse24_shared_model_with_state_is_refused_by_node(data_dir: Path, tmp_path: Path) -> None:
    graph = load(data_dir, "tflite_micro/keyword_scrambled_8bit.tflite")
    with pytest.raises(UnsupportedOpError) as error:
        generate_cuda(graph, tmp_path)
    assert error.value.code == "TC-M590"
    for words in ("keeps state 'svdf_1_state'", "quantize_0: tensor 'x' is int16", "svdf_11: SVDF has no CUDA kernel"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "name", [n if about.macs < 4_000_000 else pytest.param(n, marks=pytest.mark.slow) for n, about in ZOO.items()]
)
def test_sparse24_zoo_network_can_be_lowered(name: str) -> None:
    about = ZOO[name]
    graph = import_module(about.build(), about.input_shape, name, about.preprocess)
    samples = np.random.default_rng(0).standard_normal((2, *graph.tensors[graph.input_names[0]].shape))
    assert obstacles(quantize(graph, (samples.astype(np.float32),))) == []
