"""ATen calls on all axes of their values: where the batch of 1 does not lead, and where a call moves or merges it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.batch_axis import FIX, full_shape, placed, whole
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.torch_calls import Call, Handler, Result
from tinycompress.frontends.torch_movement import MOVEMENT
from tinycompress.frontends.values import Value

_ANYWHERE = (
    "linear", "matmul", "mm", "bmm", "addmm", "scaled_dot_product_attention", "layer_norm", "softmax", "log_softmax",
    "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "mean", "dropout", "relu", "relu6", "hardtanh", "clamp",
    "clip", "clamp_min", "clamp_max", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "mish", "leaky_relu",
    "elu", "softplus", "exp", "log", "sqrt", "rsqrt", "square", "abs", "neg", "gelu", "pow",
)  # fmt: skip
"""Operators that compute the same wherever a batch of 1 stands."""


def on_whole_shapes(target: str, call: Call, ordinary: Handler) -> Handler:
    """`ordinary`, or a handler about all axes: of a value whose batch does not lead, or that moves or merges it."""
    is_whole = any(not v.has_batch for v in _values(call))
    if target in MOVEMENT:
        is_whole = is_whole or _moves_batch(call)
    elif is_whole and target.split(".")[1] not in _ANYWHERE:
        raise ModelError("TC-M102", "it works on a tensor whose batch axis is not the first", fix=FIX)
    if not is_whole:
        return ordinary

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        made = ordinary(b, _lifted(call))
        return [placed(v) for v in made] if isinstance(made, list) else placed(made)

    return handler


def _values(call: Call) -> list[Value]:
    held = [v for a in call.args.values() for v in (a if isinstance(a, (list, tuple)) else [a])]
    return [v for v in held if isinstance(v, Value)]


def _moves_batch(call: Call) -> bool:
    """Whether the batch, in front before, is elsewhere in the results or merged. Joining along it is no move."""
    if "tensors" in call.args:
        return False
    if any(shape[:1] != (1,) for shape in call.result_shapes):
        return True
    rank = len(call.result_shapes[0])
    if "dims" in call.args:
        return bool(call["dims"][0] % rank)
    return "dim0" in call.args and 0 in (call["dim0"] % rank, call["dim1"] % rank) and call["dim0"] != call["dim1"]


def _lifted(call: Call) -> Call:
    """The call on all axes of its values, a batch of 1 still in front of them: what any handler takes.

    Axes are counted from the end, as the new one in front is not counted.
    """
    rank = max(len(full_shape(v)) for v in _values(call))
    axes = rank + 1 if "tensors" in call.args and len(call.result_shapes[0]) > rank else rank  # stack makes an axis

    def lift(name: str, argument: Any) -> Any:
        if isinstance(argument, Value):
            return replace(whole(argument), has_batch=True)
        if isinstance(argument, (list, tuple)) and any(isinstance(a, Value) for a in argument):
            return [lift("", a) for a in argument]
        if name == "dims":
            return [0, *(int(d) % rank + 1 for d in argument)]
        if name in ("dim", "dim0", "dim1") and argument is not None:
            dims = [int(d) - axes if d >= 0 else int(d) for d in np.atleast_1d(argument)]
            return dims if isinstance(argument, (list, tuple)) else dims[0]
        return argument

    shapes = tuple((1, *shape) for shape in call.result_shapes)
    return Call({name: lift(name, argument) for name, argument in call.args.items()}, shapes)
