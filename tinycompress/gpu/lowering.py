"""What lowering an operator to launches of the CUDA kernels needs: members of a struct, device pointers, constants.

Integer parameters come from `ir.fixedpoint` and `ir.quant_params`, as they do for the reference and for the
microcontroller's kernels; products.py and elements.py have one function per operator, operators.py the table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycompress.emit.arrays import initialiser
from tinycompress.emit.names import Names
from tinycompress.gpu.contexts import ConstantContext, PartContext
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array, Tensor

Fields = Sequence[tuple[str, Any]]


@dataclass
class Lowering:
    """Collects the constants of a network while its operators are lowered."""

    graph: QuantGraph
    sparse: Collection[str]
    tensor_index: dict[str, str]
    names: Names
    constants: list[ConstantContext] = field(default_factory=list)

    def __getitem__(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def constant(self, stem: str, data: Array, comment: str) -> str:
        """The C expression of a device pointer to `data` (int8, int16, int32 or uint32)."""
        name = self.names.fresh(stem, "k")
        index = name.upper()
        c_type = f"{data.dtype}_t"
        self.constants.append(ConstantContext(name, index, c_type, data.size, initialiser(data), comment))
        return f"(const {c_type} *)run->constants[{index}]"

    def data(self, name: str) -> str:
        """The device pointer of an activation, or of a constant operand."""
        if self[name].is_constant:
            return self.constant(name, self[name].constant, f"{name}, a constant operand")
        return f"run->tensors[{self.tensor_index[name]}]"

    def elements(self, name: str) -> int:
        return int(np.prod(self[name].shape, dtype=np.int64))

    def tap_sources(self, op: Any) -> Fields:
        """Members that a sliding window shares with every other."""
        h, w, c = self[op.inputs[0]].shape
        top, left = op.padding[:2]
        return [
            ("height", h), ("width", w), ("channels", c), ("out_width", self[op.output].shape[1]),
            ("stride_height", op.stride[0]), ("stride_width", op.stride[1]), ("pad_top", top), ("pad_left", left),
        ]  # fmt: skip

    def clamp(self, op: Any) -> Fields:
        low, high = activation_range(getattr(op, "activation", o.NO_ACTIVATION), self[op.output])
        return [("activation_min", low), ("activation_max", high)]

    def zero_points(self, op: o.Op) -> Fields:
        return [
            ("input_zero_point", self[op.inputs[0]].quantization.tensor_zero_point),
            ("output_zero_point", self[op.outputs[0]].quantization.tensor_zero_point),
        ]

    def in_out(self, op: o.Op) -> Fields:
        return [("input", self.data(op.inputs[0])), ("output", self.data(op.outputs[0]))]


def part(kind: str, name: str, fields: Fields) -> PartContext:
    """A launch of an element-wise struct."""
    final = tuple((member, str(value)) for member, value in fields)
    return PartContext(kind, name, final, f"tc_layer_launch({name}, run->batch)")


def scale_fields(member: str, pair: tuple[int, int]) -> Fields:
    return [(f"{member}.multiplier", pair[0]), (f"{member}.shift", pair[1])]


Lower = Callable[[Any, Lowering], list[PartContext]]
"""The launches of one operator, in order."""
