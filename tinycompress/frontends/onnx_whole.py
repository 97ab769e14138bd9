"""ONNX nodes on all axes of their values: where the batch of 1 does not lead, and where a node moves or merges it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.batch_axis import batch_of_view, full_shape, is_whole, lifted, placed
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_call import Call, Handler, Operand, Result, batch_error, refused, reshape_target
from tinycompress.frontends.values import Value
from tinycompress.ir.tensor import Array

_AXIS = {"Softmax": -1, "LogSoftmax": -1, "LayerNormalization": -1, "Concat": 0, "Split": 0, "Gather": 0}
"""Nodes with one axis, and the axis where none is named."""

_AXES = {"Squeeze": 1, "Unsqueeze": 1, "ReduceMean": 1, "Slice": 3}
"""Nodes with several axes, and the operand that names them (an attribute in older opsets)."""

_ANYWHERE = (
    "Identity", "Dropout", "Cast", "CastLike", "MatMul", "Gemm", "Add", "Sub", "Mul", "Div", "Max", "Min", "Sum",
    "Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Swish", "Gelu", "LeakyRelu", "Elu", "Softplus",
    "Mish", "Exp", "Log", "Sqrt", "Abs", "Neg", "Pow",
)  # fmt: skip
"""Nodes without axes: they compute the same wherever a batch of 1 stands."""


def on_whole_shapes(call: Call, ordinary: Handler) -> Handler:
    """`ordinary`, or a handler about all axes: of a value whose batch does not lead, or that moves or merges it."""
    kind = call.node.kind
    if not any(isinstance(v, Value) and is_whole(v) for v in call.operands) and not _moves_batch(call):
        return ordinary
    if kind == "Shape":
        return _shape
    if kind not in (*_AXIS, *_AXES, *_ANYWHERE, "Transpose", "Reshape"):
        raise batch_error("works on a tensor whose batch axis is not the first")

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        made, first = ordinary(b, _lifted(call)), next(v for v in call.operands if isinstance(v, Value))
        if isinstance(made, list):
            return [placed(v) if isinstance(v, Value) else v for v in made]
        if not isinstance(made, Value):
            return made
        return placed(made, batch_of_view(first, made.shape, permutation(call) if kind == "Transpose" else None))

    return handler


def permutation(call: Call) -> list[int]:
    """What a Transpose does to all axes."""
    rank = len(full_shape(call.value()))
    perm = [int(p) for p in call.node.get("perm") or list(range(rank))[::-1]]
    if sorted(perm) != list(range(rank)):
        raise ModelError("TC-M306", f"permutation {perm} does not fit a rank of {rank}")
    return perm


def _target(call: Call) -> tuple[int, ...]:
    wanted = call.integers(1, "shape") or []
    return reshape_target(full_shape(call.value()), wanted, bool(call.node.get("allowzero", 0)))


def _moves_batch(call: Call) -> bool:
    if call.node.kind == "Transpose":
        return permutation(call)[0] != 0
    if call.node.kind == "Reshape" and isinstance(call.operand(0), Value):
        return _target(call)[:1] != (1,)
    if call.node.kind == "Squeeze":
        rank = len(full_shape(call.value()))
        return any(a % rank == 0 for a in call.integers(1, "axes") or [])
    return False


def _shape(b: ChannelsFirstBuilder, call: Call) -> Result:
    full = np.asarray(full_shape(call.value()), dtype=np.int64)
    return full[slice(call.node.get("start"), call.node.get("end"))]


def _lifted(call: Call) -> Call:
    """The call on all axes of its values, a batch of 1 still in front of them: what any handler takes.

    Axes are counted from the end, as the new one in front is not counted.
    """
    operands = [lifted(v) if isinstance(v, Value) else v for v in call.operands]
    rank = max(len(v.shape) for v in operands if isinstance(v, Value))
    kind, attributes = call.node.kind, dict(call.node.attributes)
    if kind in _AXIS:
        default = 1 if call.opset < 13 and kind in ("Softmax", "LogSoftmax") else _AXIS[kind]
        attributes["axis"] = _from_end([int(attributes.get("axis", default))], rank)[0]
    elif kind == "Transpose":
        attributes["perm"] = [0, *(p + 1 for p in permutation(call))]
    elif kind == "Reshape":
        attributes["shape"] = [1, *_target(call)]
        operands[1:] = [np.asarray(attributes["shape"], np.int64)] * len(operands[1:])
    elif kind in _AXES:
        axes = call.integers(_AXES[kind], "axes")
        if kind == "Slice" and axes is None:
            axes = list(range(len(call.integers(1, "starts") or [])))
        if axes is None:
            raise refused("works on whichever axes there are", "name the axes")
        counted = _from_end(axes, rank + len(axes) if kind == "Unsqueeze" else rank)
        if "axes" in attributes or len(operands) == 1:
            attributes["axes"] = counted
        else:
            _put(operands, _AXES[kind], np.asarray(counted, np.int64))
    return replace(call, node=replace(call.node, attributes=attributes), operands=tuple(operands))


def _put(operands: list[Operand | None], position: int, value: Array) -> None:
    operands.extend([None] * (position + 1 - len(operands)))
    operands[position] = value


def _from_end(axes: list[int], rank: int) -> list[int]:
    if any(not -rank <= a < rank for a in axes):
        raise ModelError("TC-M306", f"axes {axes} are outside a rank of {rank}")
    return [a - rank if a >= 0 else a for a in axes]
