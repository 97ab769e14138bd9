"""The IR graph under construction while TFLite operators are converted: tensors without batch, constants, checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends import limits
from tinycompress.frontends.names import NameScope, safe_name, source_name
from tinycompress.frontends.tflite_file import FileOperator, FileTensor, TfliteFile
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, integer_range
from tinycompress.ir.graph import State
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

ASYMMETRIC = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators whose weights may have one zero point that is not 0."""

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


class GraphBuilder:
    """Collects IR tensors, operators and states. Tensor arguments are indices in the file."""

    def __init__(self, file: TfliteFile, time_major: frozenset[int] = frozenset()) -> None:
        """`time_major` are the file's tensors of shape `[time, batch, features]`."""
        self.file = file
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.states: list[State] = []
        self.notes: list[str] = []
        self._tensor_names = NameScope()
        self._op_names = NameScope()
        self._activations: dict[int, str] = {}
        self._folded: dict[int, FileTensor] = {}
        self._constants: dict[tuple[int, str], str] = {}
        self._variables: set[int] = set()
        self._batch_axes: dict[int, int | None] = dict.fromkeys(time_major, 1)
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._open: dict[str, int] = {}
        for index in file.inputs:
            self._check_input(file.tensors[index])
        for index in (*file.inputs, *file.outputs):
            name = self._tensor_names.unique(safe_name(file.tensors[index].name))
            self._activations.setdefault(index, name)

    # --- what the file says

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

    # --- what goes into the graph

    def activation(self, index: int) -> str:
        """The IR name of an activation tensor, declared on first use."""
        tensor = self.file_tensor(index)
        name = self._activations.get(index)
        if name is None and tensor.data is not None:
            raise ModelError(
                "TC-M205",
                "is a constant where an activation is needed",
                where=tensor.name,
                fix="fold constants before the export; give recurrent layers no constant first state",
            )
        if name is None:
            raise ModelError("TC-M206", f"tensor {tensor.name!r} is read before it is made", where=tensor.name)
        if name not in self.tensors:
            self._declare(name, index)
        return name

    def alias(self, index: int, other: int) -> None:
        """Lets `index` be the same IR tensor as `other` (an operator that changes nothing was dropped)."""
        self._activations[index] = self.activation(other)
        self._shapes[index], self._batch_axes[index] = self.full_shape(other), self.batch_axis(other)

    def operand(self, op: FileOperator, index: int) -> str:
        """An element-wise operand: an activation, or a constant with its broadcast shape and quantization."""
        if not self.is_constant(index):
            return self.activation(index)
        tensor = self.file_tensor(index)
        drop = len(tensor.shape) > 1 and tensor.shape[0] == 1
        return self.add_constant(
            op,
            index,
            "operand",
            self.constant(op, index).reshape(tensor.shape[1:] if drop else tensor.shape or (1,)),
            self.qparams(index, int(drop)),
        )

    def add_constant(self, op: FileOperator, index: int, role: str, data: Array, qparams: QParams | None = None) -> str:
        """Adds a constant named after the operator and its role; equal data of a file tensor in one role is shared."""
        known = self._constants.get((index, role))
        if known is not None and np.array_equal(self.tensors[known].constant, data):
            return known
        name = self._tensor_names.unique(f"{self.op_name(op)}_{role}")
        source = self.file_tensor(index).name
        self.tensors[name] = Tensor(name, data.shape, DType(str(data.dtype)), qparams, data, source)
        self._constants[(index, role)] = name
        return name

    def weights(
        self, op: FileOperator, index: int, is_integer: bool, dropped_axes: int = 0
    ) -> tuple[Array, QParams | None]:
        """Weights as int8 with symmetric quantization, or as float32 (int8 ones of a hybrid operator dequantized)."""
        data, qparams = self.constant(op, index), self.qparams(index)
        if dropped_axes and qparams is not None:
            qparams = self.qparams(index, dropped_axes)
        tensor = self.file_tensor(index)
        data = data.reshape(tensor.shape[dropped_axes:])
        if not is_integer:
            if data.dtype == np.float32:
                return data, None
            if qparams is None:
                raise ModelError("TC-M205", "integer weights have no scale", where=tensor.name)
            self.note("int8 weights of float operators were dequantized; TFLite would quantize their inputs on the fly")
            return dequantize_values(data, qparams), None
        if data.dtype != np.int8 or qparams is None:
            raise ModelError("TC-M205", f"weights of type {tensor.type_name} need int8 and a scale", where=tensor.name)
        return self._symmetric(op, tensor, data, qparams) if any(qparams.zero_point) else (data, qparams)

    @staticmethod
    def _symmetric(op: FileOperator, tensor: FileTensor, data: Array, qparams: QParams) -> tuple[Array, QParams]:
        """Weights with a zero point: shifted to 0 where they stay int8, else as they are where a kernel takes them.

        TFLite defines int8 convolutions with symmetric weights and its runtimes ignore a zero point there; those of
        uint8 files and of fully connected layers count.
        """
        counts = tensor.type_name == "UINT8" or op.kind == "FULLY_CONNECTED"
        view = [1] * data.ndim
        if qparams.axis is not None:
            view[qparams.axis] = -1
        shifted = data.astype(np.int16) - np.asarray(qparams.zero_point, np.int16).reshape(view)
        low, high = integer_range(DType.INT8)
        if counts and low <= shifted.min(initial=0) and shifted.max(initial=0) <= high:
            return shifted.astype(np.int8), replace(qparams, zero_point=(0,) * len(qparams.zero_point))
        if counts and qparams.is_per_tensor and op.kind in ASYMMETRIC:
            return data, qparams
        raise ModelError(
            "TC-M205",
            f"weights have zero point {next(z for z in qparams.zero_point if z)}, only 0 is supported in {op.kind}",
            where=tensor.name,
            fix="quantize again with the int8 scheme of TFLite (symmetric weights)",
        )

    def bias(self, op: FileOperator, index: int, is_integer: bool, channels: int) -> str | None:
        """The bias constant `(channels,)`, int32 or float32; None when the operator has none."""
        if index < 0:
            return None
        data = self.constant(op, index)
        kinds: tuple[type, ...] = (np.int32 if is_integer else np.float32,)
        if self.dtype(op.outputs[0]) is DType.INT16:
            # A sum is requantized as its bias's type says; TFLM reads any bias of a depthwise convolution as int64.
            kinds = (np.int64,) if op.kind == "DEPTHWISE_CONV_2D" else (np.int64, np.int32)
        if data.dtype not in kinds or data.size != channels:
            raise unsupported(op, f"bias of type {data.dtype} and shape {list(data.shape)} for {channels} channels")
        return self.add_constant(op, index, "bias", data.reshape(channels))

    def output(self, op: FileOperator, position: int = 0) -> str:
        """Declares the operator's output and returns its IR name."""
        index = op.outputs[position]
        if index not in self._activations:
            suffix = "" if len(op.outputs) == 1 else f"_{position}"
            self._activations[index] = self._tensor_names.unique(f"{self.op_name(op)}{suffix}_out")
        name = self._activations[index]
        if name not in self.tensors:
            self._declare(name, index)
        return name

    def intermediate(self, op: FileOperator, like: str, shape: tuple[int, ...]) -> str:
        """A new activation of type and quantization of `like` with another shape, inside one file operator."""
        name = self._tensor_names.unique(f"{self.op_name(op)}_in")
        self.tensors[name] = Tensor(name, shape, self.tensors[like].dtype, self.tensors[like].qparams)
        return name

    def reshaped(self, op: FileOperator, name: str, shape: tuple[int, ...], role: str = "flatten") -> str:
        """The tensor in another shape: itself when it has that already, else behind a Reshape."""
        if self.tensors[name].shape == shape:
            return name
        made = self.intermediate(op, name, shape)
        self.add(op, o.Reshape, (name,), (made,), role, shape=shape)
        return made

    def state(self, op: FileOperator, index: int, role: str, shape: tuple[int, ...]) -> tuple[str, str]:
        """Makes a variable of the file state of that shape: the names of its value before and after the operator."""
        tensor = self.file_tensor(index)
        if not tensor.is_variable or index in self._variables or math.prod(tensor.shape) != math.prod(shape):
            raise ModelError(
                "TC-M206", f"{list(tensor.shape)} is no variable of {list(shape)} of its own", where=op.label()
            )
        self._variables.add(index)
        names = []
        for stem in (role, f"next_{role}"):
            name = self._tensor_names.unique(f"{self.op_name(op)}_{stem}")
            self.tensors[name] = Tensor(name, shape, self.dtype(index), self.qparams(index), source=tensor.name)
            names.append(name)
        self.states.append(State(names[0], names[1]))
        return names[0], names[1]

    def add(
        self,
        op: FileOperator,
        cls: type[o.Op],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        role: str = "",
        **fields: Any,
    ) -> None:
        """Appends an IR operator made from the file's operator; `role` names one of several made from the same."""
        name = self._op_names.unique(f"{self.op_name(op)}_{role}" if role else self.op_name(op))
        source = source_name(self.file_tensor(op.outputs[0]).name) if op.outputs else ""
        made = cls(name=name, inputs=inputs, outputs=outputs, source=(source,), **fields)
        if any(n in self._open for n in outputs):
            self._close(op, made)
        self.ops.append(made)

    def _close(self, op: FileOperator, made: o.Op) -> None:
        """Gives outputs that the file leaves open the shape that the operator computes."""
        for name, shape in zip(made.outputs, infer(made, self.tensors), strict=True):
            index = self._open.pop(name, None)
            if index is None:
                continue
            rank = len(self.file.tensors[index].shape)
            if rank not in (len(shape), len(shape) + 1):
                raise ModelError("TC-M206", f"computes {list(shape)}, the file says rank {rank}", where=op.label())
            self._batch_axes.setdefault(index, 0 if rank > len(shape) else None)
            axis = self._batch_axes[index]
            self._shapes[index] = shape if axis is None else (*shape[:axis], 1, *shape[axis:])
            self.tensors[name] = replace(self.tensors[name], shape=shape)

    def note(self, sentence: str) -> None:
        """Records a sentence for the report, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def note_unsigned_ties(self, op: FileOperator) -> None:
        """Notes that an operator of a uint8 file is computed as its int8 kernel does it."""
        if self.file_tensor(op.outputs[0]).type_name == "UINT8":
            self.note(
                f"{op.kind} of a uint8 file rounds as the int8 kernel, which may differ by one from the uint8 one"
            )

    def op_name(self, op: FileOperator) -> str:
        """The stem of the names of everything made from a file operator."""
        return f"{safe_name(op.kind).lower()}_{op.index}"

    def _declare(self, name: str, index: int) -> None:
        tensor = self.file_tensor(index)
        qparams = self.qparams(index)
        dtype = self.dtype(index)
        if qparams is not None and not qparams.is_per_tensor:
            raise ModelError("TC-M205", "activations quantized per axis are not supported", where=tensor.name)
        if dtype is DType.INT32 and qparams is None and index in self.file.inputs:
            qparams = QParams.per_tensor(1.0, 0, 32)  # indices are the user's own numbers
        if dtype is DType.INT64:
            raise ModelError("TC-M205", "int64 activations are not supported", where=tensor.name)
        if dtype in (DType.INT8, DType.INT16) and qparams is None:
            raise ModelError("TC-M205", f"a {tensor.type_name} activation has no quantization", where=tensor.name)
        shape: tuple[int, ...] = ()
        if tensor.is_open and index not in self._shapes and index not in self.file.inputs:
            self._open[name] = index
        else:
            shape = self.shape(index)
        self.tensors[name] = Tensor(name, shape, dtype, qparams, source=tensor.name)

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


Converter = Callable[[GraphBuilder, FileOperator], None]
"""Adds what one file operator means to the graph."""
