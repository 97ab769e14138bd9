"""Real values that a quantized ONNX file quantizes in several ways: each reader gets a copy with its own parameters.

QuantizeLinear may stand twice behind one float value, with different scales, or behind the parts of a Split. On
integers one tensor cannot be both; rescaling one from the other would round twice, or clip. So what makes the value is
computed once for each, back to the integers it is made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tinycompress.errors import UnsupportedOpError
from tinycompress.frontends.names import user_names
from tinycompress.frontends.onnx_call import ConstantQuantization
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import QParams, Tensor

MAX_COPIED = 64
"""Operators that one more quantization of a value may repeat."""

MOVING = (o.Reshape, o.Transpose, o.Slice, o.MaxPool2D, o.ResizeNearest, o.Pad, o.Clamp)
"""Operators whose result has the parameters of their input when the file gives none, and the other way round."""


def movers(op: o.Op) -> tuple[str, ...]:
    """The operands that have the parameters of the operator's result when the file gives them none."""
    return op.inputs if isinstance(op, o.Concat) else op.inputs[:1] if isinstance(op, MOVING) else ()


def spread_forward(ops: Iterable[o.Op], known: dict[str, QParams]) -> dict[str, QParams]:
    """Parameters of moved values along the schedule, added to `known`."""
    for op in ops:
        found = {known.get(n) for n in movers(op)}
        if len(found) == 1 and (qparams := found.pop()) is not None:
            known.setdefault(op.output, qparams)
    return known


def spread_backward(ops: Iterable[o.Op], known: dict[str, QParams]) -> dict[str, QParams]:
    """Parameters of moved values against the schedule, added to `known`."""
    for op in reversed(list(ops)):
        for name in movers(op):
            if op.output in known:
                known.setdefault(name, known[op.output])
    return known


def separated(
    graph: Graph, known: Mapping[str, QParams], again: set[str], operands: dict[str, ConstantQuantization]
) -> Graph:
    """The graph in which every value needs one set of parameters; `operands` gains those of copied constants.

    `again` are the Quantize results that quantize a real value anew. Raises UnsupportedOpError TC-M305 for an input
    that is quantized in two ways.
    """
    copies = _Copies(graph, known, operands)
    ops: list[o.Op] = []
    for op in graph.ops:
        if isinstance(op, o.Quantize) and op.output in again:
            ops += copies.of(op.inputs[0], op.output, op)
        else:
            ops.append(op)
    wanted = spread_forward(ops, dict(known))
    given = set(wanted)
    readers: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for name in (n for op in ops for n in op.inputs):
        readers[name] = readers.get(name, 0) + 1
    copies.use(ops)
    result: list[o.Op] = []
    for op in reversed(ops):
        made: list[o.Op] = []
        for name in movers(op) if op.output in wanted else ():
            if name in given or name in graph.input_names or copies.tensors[name].is_constant:
                continue
            is_shared = isinstance(op, o.Clamp) and readers[name] > 1
            if not is_shared and wanted.setdefault(name, wanted[op.output]) == wanted[op.output]:
                continue
            mine = copies.new(name)
            made += copies.of(name, mine, op)
            op = op.renamed({name: mine})
        result += [op, *reversed(made)]
    return replace(graph, tensors=copies.tensors, ops=tuple(reversed(result)))


class _Copies:
    """Copies what makes a value, back to quantized values, constants included."""

    def __init__(self, graph: Graph, known: Mapping[str, QParams], operands: dict[str, ConstantQuantization]) -> None:
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self._known = known
        self._operands = operands
        self._inputs = graph.input_names
        self._makers: dict[str, o.Op] = {}
        self._count = 0
        self.use(graph.ops)

    def use(self, ops: Iterable[o.Op]) -> None:
        """The operators to copy from."""
        self._makers = {name: op for op in ops for name in op.outputs}

    def new(self, like: str) -> str:
        """A free name for a tensor like `like`, which it becomes."""
        self._count += 1
        name = f"{like}_again{self._count}"
        while name in self.tensors:
            name += "_"
        self.tensors[name] = replace(self.tensors[like], name=name)
        if like in self._operands:
            self._operands[name] = self._operands[like]
        return name

    def of(self, value: str, name: str, reader: o.Op) -> list[o.Op]:
        """Operators that make `value` anew as the tensor `name`."""
        made: list[o.Op] = []
        open_values = [(value, name)]
        while open_values:
            wanted, copy = open_values.pop()
            op = self._makers.get(wanted)
            if op is None or len(op.outputs) > 1 or len(made) == MAX_COPIED:
                source = self.tensors[value].source or value
                raise UnsupportedOpError(
                    "TC-M305",
                    f"{source!r} is quantized a second time, with another scale",
                    where=user_names(reader),
                    fix="quantize each value once: give its readers one QuantizeLinear",
                )
            names = {wanted: copy}
            for used in dict.fromkeys((*op.inputs, *op.constants())):
                is_made = used not in self._known and used not in self._inputs
                if self.tensors[used].is_constant or is_made:
                    names[used] = self.new(used)
                    if not self.tensors[used].is_constant:
                        open_values.append((used, names[used]))
            made.append(replace(op.renamed(names), name=copy))
        return made[::-1]
