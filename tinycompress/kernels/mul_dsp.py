"""Mul on Armv7E-M: of two tensors of one shape, or of a tensor and a row that repeats (a value per channel, one value).

The C file says in which three forms; any multiplier with 1 to 16 right shifts has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinycompress.ir.fixedpoint import activation_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Mul
from tinycompress.ir.quant_params import mul_multiplier
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.ir.tensor import Tensor
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.conv2d_window import MAX_ROWS_AT_ONCE
from tinycompress.kernels.elementwise import Operands, operands_of
from tinycompress.kernels.packing import are_activations, describe, is_int8

MAX_SHIFT = 16
_BLOCK = 8
_FORM_SIGNED, _FORM_POSITIVE, _FORM_SINGLE = range(3)


def _shift(op: Mul, graph: Graph) -> int:
    """Right shift of the multiplier."""
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    return -mul_multiplier(a, b, y, rounding_of(graph))[1]


def _has_form(op: Mul, graph: Graph) -> bool:
    return 1 <= _shift(op, graph) <= MAX_SHIFT


def _form(op: Mul, graph: Graph, rounding: Rounding) -> int:
    """Single rounding, or double: where no product is negative, or negative results are clamped, ties need no care."""
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    if rounding is Rounding.SINGLE:
        return _FORM_SINGLE
    is_positive = a.quantization.tensor_zero_point == b.quantization.tensor_zero_point == -128
    is_clamped = activation_range(op.activation, y)[0] >= y.quantization.tensor_zero_point
    return _FORM_POSITIVE if is_positive or is_clamped else _FORM_SIGNED


def _product(op: Mul, graph: Graph, rounding: Rounding, first: Tensor, second: Tensor) -> tuple[tuple[str, int], ...]:
    """The members of tc_mul_s8_dsp_params."""
    y = graph.tensors[op.output]
    multiplier, shift = mul_multiplier(first, second, y, rounding)
    low, high = activation_range(op.activation, y)
    return (
        ("elements", row_elements(y.shape)),
        ("a_zero_point", first.quantization.tensor_zero_point),
        ("b_zero_point", second.quantization.tensor_zero_point),
        ("activation_min", low),
        ("activation_max", high),
        ("form", _form(op, graph, rounding)),
        ("shift", -shift),
        ("multiplier", multiplier),
        ("addend", (1 << (-shift - 1)) + y.quantization.tensor_zero_point * (1 << -shift)),
    )


def _supports(op: Mul, graph: Graph) -> bool:
    shapes = [graph.tensors[n].shape for n in op.inputs]
    return is_int8(op, graph) and are_activations(op, graph) and shapes[0] == shapes[1] and _has_form(op, graph)


def _pack(op: Mul, graph: Graph, rounding: Rounding) -> PackedKernel:
    a, b = (graph.tensors[n] for n in op.inputs)
    return PackedKernel("tc_mul_s8_dsp_params", _product(op, graph, rounding, a, b))


def _element_instructions(op: Mul, graph: Graph) -> float:
    """Of an element, from products to the stored byte, and what a clamp within int8 adds."""
    is_clamped = activation_range(op.activation, graph.tensors[op.output]) != (-128, 127)
    return 5.25 + (_form(op, graph, rounding_of(graph)) == _FORM_SIGNED) + 6 * is_clamped


def _instructions(op: Mul, graph: Graph) -> int:
    y = graph.tensors[op.output]
    return round((1 + _element_instructions(op, graph)) * y.elements) + 35 * row_count(y.shape)


def _code(op: Mul, graph: Graph, name: str, core_bytes: int) -> Code:
    """Own code, and the core of the layer's form and shift."""
    form = _form(op, graph, rounding_of(graph))
    return Code(250, ((f"{name}_{form}_{_shift(op, graph)}", core_bytes + 32 * (form == _FORM_SIGNED)),))


def _pairs_code(op: Mul, graph: Graph) -> Code:
    return _code(op, graph, "mul_pairs", 212)


def _repeated_code(op: Mul, graph: Graph) -> Code:
    return _code(op, graph, "mul_repeated", 190)


