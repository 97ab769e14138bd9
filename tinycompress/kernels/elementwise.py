"""Add, Sub, Mul, Maximum, Minimum, PReLU: packing, broadcasting and constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Add, Maximum, Minimum, Mul, Op, PReLU, Sub
from tinycompress.ir.quant_params import add_params, mul_multiplier, prelu_multipliers, same_quantization
from tinycompress.ir.shapes import row_count
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import (
    Scalars,
    describe,
    estimate,
    is_all,
    no_taps,
    output_range,
    padded_to,
)

Steps = tuple[int, int]
Predicate = Callable[[Any, Graph], bool]


def _row_axes(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The axes within a row, of `shape` broadcast to `rank` axes."""
    full = padded_to(shape, rank, 1)
    return full[1:] if rank >= 2 else full


def _merge(output: tuple[int, ...], operands: tuple[tuple[int, ...], ...]) -> list[tuple[int, tuple[bool, ...]]]:
    """Row axes as (extent, is it broadcast in each operand), neighbours of one kind merged, extents of 1 dropped."""
    merged: list[tuple[int, tuple[bool, ...]]] = []
    for axis, extent in enumerate(output):
        kinds = tuple(shape[axis] != extent for shape in operands)
        if extent == 1:
            continue
        if merged and merged[-1][1] == kinds:
            merged[-1] = (merged[-1][0] * extent, kinds)
        else:
            merged.append((extent, kinds))
    return merged


@dataclass(frozen=True)
class Operands:
    """Two operands of an element-wise operator and its output; at most one operand is a constant."""

    output: Tensor
    pair: tuple[Tensor, Tensor]

    @property
    def constants(self) -> tuple[int, ...]:
        """Which operands are constants."""
        return tuple(i for i, t in enumerate(self.pair) if t.is_constant)

    def rows(self, index: int) -> int:
        """Rows of an operand once its shape is led by ones to the output's rank."""
        rank = len(self.output.shape)
        return padded_to(self.pair[index].shape, rank, 1)[0] if rank >= 2 else 1

    @property
    def are_rows(self) -> bool:
        """True when every activation's own rows are the rows it has after broadcasting."""
        return all(t.is_constant or row_count(t.shape) == self.rows(i) for i, t in enumerate(self.pair))

    @property
    def has_constant_row(self) -> bool:
        """True when no constant has several rows."""
        return all(self.rows(i) == 1 for i in self.constants)

    @property
    def row_axes(self) -> tuple[int, int, tuple[Steps, Steps]] | None:
        """(width, channels, both operands' (width step, channel step)) of an output row; None when it has more axes."""
        rank = len(self.output.shape)
        shapes = (_row_axes(self.pair[0].shape, rank), _row_axes(self.pair[1].shape, rank))
        merged = _merge(_row_axes(self.output.shape, rank), shapes)
        if len(merged) > 2:
            return None
        unit: tuple[int, tuple[bool, ...]] = (1, (False, False))
        (width, outer), (channels, inner) = [unit] * (2 - len(merged)) + merged
        steps = [(0 if outer[i] else (1 if inner[i] else channels), 0 if inner[i] else 1) for i in range(2)]
        return width, channels, (steps[0], steps[1])

    @property
    def are_supported(self) -> bool:
        """int8, at most one constant, and broadcasting that tc_broadcast can say."""
        is_typed = is_all(DType.INT8, (self.output, *self.pair))
        return is_typed and len(self.constants) <= 1 and self.are_rows and self.row_axes is not None


def operands_of(op: Op, graph: Graph) -> Operands:
    """The op's two inputs, or a PReLU's input and alpha."""
    names = (op.inputs[0], op.alpha) if isinstance(op, PReLU) else op.inputs
    return Operands(graph.tensors[op.output], (graph.tensors[names[0]], graph.tensors[names[1]]))


def broadcast(operands: Operands) -> tuple[int, ...]:
    """The members of the tc_broadcast struct."""
    if operands.row_axes is None:
        raise ValueError(f"{operands.output.name}: broadcasting within a row takes more than two axes")
    width, channels, steps = operands.row_axes
    height = row_count(operands.output.shape)
    members = [width, channels, operands.constants[0] + 1 if operands.constants else 0]
    for i, tensor in enumerate(operands.pair):
        rows = operands.rows(i)
        row_step = tensor.bytes // rows if tensor.is_constant else 1
        members += [0 if height > 1 and rows == 1 else row_step, *steps[i]]
    return tuple(members)


def _constant_array(operands: Operands) -> tuple[PackedArray, ...]:
    tensors = [operands.pair[i] for i in operands.constants]
    return tuple(PackedArray("constant", t.constant, describe(t, "constant operand", "HWC"), 1) for t in tensors)


def supports(op: Op, graph: Graph) -> bool:
    """int8, at most one constant of one row, and broadcasting that two axes within a row can say."""
    operands = operands_of(op, graph)
    return operands.are_supported and operands.has_constant_row


def supports_whole(op: Op, graph: Graph) -> bool:
    """As `supports`, with a constant of several rows."""
    operands = operands_of(op, graph)
    return operands.are_supported and not operands.has_constant_row


