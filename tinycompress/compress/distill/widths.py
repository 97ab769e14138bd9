"""Student widths from a pruned teacher: every student layer holds what survived of the teacher's (METHODS B2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tinycompress.compress.coupling import FILTER, INPUT
from tinycompress.compress.groups import Group, Groups
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

Maker = o.Conv2D | o.TransposeConv2D | o.FullyConnected
Weighted = Maker | o.DepthwiseConv2D
LARGEST = 4.0
"""No width is derived beyond this multiple of the architecture's own."""


def student_widths(graph: Graph, groups: Groups, surviving: Mapping[str, int]) -> dict[str, int]:
    """Width of every prunable group such that its weights are as many as survived in the teacher.

    `surviving` counts living weights per constant. In the order in which layers run, earlier widths already rounded:

    * A plain convolution: c_l = round(n_l / (k² · c_{l−1})), the first layer included; as published.
    * A residual stage: one fraction for its trunk and what stands inside its blocks, from the sum over the stage; as
      published for basic blocks whose first one projects. A stem that is added to belongs to its stage.
    * Depthwise filters follow their channels and count with the layer that reads them: our extension, and so is the
      fraction of an inverted-residual stage (expanded, depthwise and projected channels together).

    A width may exceed the architecture's own where the layer before it shrank; the published students do.
    """
    widths = {g.name: float(g.size) for g in groups.all}
    for stage in _stages(groups):
        names = {g.name for g in stage}
        ops = [op for op in graph.ops if isinstance(op, Weighted) and _owner(graph, groups, op) in names]
        target = sum(surviving[op.weights] for op in ops)
        low, high = 0.0, LARGEST
        for _ in range(60):
            middle = (low + high) / 2
            widths |= {g.name: middle * g.size for g in stage}
            held = sum(_weights(graph, groups, op, widths) for op in ops)
            low, high = (middle, high) if held < target else (low, middle)
        widths |= {g.name: max(1.0, math.floor(low * g.size + 0.5 + 1e-9)) for g in stage}
    return {g.name: int(widths[g.name]) for g in groups.prunable}


def _stages(groups: Groups) -> Iterator[tuple[Group, ...]]:
    """Prunable groups that share one fraction: a residual trunk with what only its blocks read, else one alone."""
    stage_of = {g.name: g.name for g in groups.prunable}
    for trunk in groups.prunable:
        if len(trunk.producers) < 2:
            continue
        inside = [trunk]
        while True:
            made = {op for g in inside for op in g.producers}
            more = [
                g
                for g in groups.prunable
                if len(g.producers) == 1 and len(g.consumers) == 1 and g.consumers[0] in made and g not in inside
            ]
            if not more:
                break
            inside += more
        stage_of |= {g.name: trunk.name for g in inside}
    for name in dict.fromkeys(stage_of.values()):
        yield tuple(g for g in groups.prunable if stage_of[g.name] == name)


def _owner(graph: Graph, groups: Groups, op: Weighted) -> str:
    """The group whose width the weights of `op` determine; empty when what it makes cannot be pruned."""
    maker = _reader(graph, op) if isinstance(op, o.DepthwiseConv2D) else op
    return next((g.name for g in groups.prunable if maker is not None and maker.name in g.producers), "")


def _reader(graph: Graph, op: o.Op) -> Maker | None:
    """The first convolution or fully connected layer behind `op`."""
    behind = set(op.outputs)
    for user in graph.ops:
        if behind & set(user.inputs):
            if isinstance(user, Maker):
                return user
            behind |= set(user.outputs)
    return None


def _weights(graph: Graph, groups: Groups, op: Weighted, widths: Mapping[str, float]) -> float:
    """Weights of `op` at soft widths: its taps times its soft input and output channels."""
    constant = graph.tensors[op.weights]
    soft = float(constant.elements)
    for slot, parts in zip(groups.slots, groups.slot_parts, strict=True):
        if slot.constant == constant.name and (slot.role in (FILTER, INPUT) or isinstance(op, o.DepthwiseConv2D)):
            soft *= sum(times * widths[group] for group, times in parts) / len(slot.channels)
    return soft


def rescale(widths: Mapping[str, int], sizes: Mapping[str, int], factor: float) -> dict[str, int]:
    """Widths times one factor, which keeps their profile, rounded and kept within 1 … size."""
    return {name: min(sizes[name], max(1, round(factor * width))) for name, width in widths.items()}
