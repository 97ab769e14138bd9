"""Teachers by global magnitude pruning with learning-rate rewinding (METHODS B2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinycompress.compress.network import Network

Masks = dict[str, Tensor]
"""0/1 masks of weights by operator name, in the module's layout."""


@dataclass(frozen=True)
class Sparsity:
    """How much of a network's weights is alive, in total and per constant (by the graph's tensor name)."""

    alive: int
    total: int
    per_constant: Mapping[str, int]

    @property
    def density(self) -> float:
        return self.alive / self.total


def open_masks(network: Network) -> Masks:
    """Masks that let every weight through: convolutions and fully connected layers, first and last included."""
    return {op: torch.ones_like(p) for op, name, p in network.parameters() if name == "weights"}


def prune_magnitude(network: Network, masks: Mapping[str, Tensor], fraction: float) -> Masks:
    """Closes the masks of the `fraction` smallest |weight| among those alive, in one list over all layers.

    Exactly round(fraction · alive) weights go; of equal magnitudes the earlier layer's go first. Masks only ever close.
    """
    weights = {op: p.detach() for op, name, p in network.parameters() if name == "weights"}
    order = list(masks)
    sizes = (weights[op].abs().masked_fill(masks[op] == 0, torch.inf) for op in order)
    magnitudes = torch.cat([size.flatten() for size in sizes])
    alive = int(sum(int(masks[op].sum()) for op in order))
    doomed = torch.sort(magnitudes, stable=True).indices[: round(fraction * alive)]
    flat = torch.cat([masks[op].flatten() for op in order])
    flat[doomed] = 0.0
    parts = torch.split(flat, [masks[op].numel() for op in order])
    return {op: part.view_as(masks[op]).clone() for op, part in zip(order, parts, strict=True)}


def sparsity(network: Network, masks: Mapping[str, Tensor]) -> Sparsity:
    """What the masks leave alive."""
    names = {op.name: getattr(op, "weights", "") for op in network.module.graph.ops}
    per_constant = {names[op]: int(mask.sum()) for op, mask in masks.items()}
    return Sparsity(sum(per_constant.values()), sum(m.numel() for m in masks.values()), per_constant)


@torch.no_grad()
def close(network: Network, masks: Mapping[str, Tensor]) -> None:
    """Writes the zeros into the weights themselves."""
    for op, mask in masks.items():
        network.module.parameter(op, "weights").mul_(mask)


def masks_of(network: Network) -> Masks:
    """Masks that keep a stored sparse network sparse: its zeros stay zero."""
    return {op: (p.detach() != 0).to(p.dtype) for op, name, p in network.parameters() if name == "weights"}
