"""Row programs: the sequence of steps. Layer by layer is the program that runs each layer to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinycompress.ir.graph import Graph
from tinycompress.plan.choose import Choice
from tinycompress.plan.model import Step
from tinycompress.plan.rows import tensor_rows


def layer_steps(layer: int, choice: Choice, graph: Graph) -> Iterator[Step]:
    """All steps of one layer, top first; the last one may make fewer rows."""
    height = tensor_rows(graph.tensors[choice.op.outputs[0]])
    for first in range(0, height, choice.rows_per_step):
        yield Step(layer, first, min(choice.rows_per_step, height - first))


def layer_by_layer(choices: Sequence[Choice], graph: Graph) -> tuple[Step, ...]:
    """Each layer to its end before the next, in the order of `choices`."""
    return tuple(step for layer, choice in enumerate(choices) for step in layer_steps(layer, choice, graph))
