"""What a TFLite file says of its tensors: shapes with and without their batch, types, quantization, constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends import limits
from tinycompress.frontends.tflite_file import FileOperator, FileTensor, TfliteFile
from tinycompress.ir.fixedpoint import dequantize_values, integer_range
from tinycompress.ir.tensor import Array, DType, QParams

IR_TYPES = {
    "FLOAT32": DType.FLOAT32,
    "INT8": DType.INT8,
    "UINT8": DType.INT8,
    "INT16": DType.INT16,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
}


def unsupported(op: FileOperator, what: str, fix: str | None = None) -> UnsupportedOpError:
    """The error for an operator of a known kind in a form that is not supported (TC-M204)."""
    return UnsupportedOpError("TC-M204", what, where=op.label(), fix=fix)


class FileTensors:
    """The tensors of a file by their index in it, with what import finds out: open shapes, batch axes, constants."""

    def __init__(self, file: TfliteFile, time_major: frozenset[int] = frozenset()) -> None:
        """`time_major` are the file's tensors of shape `[time, batch, features]`."""
        self.file = file
        self._folded: dict[int, FileTensor] = {}
        self._batch_axes: dict[int, int | None] = dict.fromkeys(time_major, 1)
        self._shapes: dict[int, tuple[int, ...]] = {}
        for index in file.inputs:
            self._check_input(file.tensors[index])

    def file_tensor(self, index: int) -> FileTensor:
        """The file's record, or the folded constant that took its place."""
        return self._folded.get(index) or self.file.tensors[index]

    def fold_dequantized(self, op: FileOperator) -> None:
        """Makes the output of a Dequantize of a constant a float constant."""
        source = self.file_tensor(op.inputs[0])
        data, qparams = self.constant(op, op.inputs[0]), self.qparams(op.inputs[0])
        if data.dtype != np.float32:
            if qparams is None:
                raise ModelError("TC-M205", "dequantizes a constant without scale", where=source.name)
            data = dequantize_values(data, qparams)
        target = self.file.tensors[op.outputs[0]]
        if data.shape != target.shape:
            raise ModelError("TC-M206", f"dequantizes {list(data.shape)} to {list(target.shape)}", where=op.label())
        self._folded[op.outputs[0]] = replace(target, data=data, type_name="FLOAT32", dtype=np.dtype(np.float32))

    def full_shape(self, index: int) -> tuple[int, ...]:
        """Shape with the batch: as the file says, or as found on import where the file leaves it open."""
        tensor = self.file_tensor(index)
        if index in self._shapes:
            return self._shapes[index]
        if tensor.is_open and tensor.data is None and index not in self.file.inputs:
            raise ModelError(
                "TC-M203",
                f"tensor {tensor.name!r} has dynamic dimensions beyond the batch",
                where=tensor.name,
                fix="export the model with a fixed input shape",
            )
        return tensor.shape

    def batch_axis(self, index: int) -> int | None:
        """Where the batch of 1 is in the full shape: first, second in a time-major sequence, None without batch."""
        if index not in self._batch_axes:
            shape = self.full_shape(index)
            self._batch_axes[index] = 0 if len(shape) > 1 and shape[0] == 1 else None
        return self._batch_axes[index]

    def is_time_major(self, index: int) -> bool:
        """Whether a tensor is a sequence whose batch comes second."""
        return self._batch_axes.get(index) == 1

    def shape(self, index: int) -> tuple[int, ...]:
        """Batch-free shape of an activation."""
        shape, axis = self.full_shape(index), self.batch_axis(index)
        return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])

    def axis(self, op: FileOperator, index: int, axis: int) -> int:
        """An axis of the file's tensor, perhaps negative, as one of the batch-free shape; refuses the batch itself."""
        rank, batch = len(self.full_shape(index)), self.batch_axis(index)
        if not -rank <= axis < rank:
            raise ModelError("TC-M206", f"axis {axis} is outside a rank of {rank}", where=op.label())
        if axis % rank == batch:
            raise ModelError("TC-M203", "works across the batch axis", where=op.label(), fix="export for batch size 1")
        return axis % rank - (batch is not None and axis % rank > batch)

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """The full shape of a tensor that the file leaves open; one that the file declares stays."""
        tensor = self.file.tensors[index]
        if tensor.is_open:
            self._shapes[index] = limits.check_shape(shape, tensor.name)

    def set_constant(self, index: int, data: Array) -> None:
        """Makes a tensor the constant that an operator of constants gives."""
        target = self.file.tensors[index]
        limits.check_count("dimensions", data.ndim, limits.MAX_RANK, target.name)
        if data.dtype != target.dtype or (data.shape != target.shape and not target.is_open):
            what = f"computed {data.dtype}{list(data.shape)}, declared {target.type_name}{list(target.shape)}"
            raise ModelError("TC-M206", what, where=target.name)
        self._folded[index] = replace(target, data=data, shape=tuple(data.shape))

    def is_constant(self, index: int) -> bool:
        return self.file_tensor(index).data is not None

    def dtype(self, index: int) -> DType:
        """The IR type of a tensor; ModelError TC-M205 when the IR has none."""
        tensor = self.file_tensor(index)
        if tensor.type_name not in IR_TYPES:
            raise ModelError("TC-M205", f"tensors of type {tensor.type_name} are not supported", where=tensor.name)
        return IR_TYPES[tensor.type_name]

    def is_quantized_apart(self, index: int, other: int) -> bool:
        """Whether two tensors differ in type or quantization, so that values cannot just pass between them."""
        return self.dtype(index) is not self.dtype(other) or self.qparams(index) != self.qparams(other)

    def qparams(self, index: int, dropped_axes: int = 0) -> QParams | None:
        """Quantization parameters, uint8 shifted to int8; `dropped_axes` leading axes are gone from the IR's shape."""
        tensor = self.file_tensor(index)
        if not tensor.scales or tensor.type_name not in ("INT8", "UINT8", "INT16", "INT32"):
            return None
        if not all(math.isfinite(s) and s > 0 for s in tensor.scales):
            raise ModelError("TC-M205", "has a scale that is not positive and finite", where=tensor.name)
        if len(tensor.zero_points) != len(tensor.scales):
            raise ModelError(
                "TC-M206", f"{len(tensor.scales)} scales, {len(tensor.zero_points)} zero points", where=tensor.name
            )
        offset = 128 if tensor.type_name == "UINT8" else 0
        zero_points = tuple(z - offset for z in tensor.zero_points)
        low, high = integer_range(self.dtype(index))
        if not all(low <= z <= high for z in zero_points):
            raise ModelError("TC-M205", f"has a zero point outside {low}..{high}", where=tensor.name)
        bits = 8 * self.dtype(index).itemsize
        if len(tensor.scales) == 1:
            return QParams(tensor.scales, zero_points, None, bits)
        axis = tensor.axis - dropped_axes
        if not 0 <= axis < len(tensor.shape) - dropped_axes or tensor.shape[tensor.axis] != len(tensor.scales):
            raise ModelError("TC-M206", f"{len(tensor.scales)} scales on axis {tensor.axis}", where=tensor.name)
        return QParams(tensor.scales, zero_points, axis, bits)

    def raw_constant(self, op: FileOperator, index: int) -> Array:
        """A constant's data as in the file."""
        tensor = self.file_tensor(index)
        if tensor.data is None or tensor.dtype is None:
            raise unsupported(op, f"its input {tensor.name!r} must be a constant")
        return tensor.data

    def constant(self, op: FileOperator, index: int) -> Array:
        """A constant's data in an IR type (uint8 shifted, float16 widened), shape as in the file."""
        tensor = self.file_tensor(index)
        if tensor.data is None:
            raise unsupported(op, f"its input {tensor.name!r} must be a constant")
        if tensor.type_name == "UINT8":
            return (tensor.data.astype(np.int16) - 128).astype(np.int8)
        if tensor.type_name == "FLOAT16":
            return tensor.data.astype(np.float32)
        return tensor.data.astype(self.dtype(index).numpy)

    def integers(self, op: FileOperator, index: int) -> list[int]:
        """A small constant vector of integers (axes, shapes, paddings), flattened."""
        tensor = self.file_tensor(index)
        if tensor.data is None or tensor.type_name not in ("INT32", "INT64"):
            raise unsupported(op, f"its input {tensor.name!r} must be a constant of integers")
        limits.check_count("values", tensor.data.size, 4 * limits.MAX_RANK, op.label())
        return [int(v) for v in tensor.data.reshape(-1)]

    def _check_input(self, tensor: FileTensor) -> None:
        """ModelError TC-M203 when a graph input has no batch of 1, or dimensions beyond it are open."""
        if any(d < 0 for d in tensor.signature[1:]):
            raise ModelError(
                "TC-M203",
                f"tensor {tensor.name!r} has dynamic dimensions beyond the batch",
                where=tensor.name,
                fix="export the model with a fixed input shape",
            )
        axis = self._batch_axes.get(tensor.index) or 0
        if len(tensor.shape) < 2 or tensor.shape[axis] != 1:
            raise ModelError(
                "TC-M203",
                f"tensor {tensor.name!r} has shape {list(tensor.shape)}: dimension {axis} must be a batch of 1",
                where=tensor.name,
                fix="export the model for batch size 1",
            )
