"""What pruning asks of a resource model, and the pieces that turn it into prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from tinycompress.cost.scalar import Scalar, plain


class CostModel(Protocol):
    """Resources of one graph for any group widths: `paper.PaperModel` and `deployed.Deployed` are two.

    Widths are ints (exact results) or torch scalars (soft results with gradients); groups left out keep their size.
    """

    def evaluate(self, counts: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every resource the model knows, by name: ``ram_bytes``, ``flash_bytes``, ``macs`` …"""

    def with_steps(self, counts: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], tuple[Scalar, ...]]:
        """`evaluate`, and the arena bytes alive during each step, whose maximum is the memory's variable part."""


def smooth_maximum(steps: tuple[Scalar, ...], temperature: float) -> Tensor:
    """τ·log Σ exp(step/τ): a maximum that shares its gradient among steps within a few τ of the peak."""
    stacked = torch.stack([torch.as_tensor(s, dtype=torch.float32) for s in steps])
    return temperature * torch.logsumexp(stacked / temperature, 0)


def soft_excess(
    model: CostModel, counts: Mapping[str, Tensor], limits: Mapping[str, float], smoothing: float
) -> dict[str, Tensor]:
    """Relative excess of every limited resource on soft widths; the memory peak is smoothed.

    The temperature is `smoothing` times the limit. Feasibility is never judged by this: the smoothed peak is above the
    hard one.
    """
    resources, steps = model.with_steps(counts)
    result = {}
    for name, limit in limits.items():
        value = torch.as_tensor(resources[name], dtype=torch.float32)
        if name == "ram_bytes" and smoothing > 0:
            value = value + smooth_maximum(steps, smoothing * limit) - max(plain(s) for s in steps)
        result[name] = value / limit - 1.0
    return result
