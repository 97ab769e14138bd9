"""Which activations must have one scale, and the quantization parameters of all of them (METHODS B4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycompress.errors import UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import preprocess
from tinycompress.ir.quant_params import FIXED_OUTPUTS
from tinycompress.ir.tensor import QParams
from tinycompress.quantize.observers import Range
from tinycompress.quantize.ranges import activation_qparams
from tinycompress.quantize.recurrent import cell_qparams, cell_tensors

SAME_SCALE: tuple[type[o.Op], ...] = (
    o.AveragePool2D, o.MaxPool2D, o.Reshape, o.Pad, o.Transpose, o.Slice, o.ResizeNearest, o.ResizeBilinear,
    o.Maximum, o.Minimum, o.Concat,
)  # fmt: skip
"""Operators whose kernels move or compare raw values: all inputs and the output share scale and zero point.

Concat could requantize; it does so only for inputs whose scale is given (softmax, sigmoid, a documented input range).
"""

SIGMOID_OUTPUT = FIXED_OUTPUTS[o.Softmax]
TANH_OUTPUT = QParams.per_tensor(1 / 128, 0)


@dataclass(frozen=True)
class Given:
    """Parameters that do not come from calibration. Kernels rely on `required` ones; others yield to a wider range."""

    qparams: QParams
    required: bool


def given_parameters(graph: Graph) -> dict[str, Given]:
    """Fixed outputs of softmax, sigmoid and tanh, and inputs whose preprocessing documents their range."""
    given: dict[str, Given] = {}
    for entry in graph.inputs:
        limits = entry.preprocess.value_range
        if limits is not None:
            reals = preprocess(np.asarray(limits, dtype=np.float32).reshape(2, 1), entry.preprocess)
            given[entry.tensor] = Given(activation_qparams(float(reals.min()), float(reals.max())), required=False)
    for op in graph.ops:
        if type(op) in FIXED_OUTPUTS:
            given[op.output] = Given(FIXED_OUTPUTS[type(op)], required=True)
        elif isinstance(op, o.Table) and op.function in (o.Function.SIGMOID, o.Function.HARD_SIGMOID):
            given[op.output] = Given(SIGMOID_OUTPUT, required=False)
        elif isinstance(op, o.Table) and op.function is o.Function.TANH:
            given[op.output] = Given(TANH_OUTPUT, required=False)
    return given


class Groups:
    """Union-find over tensor names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        parent = self._parent.setdefault(name, name)
        if parent != name:
            parent = self._parent[name] = self.find(parent)
        return parent

    def join(self, a: str, b: str) -> None:
        self._parent[self.find(b)] = self.find(a)


def scale_groups(graph: Graph, given: Mapping[str, Given]) -> Groups:
    """Groups of tensors (activations, and constant operands of SAME_SCALE operators) that share their parameters.

    An LSTM's hidden state is its output, what Embedding makes are rows of its table.
    """
    groups = Groups()
    for op in graph.ops:
        if isinstance(op, SAME_SCALE):
            for name in op.inputs:
                if not (isinstance(op, o.Concat) and name in given):
                    groups.join(op.output, name)
        elif isinstance(op, o.LSTM):
            y, (_, hidden, cell) = op.outputs[0], op.inputs
            for a, b in ((y, op.outputs[1]), (y, hidden), (cell, op.outputs[2])):
                groups.join(a, b)
        elif isinstance(op, o.Embedding):
            groups.join(op.output, op.table)
    for state in graph.states:
        groups.join(state.read, state.write)
        if state.initial is not None:
            groups.join(state.read, state.initial)
    return groups


def activation_parameters(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, QParams]:
    """Quantization parameters of every activation and every constant operand, by tensor name.

    A group covers the union of its members' ranges, unless given parameters cover them all. UnsupportedOpError TC-M414
    when a group needs two different fixed scales.
    """
    given = given_parameters(graph)
    groups, cells = scale_groups(graph, given), cell_tensors(graph)
    members: dict[str, list[str]] = {}
    for name in (*ranges, *_constant_operands(graph)):
        members.setdefault(groups.find(name), []).append(name)
    result: dict[str, QParams] = {}
    for names in members.values():
        found = {n: _range(graph, n, ranges) for n in names}
        if cells.intersection(names):
            qparams = cell_qparams(min(low for low, _ in found.values()), max(high for _, high in found.values()))
        else:
            qparams = _group_parameters(names, found, given)
        result.update(dict.fromkeys(names, qparams))
    return result


def _constant_operands(graph: Graph) -> list[str]:
    operands = [n for op in graph.ops for n in op.inputs if graph.tensors[n].is_constant]
    initial = [s.initial for s in graph.states if s.initial is not None]
    tables = [op.table for op in graph.ops if isinstance(op, o.Embedding)]
    return list(dict.fromkeys([*operands, *initial, *tables]))


def _range(graph: Graph, name: str, ranges: Mapping[str, Range]) -> Range:
    """Observed or constant values, and the value that a Pad puts around them."""
    if name in ranges:
        low, high = ranges[name]
    else:
        data = graph.tensors[name].constant
        low, high = float(data.min()), float(data.max())
    producer = graph.producer(name)
    if isinstance(producer, o.Pad):
        low, high = min(low, producer.value), max(high, producer.value)
    return low, high


def _group_parameters(names: list[str], ranges: Mapping[str, Range], given: Mapping[str, Given]) -> QParams:
    low, high = min(r[0] for r in ranges.values()), max(r[1] for r in ranges.values())
    choices = {given[n].qparams: n for n in names if n in given}
    required = {given[n].qparams: n for n in names if n in given and given[n].required}
    if len(required) > 1:
        where = ", ".join(required.values())
        raise UnsupportedOpError(
            "TC-M414",
            "activations with different fixed scales meet in an operator that needs one scale",
            where=where,
            fix="apply softmax after joining or comparing, or leave it out and take the largest logit",
        )
    if required:
        return next(iter(required))
    if len(choices) == 1:
        (qparams,) = choices
        if _covers(qparams, low, high):
            return qparams
    for qparams in choices:
        reals = [qparams.tensor_scale * (q - qparams.tensor_zero_point) for q in (-128, 127)]
        low, high = min(low, reals[0]), max(high, reals[1])
    return activation_qparams(low, high)


def _covers(qparams: QParams, low: float, high: float) -> bool:
    """Whether [low, high] lies in the representable range, give or take one step at each end."""
    scale, zero_point = qparams.tensor_scale, qparams.tensor_zero_point
    return scale * (-129 - zero_point) <= low and high <= scale * (128 - zero_point)
