"""Row programs: the sequence of steps. Layer by layer is the program that runs each layer to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinycompress.ir.graph import Graph
from tinycompress.plan.choose import Choice
from tinycompress.plan.model import Step
from tinycompress.plan.rows import tensor_rows


def layer_steps(layer: int, choice: Choice, graph: Graph) -> Iterator[Step]:
    """All steps of one layer, top first; the last one may make fewer rows. An accumulating kernel's take input rows."""
    height = _stepped_rows(choice, graph)
    for first in range(0, height, choice.rows_per_step):
        yield Step(layer, first, min(choice.rows_per_step, height - first))


def _stepped_rows(choice: Choice, graph: Graph) -> int:
    name = choice.op.outputs[0] if choice.kernel.accumulator_bytes is None else choice.op.inputs[0]
    return tensor_rows(graph.tensors[name])


def step_count(choice: Choice, graph: Graph) -> int:
    """Number of steps of one layer."""
    return -(-_stepped_rows(choice, graph) // choice.rows_per_step)


def layer_by_layer(choices: Sequence[Choice], graph: Graph) -> tuple[Step, ...]:
    """Each layer to its end before the next, in the order of `choices`."""
    return tuple(step for layer, choice in enumerate(choices) for step in layer_steps(layer, choice, graph))
