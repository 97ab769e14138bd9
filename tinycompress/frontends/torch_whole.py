"""ATen calls on all axes of their values: where the batch of 1 does not lead, and where a call moves or merges it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.batch_axis import FIX, batch_of_view, full_shape, is_whole, lifted, placed
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
    reads_whole = any(is_whole(v) for v in _values(call))
    if target not in MOVEMENT and reads_whole and target.split(".")[1] not in _ANYWHERE:
        raise ModelError("TC-M102", "it works on a tensor whose batch axis is not the first", fix=FIX)
    if not reads_whole and not (target in MOVEMENT and _moves_batch(call)):
        return ordinary

    def handler(b: ChannelsFirstBuilder, call: Call) -> Result:
        made, (first, *_) = ordinary(b, _lifted(call)), _values(call)
        if isinstance(made, list):
            return [placed(v) for v in made]
        return placed(made, batch_of_view(first, made.shape, _permutation(call)))

    return handler


def _permutation(call: Call) -> list[int] | None:
    """What a permute or a transpose does to all axes; None for other calls."""
    if "dims" not in call.args and "dim0" not in call.args:
        return None
    perm = list(range(len(call.result_shapes[0])))
    if "dims" in call.args:
        return [int(d) % len(perm) for d in call["dims"]]
    first, second = int(call["dim0"]) % len(perm), int(call["dim1"]) % len(perm)
    perm[first], perm[second] = second, first
    return perm


def _values(call: Call) -> list[Value]:
    held = [v for a in call.args.values() for v in (a if isinstance(a, (list, tuple)) else [a])]
    return [v for v in held if isinstance(v, Value)]


def _moves_batch(call: Call) -> bool:
    """Whether the batch, in front before, is elsewhere in the results or merged. Joining along it is no move."""
    if "tensors" in call.args:
        return False
    perm = _permutation(call)
    return any(shape[:1] != (1,) for shape in call.result_shapes) or (perm is not None and perm[0] != 0)


def _lifted(call: Call) -> Call:
    """The call on all axes of its values, a batch of 1 still in front of them: what any handler takes.

    Axes are counted from the end, as the new one in front is not counted.
    """
    rank = max(len(full_shape(v)) for v in _values(call))
    axes = rank + 1 if "tensors" in call.args and len(call.result_shapes[0]) > rank else rank  # stack makes an axis

    def lift(name: str, argument: Any) -> Any:
        if isinstance(argument, Value):
            return lifted(argument)
        if isinstance(argument, (list, tuple)) and any(isinstance(a, Value) for a in argument):
            return [lift("", a) for a in argument]
        if name == "dims":
            return [0, *(d + 1 for d in _permutation(call) or ())]
        if name in ("dim", "dim0", "dim1") and argument is not None:
            dims = [int(d) - axes if d >= 0 else int(d) for d in np.atleast_1d(argument)]
            return dims if isinstance(argument, (list, tuple)) else dims[0]
        return argument

    shapes = tuple((1, *shape) for shape in call.result_shapes)
    return Call({name: lift(name, argument) for name, argument in call.args.items()}, shapes)
