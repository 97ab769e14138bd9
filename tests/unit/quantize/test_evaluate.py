"""Outputs and accuracy over a data set."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.quantize.small import samples, small_network
from tinycompress.errors import ModelError
from tinycompress.execute import float_reference
from tinycompress.quantize import calibrate
from tinycompress.quantize.evaluate import accuracy, predict
from tinycompress.quantize.ptq import quantize


def test_batches_don_t_change_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_network()
    data = samples(graph, 50)
    (whole,) = predict(graph, data).values()
    monkeypatch.setattr(calibrate, "BATCH_BYTES", 1)
    (single,) = predict(graph, data[:5]).values()
    np.testing.assert_allclose(single, whole[:5], rtol=1e-5)


def test_accuracy_of_float_and_int8() -> None:
    graph = small_network()
    data = samples(graph, 200)
    labels = float_reference.run(graph, {"x": data}).output.argmax(axis=1)
    assert accuracy(graph, data, labels) == 1.0
    assert accuracy(quantize(graph, data), data, labels) > 0.93


def test_labels_must_match() -> None:
    graph = small_network()
    with pytest.raises(ModelError, match=r"TC-M415.*3 labels for 4 samples"):
        accuracy(graph, samples(graph, 4), np.zeros(3, int))
