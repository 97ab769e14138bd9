"""Student widths from a pruned teacher: every student layer holds what survived of the teacher's (METHODS B2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinycompress.compress.coupling import FILTER, INPUT
from tinycompress.compress.groups import Groups
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph


def chain_widths(surviving: Sequence[float], input_channels: int, kernel: int = 3) -> list[int]:
    """Widths of a plain chain: c_l = round(n_l / (k²·c_{l−1})), n_l surviving weights of layer l, first layer included.

    A width may exceed the teacher's where the layer before it shrank; the published students do.
    """
    widths, before = [], input_channels
    for count in surviving:
        before = max(1, round(count / (kernel**2 * before)))
        widths.append(before)
    return widths


def stage_width(surviving: float, before: int, blocks: int, *, projection: bool, kernel: int = 3) -> int:
    """One width for a stage of residual blocks (two k×k convolutions each), so that its additions match.

    Positive root c of k²·before·c + k²·c² + [projection]·before·c + (blocks − 1)·2k²·c² = surviving.
    """
    square = kernel**2 * (1 + 2 * (blocks - 1))
    linear = kernel**2 * before + (before if projection else 0)
    root = (-linear + math.sqrt(linear**2 + 4 * square * surviving)) / (2 * square)
    return max(1, round(root))


def profile(graph: Graph, groups: Groups, surviving: dict[str, int]) -> dict[str, float]:
    """Student width of every prunable group, as a fraction of its size, from surviving weights per constant.

    Our extension of the published rule to any coupling (residuals, depthwise, inverted residuals): groups in the order
    their producers run; a group's width solves Σ over its producers of weights(width) = Σ surviving weights, the widths
    of earlier groups being those already found. On plain chains this is `chain_widths`. Depthwise filters follow their
    producer and count towards it.
    """
    widths: dict[str, float] = {g.name: float(g.size) for g in groups.all}
    members: dict[str, list[o.Op]] = {g.name: [] for g in groups.all}
    for op in graph.ops:
        if isinstance(op, o.Conv2D | o.TransposeConv2D | o.FullyConnected | o.DepthwiseConv2D):
            owner = _owner(groups, op.output)
            if owner is not None:
                members[owner].append(op)
    for group in groups.all:
        if group.frozen or not members[group.name]:
            continue
        target = float(sum(surviving[w] for op in members[group.name] for w in _weights(op)))
        low, high = 0.0, 4.0 * group.size
        for _ in range(60):
            widths[group.name] = (low + high) / 2
            held = sum(_held(graph, groups, op, widths) for op in members[group.name])
            low, high = (widths[group.name], high) if held < target else (low, widths[group.name])
        widths[group.name] = float(max(1, round(widths[group.name])))
    return {g.name: widths[g.name] / g.size for g in groups.prunable}


def _weights(op: o.Op) -> tuple[str, ...]:
    return (op.weights,) if isinstance(op, o.Conv2D | o.TransposeConv2D | o.FullyConnected | o.DepthwiseConv2D) else ()


def _owner(groups: Groups, tensor: str) -> str | None:
    """The group of a tensor's first channel."""
    first = int(groups.channels[tensor][0])
    return next((g.name for g in groups.all if first in g.channels), None)


def _held(graph: Graph, groups: Groups, op: o.Op, widths: dict[str, float]) -> float:
    """Weights of `op` at soft widths: its taps times soft input and output channels."""
    (name,) = _weights(op)
    constant = graph.tensors[name]
    soft = float(constant.elements)
    for slot in groups.slots:
        if slot.constant == name and (slot.role in (FILTER, INPUT) or isinstance(op, o.DepthwiseConv2D)):
            soft *= _soft_length(groups, slot.channels, widths) / len(slot.channels)
    return soft


def _soft_length(groups: Groups, channels: np.ndarray, widths: dict[str, float]) -> float:
    total = 0.0
    for group in groups.all:
        hits = int(np.count_nonzero((channels >= group.start) & (channels < group.start + group.size)))
        total += hits / group.size * widths[group.name]
    return total


def rescale(fractions: dict[str, float], sizes: dict[str, int], factor: float, multiple: int = 1) -> dict[str, int]:
    """Widths `factor`·fraction·size, rounded to a multiple and kept within 1 … size: one factor keeps the profile."""
    result = {}
    for name, fraction in fractions.items():
        exact = factor * fraction * sizes[name]
        rounded = round(exact / multiple) * multiple
        result[name] = min(sizes[name], max(min(multiple, sizes[name]), rounded))
    return result
