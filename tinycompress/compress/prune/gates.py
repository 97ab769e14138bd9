"""Keep probabilities: how a group's width becomes a soft mask over its channels (METHODS B1.3, items 3 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FLOOR = 0.01
"""Added to every keep probability, so that a dropped channel still gets a gradient."""
BISECTIONS = 40


def stack_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Ragged rows as one padded [groups, widest] tensor, and the mask of real entries."""
    widest = max(len(row) for row in rows)
    device = rows[0].device
    valid = torch.stack([torch.arange(widest, device=device) < len(row) for row in rows])
    return torch.stack([torch.nn.functional.pad(row, (0, widest - len(row))) for row in rows]), valid


def standardise(importances: Sequence[Tensor]) -> list[Tensor]:
    """Logarithms of importances (≥ 0), shifted and scaled to mean 0 and sd 1 within each group.

    Then one hardness means the same in every group, whatever the criterion's unit.
    """
    logs = [row.clamp_min(1e-12).log() for row in importances]
    return [(u - u.mean()) / (u.std() + 1e-6) if len(u) > 1 else torch.zeros_like(u) for u in logs]


def solve_threshold(scores: Tensor, valid: Tensor, alpha: Tensor, hardness: float, floor: float = FLOOR) -> Tensor:
    """Per group the t with mean_i clamp(σ(hardness·(score_i − t)) + floor, 0, 1) = alpha, by bisection."""
    real = valid.sum(1).to(scores.dtype)
    low = scores.masked_fill(~valid, torch.inf).amin(1) - 40.0 / hardness
    high = scores.masked_fill(~valid, -torch.inf).amax(1) + 40.0 / hardness
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        kept = (torch.sigmoid(hardness * (scores - middle[:, None])) + floor).clamp(max=1.0) * valid
        too_many = kept.sum(1) / real > alpha
        low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
    return (low + high) / 2


class KeepProbability(torch.autograd.Function):
    """p [groups, channels] with mean alpha per group; differentiable in alpha, scores get no gradient.

    The gradient is that of the implicit equation: dp_i/dα = C · f_i / Σ f, where f = s(1 − s) of the sigmoid s before
    the floor is added, and 0 where the floor lifts it to 1 or beyond.
    """

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, scores: Tensor, valid: Tensor, hardness: float, floor: float) -> Tensor:
        threshold = solve_threshold(scores, valid, alpha.detach(), hardness, floor)
        logit = hardness * (scores - threshold[:, None])
        raw = torch.sigmoid(logit)
        log_slope = torch.nn.functional.logsigmoid(logit) + torch.nn.functional.logsigmoid(-logit)
        movable = valid & (raw + floor < 1.0)
        saturated = ~movable.any(1, keepdim=True)
        log_slope = torch.where(saturated, torch.zeros_like(log_slope), log_slope)
        log_slope = log_slope.masked_fill(~torch.where(saturated, valid, movable), -torch.inf)
        slope = valid.sum(1, keepdim=True) * torch.softmax(log_slope, 1)
        ctx.save_for_backward(slope)
        return (raw + floor).clamp(max=1.0) * valid

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (gradients[0] * slope).sum(1), None, None, None, None


def keep_probability(alpha: Tensor, scores: Tensor, valid: Tensor, hardness: float, floor: float = FLOOR) -> Tensor:
    """`KeepProbability` as a function: alpha [groups], scores and valid [groups, channels]."""
    kept: Tensor = KeepProbability.apply(alpha, scores, valid, hardness, floor)  # type: ignore[no-untyped-call]
    return kept
