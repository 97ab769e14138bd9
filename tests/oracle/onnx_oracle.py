"""onnxruntime as the oracle of ONNX models, and the element order of imported tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinycompress.ir.graph import Graph

ort = pytest.importorskip("onnxruntime", reason="PyPI onnxruntime is not installed")

Array = NDArray[Any]


def session(model: bytes, optimize: bool = True) -> Any:
    """An onnxruntime session on one thread; `optimize` False keeps QDQ nodes unfused."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def channels_last(values: Array) -> Array:
    """One batch-free channels-first sample (`C`, `CT`, `CHW`) as the IR holds it (`C`, `[t,1,c]`, `[h,w,c]`)."""
    if values.ndim == 3:
        return values.transpose(1, 2, 0)
    if values.ndim == 2:
        return values.T[:, np.newaxis, :]
    return values


def as_input(graph: Graph, name: str, sample: Array) -> Array:
    """A batch-free ONNX sample in the layout of the imported input."""
    layout = next(i.source_layout for i in graph.inputs if i.tensor == name)
    return channels_last(sample) if layout in ("CHW", "CT") else sample.reshape(graph.tensors[name].shape)


def as_source(graph: Graph, name: str, value: Array, shape: tuple[int, ...]) -> Array:
    """An imported output back in ONNX's batch-free `shape`, by whichever order fits."""
    if value.shape == channels_last(np.zeros(shape, np.int8)).shape and value.ndim == 3:
        return value.transpose(2, 0, 1).reshape(shape)
    return value.reshape(shape)
