"""Mul of two tensors of one shape on Armv7E-M."""

from __future__ import annotations

import numpy as np

from tinycompress.ir.fixedpoint import activation_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Mul
from tinycompress.ir.quant_params import mul_multiplier
from tinycompress.ir.shapes import row_count, row_elements
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel
from tinycompress.kernels.conv2d_dsp import rounding_of
from tinycompress.kernels.packing import are_activations, is_int8, output_range
from tinycompress.kernels.requantize_dsp import (
    Channels,
    Clamp,
    Requantization,
    choose_requantization,
    form_instructions,
)

_LARGEST_OPERAND = 255


def _form(op: Mul, graph: Graph, rounding: Rounding) -> Requantization | None:
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    multiplier, shift = mul_multiplier(a, b, y, rounding)
    one = np.ones(1, np.int64)
    ranges = [[q - t.quantization.tensor_zero_point for q in (-128, 127)] for t in (a, b)]
    products = [i * j for i in ranges[0] for j in ranges[1]]
    channel = Channels(multiplier * one, shift * one, min(products) * one, max(products) * one, _LARGEST_OPERAND * one)
    clamp = Clamp(y.quantization.tensor_zero_point, *activation_range(op.activation, y))
    return choose_requantization(channel, clamp, rounding)


def _supports(op: Mul, graph: Graph) -> bool:
    shapes = [graph.tensors[n].shape for n in op.inputs]
    return (
        is_int8(op, graph)
        and are_activations(op, graph)
        and shapes[0] == shapes[1]
        and _form(op, graph, rounding_of(graph)) is not None
    )


def _pack(op: Mul, graph: Graph, rounding: Rounding) -> PackedKernel:
    form = _form(op, graph, rounding)
    if form is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    a, b, y = (graph.tensors[n] for n in (*op.inputs, op.output))
    return PackedKernel(
        "tc_mul_s8_dsp_params",
        (
            ("elements", row_elements(y.shape)),
            ("a_zero_point", a.quantization.tensor_zero_point),
            ("b_zero_point", b.quantization.tensor_zero_point),
            *output_range(op.activation, y),
            ("form", form.form),
            ("scale", int(form.weight_scale[0])),
            ("multiplier", int(form.multiplier[0])),
            ("addend", int(form.addend[0])),
        ),
    )


def _instructions(op: Mul, graph: Graph) -> int:
    form = _form(op, graph, rounding_of(graph))
    y = graph.tensors[op.output]
    per_element = 8 + (form_instructions(form.form) if form else 4)
    return per_element * y.elements + 20 * row_count(y.shape)


MUL = (
    KernelVariant(
        name="mul_s8_dsp",
        header="tc_mul_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        in_place=(0, 1),
        instructions=_instructions,
    ),
)
