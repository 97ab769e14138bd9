"""onnxruntime as the oracle of ONNX models, and the element order of imported tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.inputs import to_source_layout
from tinycompress.ir.tensor import DType, Tensor

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


def as_source(graph: Graph, value: Array) -> Array:
    """A batch-free value of the imported graph's first output as the file has it."""
    return to_source_layout(value[np.newaxis], graph.output_layout(graph.outputs[0]))[0]


def float_twin(graph: QuantGraph) -> Graph:
    """The same operators on real numbers; rescalings are dropped, states are constant zeros, nothing is clipped."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        data = tensor.data
        if data is not None and tensor.qparams is not None:
            data = dequantize_values(data, tensor.qparams)
        elif data is not None:
            data = data.astype(np.float32) * np.float32(1e-3)
        tensors[name] = replace(tensor, dtype=DType.FLOAT32, qparams=None, data=data)
    for state in graph.states:
        zeros = np.zeros(tensors[state.read].shape, np.float32)
        tensors[state.read] = replace(tensors[state.read], data=zeros)
    ops = [replace(op, table=None) if isinstance(op, o.Table) else op for op in graph.ops]
    ops = [replace(op, cell_clip=0.0) if isinstance(op, o.LSTM) else op for op in ops]
    inputs = tuple(replace(i, source_dtype="float32") for i in graph.inputs)
    return Graph(graph.name, inputs, graph.outputs, tensors, tuple(ops))


def channels_first(graph: Graph) -> Graph:
    """The same graph for users whose images are channels-first."""
    inputs = tuple(
        replace(i, source_layout="CHW" if len(graph.tensors[i.tensor].shape) == 3 else "C") for i in graph.inputs
    )
    layouts = tuple("CHW" if len(graph.tensors[n].shape) == 3 else "" for n in graph.outputs)
    return replace(graph, inputs=inputs, output_layouts=layouts)


def to_user(graph: Graph, value: Any) -> Any:
    """An IR tensor (no batch) as the file has it: images channels-first unless the inputs are channels-last."""
    is_last = all(i.source_layout == "HWC" for i in graph.inputs)
    return value.transpose(2, 0, 1) if value.ndim == 3 and not is_last else value


def run_onnx(data: bytes, samples: dict[str, Any], optimize: bool = True) -> list[Any]:
    runtime = session(data, optimize)
    return [v[0] for v in runtime.run(None, {i.name: samples[i.name][np.newaxis] for i in runtime.get_inputs()})]
