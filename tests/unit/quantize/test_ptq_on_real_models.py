"""Float MLPerf Tiny models on real data: int8 loses less than one point (METHODS B4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph
from tinycompress.quantize.evaluate import accuracy
from tinycompress.quantize.ptq import quantize


@dataclass(frozen=True)
class KeywordSpotting:
    """The float model, real features with labels, and two accuracies: of the float and of the published int8 model."""

    model: Graph
    features: np.ndarray
    labels: np.ndarray
    float_accuracy: float
    published_accuracy: float


@pytest.fixture(scope="module")
def keywords(data_dir: Path) -> KeywordSpotting:
    models = data_dir / "models" / "mlperf_tiny"
    floating = load_tflite(models / "kws_ref_model_float32.tflite")
    published = load_tflite(models / "kws_ref_model.tflite")
    with np.load(data_dir / "kws01_mfcc_dev500.npz") as archive:
        integers, labels = archive["x"], archive["y"]
    real = dequantize_values(integers, published.tensors[published.input_names[0]].quantization)
    accuracies = accuracy(floating, real, labels), accuracy(published, integers, labels)
    return KeywordSpotting(floating, real, labels, *accuracies)


@pytest.mark.parametrize("activations", ["percentile", "minmax", "mse", "entropy"])
def test_keyword_spotting(keywords: KeywordSpotting, activations: str) -> None:
    quantized = quantize(keywords.model, keywords.features[:100], activations=activations)
    reached = accuracy(quantized, keywords.features, keywords.labels)
    assert keywords.float_accuracy > 0.9
    assert reached > keywords.float_accuracy - 0.01
    assert reached > keywords.published_accuracy - 0.01
