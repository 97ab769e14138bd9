"""uint8 files, weights with a zero point among them: LiteRT's reference kernels give the same bytes, or as is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.oracle.random_graphs import STEPS, random_graph
from tests.oracle.tflm_oracle import inputs_for
from tests.unit.frontends.tflite_edit import edited, schema
from tinycompress.execute.reference import run
from tinycompress.export import to_tflite
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert (extra dev)")

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "FullyConnected")
ROUNDED_DIFFERENTLY = {"AveragePool2D": 0.1, "ResizeBilinear": 0.1, "FullyConnected": 0.01}
"""Operators whose uint8 kernels round ties or make a multiplier in another way: largest share of values off by one."""

SIGNED_ONLY = (o.Function.ELU, o.Function.ABS)
"""Functions that LiteRT has no uint8 kernel of."""

SKIPPED = ("SVDF", "LSTM", "MatMul", "LayerNorm")
"""Operators that LiteRT has no uint8 kernel of."""


def unsigned(weights_shift: int) -> Callable[[Any], None]:
    """int8 tensors become uint8; the zero point of an operator's weights moves by `weights_shift`."""

    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        weights = [op.inputs[1] for op in graph.operators if weights_shift]
        for index, tensor in enumerate(graph.tensors):
            if tensor.type != schema.TensorType.INT8:
                continue
            tensor.type = schema.TensorType.UINT8
            shift = 128 + weights_shift * (index in weights)
            tensor.quantization.zeroPoint = [int(z) + shift for z in tensor.quantization.zeroPoint]
            buffer = model.buffers[tensor.buffer]
            if buffer.data is not None:
                values = np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.int16)
                buffer.data = (values + 128).astype(np.uint8)

    return edit


def is_per_channel(graph: QuantGraph) -> bool:
    return any(t.qparams is not None and not t.qparams.is_per_tensor for t in graph.tensors.values())


def differences(data: bytes) -> np.ndarray:
    """|LiteRT − reference| of all outputs over four samples."""
    graph = import_tflite(data, "net")
    assert isinstance(graph, QuantGraph)
    resolver = litert.OpResolverType.BUILTIN_REF
    interpreter = litert.Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    noise = {name: inputs_for(graph, name, 8, 3)[4:] for name in graph.input_names}
    found = []
    for i in range(4):
        sample = {name: values[i] for name, values in noise.items()}
        for described, value in zip(interpreter.get_input_details(), sample.values(), strict=True):
            is_unsigned = described["dtype"] is np.uint8
            given = (value.astype(np.int16) + 128).astype(np.uint8) if is_unsigned else value
            interpreter.set_tensor(described["index"], given[np.newaxis])
        interpreter.invoke()
        outputs = run(graph, sample).outputs
        for described, name in zip(interpreter.get_output_details(), graph.outputs, strict=True):
            wanted = interpreter.get_tensor(described["index"])[0].astype(int)
            found.append(np.abs(wanted - outputs[name].astype(int) - 128).reshape(-1))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", sorted(set(STEPS) - set(SKIPPED)))
def test_uint8_operators_give_litert_bytes(kind: str) -> None:
    off = []
    for seed in range(200):
        graph = random_graph(seed, (kind,), 1)
        if (
            graph.ops
            and not is_per_channel(graph)
            and not any(getattr(op, "function", None) in SIGNED_ONLY for op in graph.ops)
        ):
            shift = 37 * (seed % 5 - 2) // 2 if kind in WEIGHTED else 0
            off.append(differences(edited(to_tflite(graph), unsigned(shift))))
        if len(off) == 12:
            break
    assert len(off) >= 4
    found = np.concatenate(off)
    share = ROUNDED_DIFFERENTLY.get(kind, 0.0)
    assert found.max() <= (1 if share else 0)
    assert np.mean(found > 0) <= share
