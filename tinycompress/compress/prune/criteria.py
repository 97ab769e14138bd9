"""Importance of channels: one score ≥ 0 per channel of every prunable group (METHODS B1.3 item 2, B3.1, B3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tinycompress.compress.coupling import FILTER
from tinycompress.compress.groups import Groups, Slot
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

Scores = dict[str, NDArray[np.float64]]
Rule = Callable[[Graph, Groups, Mapping[str, NDArray[np.float64]], np.random.Generator], Scores]


def _spread(groups: Groups, slot: Slot, per_index: NDArray[np.float64], into: NDArray[np.float64]) -> None:
    np.add.at(into, slot.channels, per_index)


def _by_group(groups: Groups, channels: NDArray[np.float64]) -> Scores:
    return {g.name: channels[g.start : g.start + g.size] for g in groups.prunable}


def _filter_norm(graph: Graph, slot: Slot, order: int) -> NDArray[np.float64]:
    weights = np.moveaxis(graph.tensors[slot.constant].constant.astype(np.float64), slot.axis, 0)
    flat = np.abs(weights.reshape(len(weights), -1))
    norm: NDArray[np.float64] = flat.mean(axis=1) if order == 1 else np.sqrt((flat**2).mean(axis=1))
    return norm


def norm_scores(graph: Graph, groups: Groups, order: int) -> Scores:
    """Mean over a channel's filters of their L1 or root-mean-square norm per weight."""
    total, hits = np.zeros(groups.total), np.zeros(groups.total)
    for slot in groups.slots:
        if slot.role == FILTER:
            _spread(groups, slot, _filter_norm(graph, slot, order), total)
            _spread(groups, slot, np.ones(len(slot.channels)), hits)
    return _by_group(groups, total / np.maximum(hits, 1))


def scale_scores(graph: Graph, groups: Groups) -> Scores:
    """Sum of |γ| over a channel's batch norms; channels without one fall back to their filters' L1 norm."""
    total = np.zeros(groups.total)
    for op in graph.ops:
        if isinstance(op, o.BatchNorm):
            np.add.at(total, groups.channels[op.output], np.abs(graph.tensors[op.gamma].constant.astype(np.float64)))
    plain = norm_scores(graph, groups, 1)
    return {g: s if s.any() else plain[g] for g, s in _by_group(groups, total).items()}


def folded_scores(graph: Graph, groups: Groups) -> Scores:
    """Sum over producers of Σ|W|·|γ|/√(variance + ε): the filter's size once batch norm is folded in."""
    total = np.zeros(groups.total)
    for op in graph.ops:
        for slot in groups.slots:
            if slot.op != op.name or slot.role != FILTER:
                continue
            size = _filter_norm(graph, slot, 1) * (graph.tensors[slot.constant].elements / len(slot.channels))
            for user in graph.consumers(op.output):
                if isinstance(user, o.BatchNorm):
                    variance = graph.tensors[user.variance].constant.astype(np.float64)
                    size = size * np.abs(graph.tensors[user.gamma].constant) / np.sqrt(variance + user.epsilon)
            _spread(groups, slot, size, total)
    return _by_group(groups, total)


def random_scores(groups: Groups, rng: np.random.Generator) -> Scores:
    """Uniform numbers: the honesty check of every other criterion."""
    return {g.name: 1e-3 + rng.random(g.size) for g in groups.prunable}


CRITERIA: dict[str, Rule] = {
    "taylor": lambda graph, groups, gradients, rng: {g.name: gradients[g.name] for g in groups.prunable},
    "l1": lambda graph, groups, gradients, rng: norm_scores(graph, groups, 1),
    "l2": lambda graph, groups, gradients, rng: norm_scores(graph, groups, 2),
    "bn": lambda graph, groups, gradients, rng: scale_scores(graph, groups),
    "conv_bn": lambda graph, groups, gradients, rng: folded_scores(graph, groups),
    "random": lambda graph, groups, gradients, rng: random_scores(groups, rng),
}
"""Criterion by name. Arguments: graph with present weights, its groups, Taylor scores per group, generator.

Taylor scores are √EMA(g²) of the gradient g of the loss with respect to a gate on the channel, g averaged over the
batch as training does; the gate stands at every consumer, so members of a group share it.
"""


def score(
    criterion: str,
    graph: Graph,
    groups: Groups,
    gradients: Mapping[str, NDArray[np.float64]],
    rng: np.random.Generator,
) -> Scores:
    """Scores of every prunable group by the criterion of that name (KeyError when there is none)."""
    return CRITERIA[criterion](graph, groups, gradients, rng)
