"""Float MLPerf Tiny models on real data: int8 loses less than one point (METHODS B4.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import QuantGraph
from tinycompress.quantize.evaluate import accuracy
from tinycompress.quantize.ptq import quantize


@pytest.mark.parametrize("activations", ["percentile", "minmax", "mse", "entropy"])
def test_keyword_spotting(data_dir: Path, activations: str) -> None:
    models = data_dir / "models" / "mlperf_tiny"
    floating, published = (
        load_tflite(models / "kws_ref_model_float32.tflite"),
        load_tflite(models / "kws_ref_model.tflite"),
    )
    assert isinstance(published, QuantGraph)
    with np.load(data_dir / "kws01_mfcc_dev500.npz") as archive:
        features, labels = archive["x"], archive["y"]
    real = dequantize_values(features, published.tensors[published.input_names[0]].quantization)
    quantized = quantize(floating, real[:200], activations=activations)
    expected = accuracy(floating, real, labels)
    assert expected > 0.9
    assert accuracy(quantized, real, labels) > expected - 0.01
    assert abs(accuracy(quantized, real, labels) - accuracy(published, features, labels)) < 0.015
