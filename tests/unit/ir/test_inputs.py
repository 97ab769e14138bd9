"""User samples to graph inputs: layout, preprocessing, quantization."""

from __future__ import annotations

import numpy as np
import pytest

from tinycompress.errors import ConfigError
from tinycompress.ir.graph import Graph, GraphInput, Preprocess
from tinycompress.ir.inputs import integer_inputs, real_inputs
from tinycompress.ir.tensor import DType, QParams, Tensor


def graph(shape: tuple[int, ...], layout: str, preprocess: Preprocess | None = None) -> Graph:
    tensor = Tensor("x", shape, DType.INT8, QParams.per_tensor(1 / 255, -128))
    return Graph("g", (GraphInput("x", layout, preprocess=preprocess or Preprocess()),), ("x",), {"x": tensor}, ())


def test_channels_first_samples_are_turned() -> None:
    g = graph((4, 5, 3), "CHW")
    first = np.arange(2 * 60).reshape(2, 3, 4, 5)
    assert np.array_equal(real_inputs(first, g), first.transpose(0, 2, 3, 1))
    assert np.array_equal(real_inputs(first.transpose(0, 2, 3, 1), g), first.transpose(0, 2, 3, 1))


def test_grey_images_need_no_channel_axis() -> None:
    images = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
    assert real_inputs(images, graph((4, 4, 1), "CHW")).shape == (2, 4, 4, 1)


def test_preprocessing_then_quantization() -> None:
    g = graph((2,), "C", Preprocess(scale=1 / 255, value_range=(0, 255)))
    assert integer_inputs(np.array([[0, 255]], np.uint8), g).tolist() == [[-128, 127]]
    assert integer_inputs(np.array([[-7, 9]], np.int8), g).tolist() == [[-7, 9]]


def test_samples_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"TC-C107.*\[3, 3\].*\[1, 4, 4\] \(CHW\)"):
        real_inputs(np.zeros((5, 3, 3)), graph((4, 4, 1), "CHW"))
