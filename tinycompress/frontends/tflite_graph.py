"""The IR graph under construction while TFLite operators are converted: its tensors, constants, operators, states."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.names import NameScope, safe_name, source_name
from tinycompress.frontends.tflite_file import FileOperator, FileTensor, TfliteFile
from tinycompress.frontends.tflite_tensors import FileTensors, unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values, integer_range
from tinycompress.ir.graph import State
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

ASYMMETRIC = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators whose weights may have one zero point that is not 0."""


class GraphBuilder(FileTensors):
    """Collects IR tensors, operators and states. Tensor arguments are indices in the file."""

    def __init__(self, file: TfliteFile, time_major: frozenset[int] = frozenset()) -> None:
        super().__init__(file, time_major)
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[o.Op] = []
        self.states: list[State] = []
        self.notes: list[str] = []
        self._tensor_names = NameScope()
        self._op_names = NameScope()
        self._activations: dict[int, str] = {}
        self._constants: dict[tuple[int, str], str] = {}
        self._variables: set[int] = set()
        self._open: dict[str, int] = {}
        for index in (*file.inputs, *file.outputs):
            name = self._tensor_names.unique(safe_name(file.tensors[index].name))
            self._activations.setdefault(index, name)

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


Converter = Callable[[GraphBuilder, FileOperator], None]
"""Adds what one file operator means to the graph."""
