"""Operators without weights, lowered: element-wise arithmetic, pools, moves of elements, tables and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinycompress.gpu.contexts import PartContext
from tinycompress.gpu.lowering import Fields, Lower, Lowering, part, scale_fields
from tinycompress.ir import ops as o
from tinycompress.ir import quant_params as qp

MAX_RANK = 4
"""Axes that a move of elements can address; a mean one less."""


def _operand(low: Lowering, member: str, name: str, zero_point: int, elements: int) -> Fields:
    size = low.elements(name)
    return [
        (f"{member}.data", low.data(name)), (f"{member}.stride", 0 if low[name].is_constant else size),
        (f"{member}.period", size if size < elements else elements), (f"{member}.zero_point", zero_point),
    ]  # fmt: skip


def binary(kind: str) -> Lower:
    """Element-wise arithmetic of two operands; `kind` is a tc_binary_kind."""

    def lower(op: Any, low: Lowering) -> list[PartContext]:
        a, b, y = low[op.inputs[0]], low[op.inputs[1]], low[op.output]
        elements, rounding = low.elements(op.output), low.graph.rounding
        compares = kind in ("TC_MAXIMUM", "TC_MINIMUM")
        zeros = [0 if compares else t.quantization.tensor_zero_point for t in (a, b)]
        scales: list[tuple[str, Any]] = []
        if kind in ("TC_ADD", "TC_SUB"):
            p = qp.add_params(a, b, y, rounding)
            for member, pair in (
                ("a.scale", (p.a_multiplier, p.a_shift)),
                ("b.scale", (p.b_multiplier, p.b_shift)),
                ("scale", (p.output_multiplier, p.output_shift)),
            ):
                scales += scale_fields(member, pair)
        elif kind == "TC_MUL":
            scales += scale_fields("scale", qp.mul_multiplier(a, b, y, rounding))
        fields = [
            ("count", elements), *_operand(low, "a", op.inputs[0], zeros[0], elements),
            *_operand(low, "b", op.inputs[1], zeros[1], elements), *scales,
            ("output_zero_point", 0 if compares else y.quantization.tensor_zero_point), *low.clamp(op),
            ("output", low.data(op.output)),
        ]  # fmt: skip
        return [part(f"tc_binary<{kind}>", "layer", fields)]

    return lower


def prelu(op: o.PReLU, low: Lowering) -> list[PartContext]:
    """Slopes repeat over the leading axes; in any other shape they are written out for every element."""
    x, alpha, y = low[op.inputs[0]], low[op.alpha], low[op.output]
    above, below = qp.prelu_multipliers(x, alpha, y, low.graph.rounding)
    slopes = alpha.constant
    if slopes.size > 1 and slopes.shape[-1:] != (slopes.size,) and slopes.shape[-len(y.shape) :] != y.shape:
        slopes = np.broadcast_to(slopes, y.shape)
    slopes = np.ascontiguousarray(slopes)
    fields = [
        ("count", low.elements(op.output)), ("period", slopes.size), *low.zero_points(op),
        ("alpha_zero_point", alpha.quantization.tensor_zero_point), *scale_fields("above", above),
        *scale_fields("below", below), ("alpha", low.constant(f"{op.name}_alpha", slopes, f"{op.name} slopes")),
        *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_prelu", "layer", fields)]


def pool(op: o.AveragePool2D | o.MaxPool2D, low: Lowering) -> list[PartContext]:
    """Maximum or mean over windows."""
    fields = [
        ("count", low.elements(op.output)), *low.tap_sources(op),
        ("kernel_height", op.kernel[0]), ("kernel_width", op.kernel[1]), *low.clamp(op), *low.in_out(op),
    ]  # fmt: skip
    return [part(f"tc_pool<{'true' if isinstance(op, o.MaxPool2D) else 'false'}>", "layer", fields)]


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Elements per step along each axis."""
    return [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))]


