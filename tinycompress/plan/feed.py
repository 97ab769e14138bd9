"""Input that arrives row by row: which input that is, what is remembered between two rows, what work is left when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinycompress.cost.macs import graph_shapes, op_macs
from tinycompress.cost.scalar import round_up
from tinycompress.errors import ConfigError, UnsupportedOpError
from tinycompress.ir.graph import QuantGraph
from tinycompress.plan.choose import Choice
from tinycompress.plan.model import INPUT_ROWS, LayerPlan, Plan
from tinycompress.plan.program import step_count
from tinycompress.plan.rows import tensor_rows

Feed = Literal["whole", "rows"]

PROGRESS_ALIGN = 4
_SHORT, _SHORT_BYTES, _LONG_BYTES = 65_535, 2, 4


def fed_input(graph: QuantGraph, schedule: str, feed: Feed) -> str | None:
    """The input whose rows the caller gives one by one; None when inputs are there as a whole.

    Raises ConfigError TC-C134 for whole layers, which need the whole input, and UnsupportedOpError TC-M506 for a model
    of several inputs.
    """
    if feed == "whole":
        return None
    if schedule == "layers":
        raise ConfigError(
            "TC-C134",
            "layer by layer, the first layer reads the whole input: it cannot be fed by rows",
            fix="take schedule 'streamed' or 'auto' with feed 'rows'",
        )
    if len(graph.inputs) != 1:
        raise UnsupportedOpError(
            "TC-M506",
            f"rows can be fed to a model of one input, this one has {len(graph.inputs)}",
            where=", ".join(graph.input_names),
            fix="deploy it with feed 'whole'",
        )
    return graph.input_names[0]


def progress_bytes(graph: QuantGraph, choices: Sequence[Choice], fed: str) -> int:
    """Bytes that keep a fed inference between two rows: the next step, the next row of the input and of each layer."""
    rows = tensor_rows(graph.tensors[fed])
    heights = [tensor_rows(graph.tensors[name]) for c in choices for name in (*c.op.inputs, *c.op.outputs)]
    steps = rows + sum(step_count(choice, graph) for choice in choices)
    return int(round_up((2 + len(choices)) * counter_bytes((steps, *heights)), PROGRESS_ALIGN))


def counter_bytes(counts: Sequence[int]) -> int:
    """Bytes of a counter that reaches all of `counts`."""
    return _SHORT_BYTES if max(counts) <= _SHORT else _LONG_BYTES


@dataclass(frozen=True)
class FeedWork:
    """Multiply-accumulates of an inference, the most of them after one row, and those after the last row."""

    total: int
    largest: int
    after_last: int


def feed_work(plan: Plan) -> FeedWork:
    """How the work of a row-fed plan is spread over the rows."""
    shapes = graph_shapes(plan.graph)

    def per_step(layer: LayerPlan, rows: int) -> int:
        macs = int(op_macs(layer.op, shapes))
        height = tensor_rows(plan.graph.tensors[layer.op.outputs[0]])
        return macs if layer.kernel.whole_input or not macs else macs * rows // height

    after = [0]
    for step in plan.steps:
        if step.layer == INPUT_ROWS:
            after.append(0)
        else:
            after[-1] += per_step(plan.layers[step.layer], step.rows)
    return FeedWork(sum(after), max(after), after[-1])
