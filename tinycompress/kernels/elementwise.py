"""Add, Sub, Mul, Maximum, Minimum: packing, broadcasting and constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Add, Maximum, Minimum, Mul, Op, Sub
from tinycompress.ir.quant_params import add_params, mul_multiplier, same_quantization
from tinycompress.ir.shapes import row_count
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import (
    Scalars,
    describe,
    estimate,
    is_int8,
    no_taps,
    output_range,
    padded_to,
)

Steps = tuple[int, int]


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


def _plan_rows(op: Op, graph: Graph) -> tuple[int, int, tuple[Steps, Steps]] | None:
    """(width, channels, (width step, channel step) of both operands) of an output row; None when it takes more axes."""
    shape = graph.tensors[op.output].shape
    operands = tuple(_row_axes(graph.tensors[n].shape, len(shape)) for n in op.inputs)
    merged = _merge(_row_axes(shape, len(shape)), operands)
    if len(merged) > 2:
        return None
    whole: tuple[int, tuple[bool, ...]] = (1, (False, False))
    (width, outer), (channels, inner) = [whole] * (2 - len(merged)) + merged
    steps = []
    for i in range(2):
        channel_step = 0 if inner[i] else 1
        steps.append((0 if outer[i] else (1 if inner[i] else channels), channel_step))
    return width, channels, (steps[0], steps[1])


def _constants(op: Op, graph: Graph) -> list[int]:
    return [i for i, n in enumerate(op.inputs) if graph.tensors[n].is_constant]


def _operand_rows(op: Op, graph: Graph, index: int) -> int:
    """Rows of an operand once its shape is led by ones to the output's rank."""
    rank = len(graph.tensors[op.output].shape)
    return padded_to(graph.tensors[op.inputs[index]].shape, rank, 1)[0] if rank >= 2 else 1


def _are_stored_as_rows(op: Op, graph: Graph) -> bool:
    """True when every activation operand's own rows are the rows it has after broadcasting."""
    constants = _constants(op, graph)
    return all(
        i in constants or row_count(graph.tensors[n].shape) == _operand_rows(op, graph, i)
        for i, n in enumerate(op.inputs)
    )


def _has_one_constant_row(op: Op, graph: Graph) -> bool:
    return all(_operand_rows(op, graph, i) == 1 for i in _constants(op, graph))


def broadcast(op: Op, graph: Graph) -> tuple[int, ...]:
    """The tc_broadcast struct of the op."""
    found = _plan_rows(op, graph)
    if found is None:
        raise ValueError(f"{op.name}: broadcasting within a row takes more than two axes")
    width, channels, steps = found
    height = row_count(graph.tensors[op.output].shape)
    constant = _constants(op, graph)
    members = [width, channels, constant[0] + 1 if constant else 0]
    for i, name in enumerate(op.inputs):
        tensor = graph.tensors[name]
        rows = _operand_rows(op, graph, i)
        row_step = tensor.elements // rows if i in constant else 1
        members += [0 if height > 1 and rows == 1 else row_step, *steps[i]]
    return tuple(members)


def _constant_array(op: Op, graph: Graph) -> tuple[PackedArray, ...]:
    tensors = [graph.tensors[op.inputs[i]] for i in _constants(op, graph)]
    return tuple(PackedArray("constant", t.constant, describe(t, "constant operand", "HWC"), 1) for t in tensors)


def _supports_rows(op: Op, graph: Graph) -> bool:
    return (
        is_int8(op, graph)
        and len(_constants(op, graph)) <= 1
        and _are_stored_as_rows(op, graph)
        and _plan_rows(op, graph) is not None
    )


def supports(op: Op, graph: Graph) -> bool:
    """int8, at most one constant of one row, and broadcasting that two axes within a row can say."""
    return _supports_rows(op, graph) and _has_one_constant_row(op, graph)


def supports_whole(op: Op, graph: Graph) -> bool:
    """As `supports`, with a constant of several rows."""
    return _supports_rows(op, graph) and not _has_one_constant_row(op, graph)


def _has_output_scale(op: Op, graph: Graph) -> bool:
    y = graph.tensors[op.output]
    return all(same_quantization(graph.tensors[n], y) for n in op.inputs)


def supports_extremum(op: Op, graph: Graph) -> bool:
    """As `supports`, both operands having the output's scale and zero point."""
    return supports(op, graph) and _has_output_scale(op, graph)


def supports_extremum_whole(op: Op, graph: Graph) -> bool:
    """As `supports_whole`, both operands having the output's scale and zero point."""
    return supports_whole(op, graph) and _has_output_scale(op, graph)


def pack_add(op: Add | Sub, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Add and Sub have the same params."""
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    params = add_params(a, b, y, rounding)
    zero_point, low, high = output_range(op.activation, y)
    scalars: Scalars = (
        ("shape", broadcast(op, graph)),
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
    return PackedKernel(f"tc_{op.kind.lower()}_s8_params", scalars, _constant_array(op, graph))


def pack_mul(op: Mul, graph: Graph, rounding: Rounding) -> PackedKernel:
    """One multiplier: product of the operands' scales over the output's."""
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    multiplier, shift = mul_multiplier(a, b, y, rounding)
    zero_point, low, high = output_range(op.activation, y)
    scalars: Scalars = (
        ("shape", broadcast(op, graph)),
        ("a_zero_point", a.quantization.tensor_zero_point),
        ("b_zero_point", b.quantization.tensor_zero_point),
        zero_point,
        ("output_multiplier", multiplier),
        ("output_shift", shift),
        low,
        high,
    )
    return PackedKernel("tc_mul_s8_params", scalars, _constant_array(op, graph))


def pack_extremum(op: Maximum | Minimum, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Maximum and Minimum compare quantized values; they have the same params."""
    return PackedKernel(
        f"tc_{op.kind.lower()}_s8_params", (("shape", broadcast(op, graph)),), _constant_array(op, graph)
    )


def _variants(
    name: str,
    pack: Callable[[Any, Graph, Rounding], PackedKernel],
    per_output: float,
    is_extremum: bool = False,
) -> tuple[KernelVariant, ...]:
    """The variant that works row by row, and the one for a constant of several rows, which starts at row 0."""
    by_row = KernelVariant(
        name=name,
        header="tc_elementwise.h",
        tier="portable",
        pack=pack,
        supports=supports_extremum if is_extremum else supports,
        in_place=(0, 1),
        instructions=estimate(per_output, 0, no_taps),
        requires=("tc_math.h",),
    )
    whole = supports_extremum_whole if is_extremum else supports_whole
    return by_row, replace(by_row, name=f"{name}_whole", supports=whole, whole_input=True)


ADD = _variants("add_s8", pack_add, 60)
SUB = _variants("sub_s8", pack_add, 60)
MUL = _variants("mul_s8", pack_mul, 30)
MAXIMUM = _variants("maximum_s8", pack_extremum, 12, is_extremum=True)
MINIMUM = _variants("minimum_s8", pack_extremum, 12, is_extremum=True)
