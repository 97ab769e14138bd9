"""Tensors: shape, type, quantization, and data when constant."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class DType(enum.Enum):
    """Element types that exist in the IR. uint8 files become INT8 on import by shifting the zero point.

    INT64 is the type of biases of int16 layers whose sums have 64 bits; no activation has it.
    """

    FLOAT32 = "float32"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.value)

    @property
    def c_type(self) -> str:
        return "float" if self is DType.FLOAT32 else f"{self.value}_t"


@dataclass(frozen=True)
class QParams:
    """real = scale · (q − zero_point), per tensor (`axis` None, one entry) or per slice along `axis`.

    Scales are positive, finite and float32-representable (the constructor rounds them to float32, so that a file
    written and read back is the same); multiplier and shift are derived by `ir.fixedpoint`, never stored.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        rounded = tuple(float(np.float32(s)) for s in self.scale)
        object.__setattr__(self, "scale", rounded)
        if len(rounded) != len(self.zero_point):
            raise ValueError(f"{len(rounded)} scales but {len(self.zero_point)} zero points")
        if self.axis is None and len(rounded) != 1:
            raise ValueError(f"per-tensor quantization has one scale, not {len(rounded)}")
        if not all(math.isfinite(s) and s > 0 for s in rounded):
            raise ValueError(f"scales must be positive and finite: {[s for s in rounded if not s > 0][:3]}")

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int, bits: int = 8) -> QParams:
        return cls((scale,), (zero_point,), None, bits)

    @property
    def is_per_tensor(self) -> bool:
        return self.axis is None

    @property
    def tensor_scale(self) -> float:
        """The one scale of a per-tensor quantization; ValueError when it is per axis."""
        if self.axis is not None:
            raise ValueError("per-axis quantization has no single scale")
        return self.scale[0]

    @property
    def tensor_zero_point(self) -> int:
        if self.axis is not None:
            raise ValueError("per-axis quantization has no single zero point")
        return self.zero_point[0]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value in a graph: batch-free shape (images `(h, w, c)`, series `(t, 1, c)`, vectors `(c,)`).

    `data` is set for constants (weights, biases, tables), read-only. `source` is the user's name for it, used only in
    comments and messages. Shapes of weights: OHWI for Conv2D (I = in_channels / groups), `(kh, kw, c·multiplier)` for
    DepthwiseConv2D with output channel c·multiplier + m, `(out, in)` for FullyConnected.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    qparams: QParams | None = None
    data: Array | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.data is not None:
            if tuple(self.data.shape) != self.shape or self.data.dtype != self.dtype.numpy:
                raise ValueError(
                    f"tensor {self.name}: data is {self.data.dtype}{list(self.data.shape)}, "
                    f"declared {self.dtype.value}{list(self.shape)}"
                )
            frozen = self.data.view()
            frozen.flags.writeable = False
            object.__setattr__(self, "data", frozen)

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize

    @property
    def constant(self) -> Array:
        """The data of a constant; ValueError for an activation."""
        if self.data is None:
            raise ValueError(f"tensor {self.name} is not a constant")
        return self.data

    @property
    def quantization(self) -> QParams:
        """The quantization parameters; ValueError when it has none."""
        if self.qparams is None:
            raise ValueError(f"tensor {self.name} has no quantization parameters")
        return self.qparams

    def with_data(self, data: Array) -> Tensor:
        """The same constant with other data (shape and dtype follow the data)."""
        return replace(self, data=data, shape=tuple(data.shape), dtype=DType(str(data.dtype)))
