"""Seeded mutations of model bytes: what damaged downloads, faulty tools and hostile hands produce."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.unit.frontends.tflite_edit import edited, schema

EXTREMES = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**24, 2**31 - 1, -(2**31), 2**30, -4, 1000000)
WIDE = (*EXTREMES, 2**63 - 1, -(2**63), 2**40)


def mutated(data: bytes, seed: int) -> bytes:
    """`data` after one to four random edits; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        _edit(result, rng)
    return bytes(result)


def _edit(data: bytearray, rng: np.random.Generator) -> None:
    if len(data) < 16:
        return
    kind = int(rng.integers(7))
    # Headers and tables sit at the ends of these files; most of the middle is weights.
    span = len(data) if rng.random() < 0.5 else min(len(data), 2048)
    at = int(rng.integers(span))
    if rng.random() < 0.5:
        at = len(data) - 1 - at
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[at] = int(rng.integers(256))
    elif kind in (2, 3):
        value = EXTREMES[int(rng.integers(len(EXTREMES)))] & 0xFFFFFFFF
        start = at & ~3
        data[start : start + 4] = value.to_bytes(4, "little")
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        other, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
        data[at : at + length] = data[other : other + length]
    else:
        del data[at : at + int(rng.integers(1, 16))]


def mutated_tables(data: bytes, seed: int) -> bytes:
    """A TFLite file with one to three tables changed, still a well-formed flatbuffer."""
    rng = np.random.default_rng(seed)

    def edit(model: Any) -> None:
        for _ in range(int(rng.integers(1, 4))):
            _edit_table(model, rng)

    return edited(data, edit)


def _edit_table(model: Any, rng: np.random.Generator) -> None:
    graph = model.subgraphs[0]
    tensor = graph.tensors[int(rng.integers(len(graph.tensors)))]
    op = graph.operators[int(rng.integers(len(graph.operators)))]
    shape = [] if tensor.shape is None else [int(d) for d in tensor.shape]
    data = model.buffers[tensor.buffer].data
    kind = int(rng.integers(6))
    if kind == 0 and shape:
        shape[int(rng.integers(len(shape)))] = int(rng.choice([0, 1, 2, 3, 7, 1 << 20]))
        tensor.shape = np.asarray(shape, np.int32)
    elif kind == 1 and data is not None and tensor.type == schema.TensorType.INT32 and len(data) >= 4:
        values = np.array(data, np.uint8).view(np.int32)
        values[int(rng.integers(len(values)))] = int(rng.choice([0, -1, 1, 2, 3, 5, 100, 1 << 20, -5, 2**31 - 1]))
        model.buffers[tensor.buffer].data = values.view(np.uint8)
    elif kind == 2 and op.inputs is not None and len(op.inputs):
        op.inputs = np.array(op.inputs)
        op.inputs[int(rng.integers(len(op.inputs)))] = int(rng.integers(-1, len(graph.tensors)))
    elif kind == 3:
        tensor.shapeSignature = np.asarray([int(rng.choice([-1, 1, 2, d])) for d in shape], np.int32)
    elif kind == 4:
        op.opcodeIndex = int(rng.integers(len(model.operatorCodes)))
    else:
        code = model.operatorCodes[int(rng.integers(len(model.operatorCodes)))]
        code.builtinCode = int(rng.integers(160))
        code.deprecatedBuiltinCode = min(127, code.builtinCode)


def mutated_fields(data: bytes, seed: int) -> bytes:
    """An ONNX file with one to three fields changed, still well-formed protobuf."""
    rng = np.random.default_rng(seed)
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(int(rng.integers(1, 4))):
        _edit_field(model, rng)
    return bytes(model.SerializeToString())


def _pick(rng: np.random.Generator, values: object) -> object:
    items = list(values)  # type: ignore[call-overload]
    return items[int(rng.integers(len(items)))] if items else None


def _edit_field(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    graph = model.graph
    node, tensor = _pick(rng, graph.node), _pick(rng, graph.initializer)
    kind = int(rng.integers(10))
    wide = int(WIDE[int(rng.integers(len(WIDE)))])
    if kind == 0 and tensor is not None and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = wide
    elif kind == 1 and tensor is not None:
        tensor.data_type = int(rng.integers(0, 25))
    elif kind == 2 and tensor is not None:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif kind == 3 and node is not None and node.input:
        node.input[int(rng.integers(len(node.input)))] = str(_pick(rng, _names(graph)))
    elif kind == 4 and node is not None and node.attribute:
        attribute = _pick(rng, node.attribute)
        attribute.i = wide
        for i in range(len(attribute.ints)):
            attribute.ints[i] = int(WIDE[int(rng.integers(len(WIDE)))])
    elif kind == 5 and node is not None:
        node.op_type = str(_pick(rng, [n.op_type for n in graph.node] + ["Loop", "If", "LSTM", "Cast", "Resize"]))
    elif kind == 6 and node is not None and node.attribute:
        del node.attribute[int(rng.integers(len(node.attribute)))]
    elif kind == 7 and graph.input:
        dims = graph.input[0].type.tensor_type.shape.dim
        if dims:
            dims[int(rng.integers(len(dims)))].dim_value = wide
    elif kind == 8 and node is not None and len(node.input) > 1:
        del node.input[int(rng.integers(len(node.input)))]
    elif kind == 9 and tensor is not None:
        values = np.frombuffer(tensor.raw_data, np.uint8).copy()
        values[: int(rng.integers(values.size + 1))] = 255
        tensor.raw_data = values.tobytes()


def _names(graph: onnx.GraphProto) -> list[str]:
    return [*(t.name for t in graph.initializer), *(n for node in graph.node for n in node.output), "", "nowhere"]