def mean(op: o.Mean, low: Lowering) -> list[PartContext]:
    """Mean over up to three axes."""
    x, y = low[op.inputs[0]], low[op.output]
    steps = _steps(x.shape)
    kept = [i for i in range(len(x.shape)) if i not in op.axes]
    count = int(np.prod([x.shape[i] for i in op.axes], dtype=np.int64))
    p = qp.mean_params(x, y, count, low.graph.rounding)
    fields: list[tuple[str, Any]] = [("count", low.elements(op.output)), ("input_elements", low.elements(op.inputs[0]))]
    for member, axes in (("kept", kept), ("reduced", list(op.axes))):
        sizes = [1] * (3 - len(axes)) + [x.shape[i] for i in axes]
        moves = [0] * (3 - len(axes)) + [steps[i] for i in axes]
        fields += [(f"{member}[{i}]", size) for i, size in enumerate(sizes)]
        fields += [(f"{member}_step[{i}]", step) for i, step in enumerate(moves)]
    fields += [
        ("offset", count * x.quantization.tensor_zero_point), *scale_fields("scale", (p.multiplier, p.shift)),
        ("output_zero_point", y.quantization.tensor_zero_point), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_mean", "layer", fields)]


# -- moving elements -----------------------------------------------------------------------------------------


def _move(
    low: Lowering,
    source: str,
    target: str,
    box: tuple[int, ...],
    strides: tuple[Sequence[int], Sequence[int]],
    starts: tuple[int, int] = (0, 0),
    *,
    clamp: Fields = (("activation_min", -128), ("activation_max", 127)),
    name: str = "layer",
) -> PartContext:
    """Copies or rescales a box of elements; `strides` and `starts` are (from, to) in elements of a sample."""
    x, y = low[source], low[target]
    lead = MAX_RANK - len(box)
    is_copy = qp.same_quantization(x, y)
    fields: list[tuple[str, Any]] = [("count", int(np.prod(box, dtype=np.int64)))]
    for i in range(MAX_RANK):
        inside = i >= lead
        fields += [
            (f"size[{i}]", box[i - lead] if inside else 1),
            (f"from_step[{i}]", strides[0][i - lead] if inside else 0),
            (f"to_step[{i}]", strides[1][i - lead] if inside else 0),
        ]
    fields += [
        ("from_elements", 0 if x.is_constant else low.elements(source)), ("from_start", starts[0]),
        ("to_elements", low.elements(target)), ("to_start", starts[1]), ("is_copy", int(is_copy)),
        ("input_zero_point", x.quantization.tensor_zero_point),
        ("output_zero_point", y.quantization.tensor_zero_point), *clamp,
    ]  # fmt: skip
    if not is_copy:
        fields += scale_fields("scale", qp.rescale_multiplier(x, y, low.graph.rounding))
    fields += [("input", low.data(source)), ("output", low.data(target))]
    return part("tc_move", name, fields)


def rescale(op: Any, low: Lowering) -> list[PartContext]:
    """Clamp and Quantize: every element in the output's quantization, clamped."""
    flat = (low.elements(op.output),)
    return [_move(low, op.inputs[0], op.output, flat, ((1,), (1,)), clamp=low.clamp(op))]


def concat(op: o.Concat, low: Lowering) -> list[PartContext]:
    """One move per input."""
    to = _steps(low[op.output].shape)
    parts, at = [], 0
    for i, name in enumerate(op.inputs):
        shape = low[name].shape
        starts = (0, at * to[op.axis])
        parts.append(_move(low, name, op.output, shape, (_steps(shape), to), starts, name=f"part_{i}"))
        at += shape[op.axis]
    return parts


def pad(op: o.Pad, low: Lowering) -> list[PartContext]:
    """The border's value everywhere, then the inside over it."""
    y = low[op.output]
    shape, to = low[op.inputs[0]].shape, _steps(y.shape)
    start = sum(before * step for (before, _), step in zip(op.amounts, to, strict=True))
    fill = [("count", low.elements(op.output)), ("value", qp.pad_value(op, y)), ("output", low.data(op.output))]
    return [
        part("tc_fill", "border", fill),
        _move(low, op.inputs[0], op.output, shape, (_steps(shape), to), (0, start), name="inside"),
    ]


def cut(op: o.Slice, low: Lowering) -> list[PartContext]:
    """Slice: a move from where it begins, in its strides."""
    y = low[op.output].shape
    steps = _steps(low[op.inputs[0]].shape)
    start = sum(b * s for b, s in zip(op.begin, steps, strict=True))
    moves = [s * stride for s, stride in zip(steps, op.strides, strict=True)]
    return [_move(low, op.inputs[0], op.output, y, (moves, _steps(y)), (start, 0))]


def transpose(op: o.Transpose, low: Lowering) -> list[PartContext]:
    """A move whose steps are permuted."""
    y = low[op.output].shape
    steps = _steps(low[op.inputs[0]].shape)
    return [_move(low, op.inputs[0], op.output, y, ([steps[axis] for axis in op.perm], _steps(y)))]


def resize(op: o.ResizeNearest | o.ResizeBilinear, low: Lowering) -> list[PartContext]:
    """Both kinds: along each axis two inputs and a weight; the nearest neighbour has weight 0."""
    shape = low[op.inputs[0]].shape
    tables: list[tuple[str, Any]] = []
    for axis, name in enumerate(("rows", "columns")):
        sizes = (shape[axis], op.size[axis], op.align_corners, op.half_pixel_centers)
        if isinstance(op, o.ResizeBilinear):
            taps = [(tap.low, tap.high, tap.weight) for tap in qp.bilinear_taps(*sizes)]
        else:
            taps = [(index, index, 0) for index in qp.nearest_indices(*sizes)]
        for member, values in zip(("low", "high", "weight"), np.array(taps, dtype=np.int32).T, strict=True):
            stem = f"{name}_{member}"
            tables.append((stem, low.constant(f"{op.name}_{stem}", values, f"{op.name} {stem}")))
    fields = [
        ("count", low.elements(op.output)), ("height", shape[0]), ("width", shape[1]), ("channels", shape[2]),
        ("out_width", op.size[1]), *tables, *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_resize", "layer", fields)]


# -- tables and softmax --------------------------------------------------------------------------------------


def table(op: o.Table, low: Lowering) -> list[PartContext]:
    """A unary function by its 256 results."""
    assert op.table is not None
    table = low.constant(f"{op.name}_table", low[op.table].constant, f"{op.name} {op.function.value}")
    return [part("tc_table", "layer", [("count", low.elements(op.output)), ("table", table), *low.in_out(op)])]


def _softmax_members(prefix: str, low: Lowering, name: str, p: qp.SoftmaxParams) -> Fields:
    return [
        (f"{prefix}.vectors", 1), (f"{prefix}.classes", low[name].shape[-1]),
        (f"{prefix}.input_multiplier", p.multiplier), (f"{prefix}.input_shift", p.left_shift),
        (f"{prefix}.diff_min", p.diff_min), (f"{prefix}.output_bytes", 1),
    ]  # fmt: skip


def softmax(op: o.Softmax, low: Lowering) -> list[PartContext]:
    """A thread a vector, with the microcontroller's arithmetic."""
    x = low[op.inputs[0]]
    p = qp.softmax_params(x, op.beta, low.graph.rounding)
    vectors = low.elements(op.output) // x.shape[-1]
    members = _softmax_members("params", low, op.inputs[0], p)
    return [part("tc_softmax", "layer", [("count", vectors), *members, *low.in_out(op)])]


def log_softmax(op: o.LogSoftmax, low: Lowering) -> list[PartContext]:
    """As softmax."""
    x = low[op.inputs[0]]
    p = qp.log_softmax_params(x, low.graph.rounding)
    vectors = low.elements(op.output) // x.shape[-1]
    members = [
        *_softmax_members("params.exp", low, op.inputs[0], p.softmax),
        ("params.reverse_multiplier", p.reverse_multiplier), ("params.reverse_shift", p.reverse_shift),
    ]  # fmt: skip
    return [part("tc_log_softmax", "layer", [("count", vectors), *members, *low.in_out(op)])]


# -- attention -----------------------------------------------------------------------------------------------


def layer_norm(op: o.LayerNorm, low: Lowering) -> list[PartContext]:
    """A thread a vector, with the microcontroller's arithmetic."""
    channels = low[op.output].shape[-1]
    p = qp.layer_norm_params(op, low.graph.tensors, low.graph.rounding)
    low_word, high_word = p.epsilon_words
    fields = [
        ("count", low.elements(op.output) // channels), ("params.vectors", 1), ("params.channels", channels),
        ("params.epsilon_low", low_word), ("params.epsilon_high", high_word), ("params.multiplier", p.multiplier),
        ("params.shift", p.shift), ("params.output_zero_point", low[op.output].quantization.tensor_zero_point),
        ("params.gamma", low.constant(f"{op.name}_gamma", low[op.gamma].constant, f"{op.name} gamma")),
        ("params.beta", low.constant(f"{op.name}_beta", low[op.beta].constant, f"{op.name} beta")), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_layer_norm", "layer", fields)]


def matmul(op: o.MatMul, low: Lowering) -> list[PartContext]:
    """A thread an output."""
    a, b = (low[n] for n in op.inputs)
    _, rows, columns = low[op.output].shape
    multiplier, shift = qp.mul_multiplier(a, b, low[op.output], low.graph.rounding)
    terms = a.shape[2]
    fields = [
        ("count", low.elements(op.output)), ("params.rows", rows), ("params.terms", terms),
        ("params.columns", columns), ("params.term_step", 1 if op.is_transposed else columns),
        ("params.column_step", terms if op.is_transposed else 1),
        ("params.first_zero_point", a.quantization.tensor_zero_point),
        ("params.second_zero_point", b.quantization.tensor_zero_point), ("params.multiplier", multiplier),
        ("params.shift", shift), ("params.output_zero_point", low[op.output].quantization.tensor_zero_point),
        ("first_size", rows * terms), ("second_size", terms * columns), ("size", rows * columns),
        ("second", low.data(op.inputs[1])), *low.in_out(op),
    ]  # fmt: skip
    return [part("tc_matmul", "layer", fields)]