def _has_output_scale(op: Op, graph: Graph) -> bool:
    operands = operands_of(op, graph)
    return all(same_quantization(t, operands.output) for t in operands.pair)


def supports_extremum(op: Op, graph: Graph) -> bool:
    """As `supports`, both operands having the output's scale and zero point."""
    return supports(op, graph) and _has_output_scale(op, graph)


def supports_extremum_whole(op: Op, graph: Graph) -> bool:
    """As `supports_whole`, both operands having the output's scale and zero point."""
    return supports_whole(op, graph) and _has_output_scale(op, graph)


def pack_add(op: Add | Sub, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Add and Sub have the same params."""
    operands = operands_of(op, graph)
    (a, b), y = operands.pair, operands.output
    params = add_params(a, b, y, rounding)
    zero_point, low, high = output_range(op.activation, y)
    scalars: Scalars = (
        ("shape", broadcast(operands)),
        ("a_zero_point", a.quantization.tensor_zero_point),
        ("a_multiplier", params.a_multiplier),
        ("a_shift", params.a_shift),
        ("b_zero_point", b.quantization.tensor_zero_point),
        ("b_multiplier", params.b_multiplier),
        ("b_shift", params.b_shift),
        zero_point,
        ("output_multiplier", params.output_multiplier),
        ("output_shift", params.output_shift),
        low,
        high,
    )
    return PackedKernel(f"tc_{op.kind.lower()}_s8_params", scalars, _constant_array(operands))


def pack_mul(op: Mul, graph: Graph, rounding: Rounding) -> PackedKernel:
    """One multiplier: product of the operands' scales over the output's."""
    operands = operands_of(op, graph)
    (a, b), y = operands.pair, operands.output
    multiplier, shift = mul_multiplier(a, b, y, rounding)
    zero_point, low, high = output_range(op.activation, y)
    scalars: Scalars = (
        ("shape", broadcast(operands)),
        ("a_zero_point", a.quantization.tensor_zero_point),
        ("b_zero_point", b.quantization.tensor_zero_point),
        zero_point,
        ("output_multiplier", multiplier),
        ("output_shift", shift),
        low,
        high,
    )
    return PackedKernel("tc_mul_s8_params", scalars, _constant_array(operands))


def pack_extremum(op: Maximum | Minimum, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Maximum and Minimum compare quantized values; they have the same params."""
    operands = operands_of(op, graph)
    shape = ("shape", broadcast(operands))
    return PackedKernel(f"tc_{op.kind.lower()}_s8_params", (shape,), _constant_array(operands))


def pack_prelu(op: PReLU, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Alpha is the constant second operand; inputs of either sign have a multiplier of their own."""
    operands = operands_of(op, graph)
    (x, alpha), y = operands.pair, operands.output
    (multiplier, shift), (product_multiplier, product_shift) = prelu_multipliers(x, alpha, y, rounding)
    scalars: Scalars = (
        ("shape", broadcast(operands)),
        ("input_zero_point", x.quantization.tensor_zero_point),
        ("alpha_zero_point", alpha.quantization.tensor_zero_point),
        ("output_zero_point", y.quantization.tensor_zero_point),
        ("output_multiplier", multiplier),
        ("output_shift", shift),
        ("product_multiplier", product_multiplier),
        ("product_shift", product_shift),
    )
    return PackedKernel("tc_prelu_s8_params", scalars, _constant_array(operands))


def supports_prelu(op: PReLU, graph: Graph) -> bool:
    """As `supports`; the input is not broadcast."""
    return graph.tensors[op.inputs[0]].shape == graph.tensors[op.output].shape and supports(op, graph)


def supports_prelu_whole(op: PReLU, graph: Graph) -> bool:
    """As `supports_whole`; the input is not broadcast."""
    return graph.tensors[op.inputs[0]].shape == graph.tensors[op.output].shape and supports_whole(op, graph)


def _variants(
    name: str,
    pack: Callable[[Any, Graph, Rounding], PackedKernel],
    per_output: float,
    predicates: tuple[Predicate, Predicate] = (supports, supports_whole),
    in_place: tuple[int, ...] = (0, 1),
) -> tuple[KernelVariant, ...]:
    """The variant that works row by row, and the one for a constant of several rows, which starts at row 0."""
    by_row = KernelVariant(
        name=name,
        header="tc_elementwise.h",
        tier="portable",
        pack=pack,
        supports=predicates[0],
        in_place=in_place,
        instructions=estimate(per_output, 0, no_taps),
    )
    return by_row, replace(by_row, name=f"{name}_whole", supports=predicates[1], whole_input=True)


EXTREMUM = (supports_extremum, supports_extremum_whole)
ADD = _variants("add_s8", pack_add, 90)
SUB = _variants("sub_s8", pack_add, 90)
MUL = _variants("mul_s8", pack_mul, 28)
MAXIMUM = _variants("maximum_s8", pack_extremum, 8, EXTREMUM)
MINIMUM = _variants("minimum_s8", pack_extremum, 8, EXTREMUM)
PRELU = _variants("prelu_s8", pack_prelu, 27, (supports_prelu, supports_prelu_whole), (0,))
