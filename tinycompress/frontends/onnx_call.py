"""One ONNX node as its handler sees it: operands resolved, axes without batch, refusals with the node's name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.onnx_file import OnnxNode
from tinycompress.frontends.values import Value
from tinycompress.ir.tensor import Array

Operand = Value | Array
Result = Operand | list[Operand]


@dataclass(frozen=True, eq=False)
class ConstantQuantization:
    """How a float constant was dequantized: scales and zero points (int8, after the uint8 shift) along `axis`."""

    scale: Array
    zero_point: Array
    axis: int


def refused(what: str, fix: str | None = None) -> UnsupportedOpError:
    """The error for a node that cannot be expressed; the importer adds the node's name and collects them."""
    return UnsupportedOpError("TC-M304", what, fix=fix)


def batch_error(what: str) -> ModelError:
    """The error for a node that works along the batch axis."""
    return ModelError("TC-M303", what, fix="export for batch size 1 and keep dimension 0 as the batch")


@dataclass(frozen=True, eq=False)
class Call:
    """A node with its operands: activations as `Value`, constants as numpy arrays in ONNX's own shape."""

    node: OnnxNode
    opset: int
    operands: tuple[Operand | None, ...]
    quantizations: Mapping[str, ConstantQuantization]

    def has(self, position: int) -> bool:
        """Whether the operand is there."""
        return position < len(self.operands) and self.operands[position] is not None

    def operand(self, position: int) -> Operand:
        """An operand of either kind."""
        found = self.operands[position] if self.has(position) else None
        if found is None:
            raise ModelError("TC-M306", f"operand {position} is absent")
        return found

    def value(self, position: int = 0) -> Value:
        """An activation operand."""
        found = self.operand(position)
        if not isinstance(found, Value):
            raise refused(f"its operand {position} is a constant", "compute it before the export")
        return found

    def data(self, position: int) -> Array | None:
        """A constant operand; None when it is absent."""
        if not self.has(position):
            return None
        found = self.operand(position)
        if isinstance(found, Value):
            raise refused(f"its operand {position} is computed by the network", "use a constant instead")
        return found

    def constant(self, position: int) -> Array:
        """A constant operand that must be there."""
        found = self.data(position)
        if found is None:
            raise ModelError("TC-M306", f"operand {position} is absent")
        return found

    def real(self, position: int) -> Array | None:
        """A constant operand as float32."""
        found = self.data(position)
        return None if found is None else found.astype(np.float32)

    def weights(self, position: int = 1) -> Array:
        """A constant operand that must be there, as float32."""
        return self.constant(position).astype(np.float32)

    def scalar(self, position: int, default: float | None = None) -> float | None:
        """A constant operand of one element."""
        found = self.data(position)
        if found is None:
            return default
        if found.size != 1:
            raise refused(f"its operand {position} has {found.size} elements instead of one")
        return float(found.reshape(()))

    def integers(self, position: int, attribute: str = "") -> list[int] | None:
        """Integers from a constant operand, or from an attribute (where older opsets keep them)."""
        found = self.data(position)
        if found is not None:
            return [int(v) for v in found.reshape(-1)]
        values = self.node.get(attribute)
        return None if values is None else [int(v) for v in np.atleast_1d(values)]

    def quantization(self, position: int) -> ConstantQuantization | None:
        """How the constant operand was dequantized; None when it is an ordinary float constant."""
        return self.quantizations.get(self.node.inputs[position]) if position < len(self.node.inputs) else None

    def axis(self, axis: int, rank: int) -> int:
        """A node's axis (batch included, perhaps negative) of a batch-free rank-`rank` value, batch-free."""
        if not -rank - 1 <= axis <= rank:
            raise ModelError("TC-M306", f"axis {axis} is outside a rank of {rank + 1}")
        if axis % (rank + 1) == 0:
            raise batch_error("works along the batch axis")
        return axis % (rank + 1) - 1

    def reshaped(self, b: ChannelsFirstBuilder, value: Value, shape: Sequence[int]) -> Value:
        """The value in another full shape, which must keep a leading batch of 1."""
        if not shape or shape[0] != 1:
            raise batch_error(f"its result of shape {list(shape)} has no leading batch axis of 1")
        if math.prod(shape) != math.prod(value.shape):
            raise ModelError("TC-M306", f"cannot reshape {[1, *value.shape]} to {list(shape)}")
        return b.reshape(value, tuple(int(s) for s in shape[1:]))


Handler = Callable[[ChannelsFirstBuilder, Call], Result]


def full_shape(value: Value) -> tuple[int, ...]:
    """ONNX's shape of a value: with the batch of 1."""
    return (1, *value.shape)


def reshape_target(shape: Sequence[int], wanted: Sequence[int], allow_zero: bool) -> tuple[int, ...]:
    """The shape that ONNX's Reshape means: 0 copies a dimension (unless `allow_zero`), one −1 is inferred."""
    target = [int(shape[i]) if d == 0 and not allow_zero and i < len(shape) else int(d) for i, d in enumerate(wanted)]
    if target.count(-1) > 1 or any(d < -1 or d == 0 for d in target):
        raise ModelError("TC-M306", f"shape {list(wanted)} is not one")
    known = math.prod(d for d in target if d != -1)
    total = math.prod(shape)
    if -1 in target:
        if total % known:
            raise ModelError("TC-M306", f"cannot reshape {list(shape)} to {list(wanted)}")
        target[target.index(-1)] = total // known
    if math.prod(target) != total:
        raise ModelError("TC-M306", f"cannot reshape {list(shape)} to {list(wanted)}")
    return tuple(target)


def pair(values: Any, rank: int, default: int = 1) -> tuple[int, int]:
    """Spatial attribute of a batch-free rank-2 or rank-3 value as (h, w); a series has w = 1 (or 0 for paddings)."""
    numbers = list(values) if values is not None else [default] * (rank - 1)
    if len(numbers) != rank - 1 or any(not 0 <= int(n) <= 4096 for n in numbers):
        raise ModelError("TC-M306", f"spatial attribute {numbers} does not fit a rank of {rank + 1}")
    return (int(numbers[0]), int(numbers[1]) if rank == 3 else default)
