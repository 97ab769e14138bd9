"""Add and Sub on Armv7E-M: each operand rescaled by a table, or by a power of two where its multiplier is 1/2; a
constant per channel is rescaled when packed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinycompress.ir.fixedpoint import activation_range, requantize
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Add, Sub
from tinycompress.ir.quant_params import add_params
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedArray, PackedKernel, fixed_code
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.packing import are_activations, describe, is_int8, output_range
from tinycompress.kernels.requantize_dsp import FORM_TIES, Channels, Clamp, Int64, Requantization, choose_requantization

SHIFT_FORMS = range(15, 23)
_HALF = (1 << 30, 0)
_SHIFTED_SCALE = 4


@dataclass(frozen=True)
class Terms:
    """Tables of the two operands by unsigned byte, the output's requantization, and the operand that needs no table.

    `free` is the operand whose term is (q − zp)·2^19 (its zero point is then in the other's table), or None.
    """

    tables: tuple[Int64, Int64]
    requantization: Requantization
    free: int | None


def _terms(op: Add | Sub, graph: Graph, rounding: Rounding) -> Terms | None:
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    p = add_params(a, b, y, rounding)
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    pairs = ((p.a_multiplier, p.a_shift), (p.b_multiplier, p.b_shift))
    tables = [
        requantize((values - t.quantization.tensor_zero_point) << p.left_shift, *pair, rounding)
        for t, pair in zip((a, b), pairs, strict=True)
    ]
    if isinstance(op, Sub):
        tables[1] = -tables[1]
    low, high = (sum(int(bound(t)) for t in tables) for bound in (np.min, np.max))
    one = np.ones(1, np.int64)
    output = Channels(p.output_multiplier * one, p.output_shift * one, low * one, high * one, one)
    clamp = Clamp(y.quantization.tensor_zero_point, *activation_range(op.activation, y))
    forms = [f for f in SHIFT_FORMS if f == 1 - p.output_shift]
    requantization = choose_requantization(output, clamp, rounding, forms)
    if requantization is None:
        return None
    if requantization.form not in SHIFT_FORMS:
        requantization = replace(requantization, form=FORM_TIES)
    halves = [i for i, pair in enumerate(pairs) if pair == _HALF and not (isinstance(op, Sub) and i == 1)]
    return Terms((tables[0], tables[1]), requantization, halves[-1] if halves else None)


def _supports(op: Add | Sub, graph: Graph) -> bool:
    shapes = [graph.tensors[n].shape for n in op.inputs]
    return (
        is_int8(op, graph)
        and are_activations(op, graph)
        and shapes[0] == shapes[1]
        and _terms(op, graph, rounding_of(graph)) is not None
    )


def _pack(op: Add | Sub, graph: Graph, rounding: Rounding) -> PackedKernel:
    terms = _terms(op, graph, rounding)
    if terms is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    y = graph.tensors[op.output]
    first = 0 if terms.free is None else 1 - terms.free
    tables = [terms.tables[first]]
    if terms.free is None:
        tables.append(terms.tables[1])
    else:
        # The free operand's table is (q − zp)·2^19: its value at q = 0 is what the zero point contributes.
        tables[0] = tables[0] + terms.tables[terms.free][0]
    scale = _SHIFTED_SCALE if terms.requantization.form != FORM_TIES else 1
    words = gemm.to_words(np.concatenate(tables) * scale)
    comment = "operands by unsigned byte, rescaled to twice the larger scale over 2^20"
    return PackedKernel(
        "tc_add_s8_dsp_params",
        (
            ("elements", row_elements(y.shape)),
            ("table_operand", first),
            ("has_two_tables", int(terms.free is None)),
            *output_range(op.activation, y),
            ("form", terms.requantization.form),
            ("multiplier", int(terms.requantization.multiplier[0])),
            ("addend", int(terms.requantization.addend[0])),
        ),
        (PackedArray("tables", words, comment),),
    )


def _constant(op: Add | Sub, graph: Graph) -> int | None:
    """Index of the operand that is a constant of one value, or one value per channel, added to a whole tensor."""
    y = graph.tensors[op.output]
    for index, tensor in enumerate(graph.tensors[n] for n in op.inputs):
        other = graph.tensors[op.inputs[1 - index]]
        is_channels = tensor.elements == 1 or (tensor.elements == tensor.shape[-1] == y.shape[-1])
        if tensor.is_constant and not other.is_constant and other.shape == y.shape and is_channels:
            return index
    return None


def _supports_constant(op: Add | Sub, graph: Graph) -> bool:
    return (
        is_int8(op, graph)
        and len(graph.tensors[op.output].shape) > 0
        and _constant(op, graph) is not None
        and _terms(op, graph, rounding_of(graph)) is not None
    )


def _pack_constant(op: Add | Sub, graph: Graph, rounding: Rounding) -> PackedKernel:
    terms, index = _terms(op, graph, rounding), _constant(op, graph)
    if terms is None or index is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    y, constant = graph.tensors[op.output], graph.tensors[op.inputs[index]]
    scale = _SHIFTED_SCALE if terms.requantization.form != FORM_TIES else 1
    values = np.broadcast_to(constant.constant.reshape(-1), y.shape[-1:])
    table, rescaled = terms.tables[1 - index] * scale, terms.tables[index][values.view(np.uint8)] * scale
    return PackedKernel(
        "tc_add_constant_s8_dsp_params",
        (
            ("elements", row_elements(y.shape)),
            ("channels", y.shape[-1]),
            *output_range(op.activation, y),
            ("form", terms.requantization.form),
            ("multiplier", int(terms.requantization.multiplier[0])),
            ("addend", int(terms.requantization.addend[0])),
        ),
        (
            PackedArray("table", gemm.to_words(table), "operand by unsigned byte, rescaled to the common scale"),
            PackedArray("terms", gemm.to_words(rescaled), describe(constant, "constant operand", "rescaled, int32")),
        ),
    )


def _constant_instructions(op: Add | Sub, graph: Graph) -> int:
    terms, y = _terms(op, graph, rounding_of(graph)), graph.tensors[op.output]
    element = 10 + 2 * (terms is None or terms.requantization.form == FORM_TIES)
    return element * y.elements + 20 * row_count(y.shape)


def _instructions(op: Add | Sub, graph: Graph) -> int:
    terms = _terms(op, graph, rounding_of(graph))
    y = graph.tensors[op.output]
    if terms is None:
        return 0
    element = 7.25 + (terms.free is None) + 2 * (terms.requantization.form == FORM_TIES)
    return round(element * y.elements) + 40 * row_count(y.shape)


def _code(op: Add | Sub, graph: Graph) -> Code:
    terms = _terms(op, graph, rounding_of(graph))
    form = terms.requantization.form if terms else FORM_TIES
    return Code(85, ((f"add_{form}_{terms is None or terms.free is None}", 288),))


ADD = (
    KernelVariant(
        name="add_s8_dsp",
        header="tc_add_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        in_place=(0, 1),
        code=_code,
        instructions=_instructions,
    ),
    KernelVariant(
        name="add_constant_s8_dsp",
        header="tc_add_constant_dsp.h",
        tier="dsp",
        pack=_pack_constant,
        supports=_supports_constant,
        in_place=(0, 1),
        code=fixed_code(400),
        instructions=_constant_instructions,
    ),
)