@dataclass(frozen=True)
class Repeated:
    """The operand that repeats: its place, the elements of a row after which it begins again, and whether every row of
    the output has a row of its own."""

    index: int
    period: int
    row_step: int

    def lanes(self, elements: int) -> int:
        """Elements of the lanes that repeat within a row of `elements`: whole periods in whole blocks, or the row."""
        return min(math.lcm(self.period, _BLOCK), -(-elements // _BLOCK) * _BLOCK)


def _period(operands: Operands, index: int) -> int | None:
    """Elements after which the operand begins again within a row; None where it steps with the width only."""
    if operands.row_axes is None:
        return None
    width, channels, steps = operands.row_axes
    if steps[index][1] == 0:
        return 1 if width == 1 or steps[index][0] == 0 else None
    return channels if steps[index][0] == 0 else width * channels


def repeated_of(op: Mul, graph: Graph) -> Repeated | None:
    """The operand that repeats beside one that has the output's shape; None where there are no such two."""
    operands = operands_of(op, graph)
    for index in (1, 0):
        whole, tensor = operands.pair[1 - index], operands.pair[index]
        period = _period(operands, index)
        if not whole.is_constant and whole.shape == operands.output.shape and period is not None:
            return Repeated(index, period, int(not tensor.is_constant and operands.rows(index) > 1))
    return None


def _supports_repeated(op: Mul, graph: Graph) -> bool:
    operands = operands_of(op, graph)
    return (
        operands.are_supported
        and operands.has_constant_row
        and not _supports(op, graph)
        and repeated_of(op, graph) is not None
        and _has_form(op, graph)
    )


def _pack_repeated(op: Mul, graph: Graph, rounding: Rounding) -> PackedKernel:
    repeated = repeated_of(op, graph)
    if repeated is None:
        raise ValueError(f"{op.name} has no operand that repeats: ask supports() first")
    whole, tensor = (graph.tensors[op.inputs[i]] for i in (1 - repeated.index, repeated.index))
    product = _product(op, graph, rounding, whole, tensor)
    lanes = repeated.lanes(row_elements(graph.tensors[op.output].shape))
    arrays: tuple[PackedArray, ...] = ()
    if tensor.is_constant:
        arrays = (PackedArray("constant", tensor.constant, describe(tensor, "constant operand", "HWC"), 1),)
    return PackedKernel(
        "tc_mul_repeated_s8_dsp_params",
        (
            ("product", tuple(value for _, value in product)),
            ("period", repeated.period),
            ("lanes", lanes),
            ("row_step", repeated.row_step),
            ("is_first", int(repeated.index == 0)),
        ),
        arrays,
    )


def _lanes(op: Mul, graph: Graph) -> int:
    repeated = repeated_of(op, graph)
    return repeated.lanes(row_elements(graph.tensors[op.output].shape)) if repeated else 0


def _scratch(op: Mul, graph: Graph, rows: int) -> int:
    return -(-2 * _lanes(op, graph) // 8) * 8


def _rows_at_once(op: Mul, graph: Graph) -> int:
    """The lanes serve all rows of a call."""
    return MAX_ROWS_AT_ONCE


def _repeated_instructions(op: Mul, graph: Graph) -> int:
    repeated, y = repeated_of(op, graph), graph.tensors[op.output]
    if repeated is None:
        return 0
    rows = row_count(y.shape)
    fills = rows if repeated.row_step else -(-rows // MAX_ROWS_AT_ONCE)
    fill = 2.5 if repeated.period % 4 == 0 else 9
    return round(_element_instructions(op, graph) * y.elements + fill * _lanes(op, graph) * fills) + 60 * rows


MUL = (
    KernelVariant(
        name="mul_s8_dsp",
        header="tc_mul_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        in_place=(0, 1),
        code=_pairs_code,
        instructions=_instructions,
    ),
    KernelVariant(
        name="mul_repeated_s8_dsp",
        header="tc_mul_dsp.h",
        tier="dsp",
        pack=_pack_repeated,
        supports=_supports_repeated,
        scratch_bytes=_scratch,
        rows_at_once=_rows_at_once,
        in_place=(0, 1),
        code=_repeated_code,
        instructions=_repeated_instructions,
    ),
)
