"""Checks and options that most TFLite converters share."""

from __future__ import annotations

from typing import Any

import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends.tflite_file import FileOperator
from tinycompress.frontends.tflite_graph import GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.shapes import same_padding
from tinycompress.ir.tensor import DType

MAX_WINDOW = 4096
"""Largest stride, dilation, kernel side and rank."""

_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: o.NO_ACTIVATION,
    tflite.ActivationFunctionType.RELU: o.RELU,
    tflite.ActivationFunctionType.RELU_N1_TO_1: o.Activation(-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: o.RELU6,
}


def check_arity(op: FileOperator, inputs: tuple[int, ...], outputs: int = 1) -> None:
    """ModelError TC-M206 unless the operator has one of the `inputs` counts; the smallest count is required."""
    if len(op.inputs) not in inputs or len(op.outputs) != outputs:
        raise ModelError("TC-M206", f"has {len(op.inputs)} inputs and {len(op.outputs)} outputs", where=op.label())
    if any(i < 0 for i in op.inputs[: inputs[0]]):
        raise ModelError("TC-M206", "a required input is absent", where=op.label())


def required_options(op: FileOperator, cls: Any) -> Any:
    """The operator's options; ModelError TC-M206 when the file stores none."""
    options = op.read_options(cls)
    if options is None:
        raise ModelError("TC-M206", "its options are missing", where=op.label())
    return options


def fused_activation(op: FileOperator, options: Any | None) -> o.Activation:
    """The fused clamp; tanh and sign have no clamp and are refused."""
    code = tflite.ActivationFunctionType.NONE if options is None else options.FusedActivationFunction()
    if code not in _ACTIVATIONS:
        raise unsupported(op, f"fused activation function {code} is not supported")
    return _ACTIVATIONS[code]


def is_integer(g: GraphBuilder, op: FileOperator, *indices: int, wide: bool = False) -> bool:
    """True for int8 operands, False for float32; UnsupportedOpError for mixtures and other types.

    With `wide`, symmetric int16 operands do as well.
    """
    kinds = {g.dtype(i) for i in indices}
    if kinds == {DType.INT8}:
        return True
    if wide and kinds == {DType.INT16}:
        qparams = [g.qparams(i) for i in indices]
        if any(q is not None and any(q.zero_point) for q in qparams):
            raise unsupported(op, "int16 activations with a zero point that is not 0", "quantize int16 symmetrically")
        return True
    if kinds == {DType.FLOAT32}:
        return False
    raise unsupported(
        op,
        f"operands of type {' and '.join(sorted(k.value for k in kinds))} are not supported",
        "quantize activations to int8"
        if wide
        else "quantize activations to int8; this operator has no int16 form here",
    )


def check_pair(op: FileOperator, what: str, first: int, second: int) -> o.Pair:
    """The two numbers, once both are in 1..MAX_WINDOW."""
    if not (1 <= first <= MAX_WINDOW and 1 <= second <= MAX_WINDOW):
        raise ModelError("TC-M206", f"{what} {[first, second]} is outside 1..{MAX_WINDOW}", where=op.label())
    return first, second


def image_shape(g: GraphBuilder, op: FileOperator, index: int) -> tuple[int, int, int]:
    """The batch-free `(h, w, c)` of an image operand."""
    shape = g.shape(index)
    if len(shape) != 3 or g.batch_axis(index) != 0:
        raise unsupported(op, f"input shape {list(g.full_shape(index))} is not [1, h, w, c]")
    return shape[0], shape[1], shape[2]


def four_paddings(
    op: FileOperator, code: int, size: o.Pair, kernel: o.Pair, stride: o.Pair, dilation: o.Pair = (1, 1)
) -> o.Padding:
    """SAME or VALID as (top, left, bottom, right)."""
    if code == tflite.Padding.VALID:
        return (0, 0, 0, 0)
    if code != tflite.Padding.SAME:
        raise unsupported(op, f"padding {code} is neither SAME nor VALID")
    top, bottom = same_padding(size[0], kernel[0], stride[0], dilation[0])
    left, right = same_padding(size[1], kernel[1], stride[1], dilation[1])
    return (top, left, bottom, right)
