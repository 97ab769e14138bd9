"""Closed forms of METHODS B1.3: keep probabilities and their implicit gradient."""

from __future__ import annotations

import pytest
import torch

from tinycompress.compress.prune.gates import keep_probability, solve_threshold, stack_rows, standardise

IMPORTANCE = torch.tensor([[0.1, 0.2, 0.4, 0.8]], dtype=torch.float64)
VALID = torch.ones(1, 4, dtype=torch.bool)


def jacobian(alpha: torch.Tensor, scores: torch.Tensor, hardness: float, floor: float) -> torch.Tensor:
    """dp_i/dα of one group."""
    leaf = alpha.clone().requires_grad_(True)
    kept = keep_probability(leaf, scores, torch.ones_like(scores, dtype=torch.bool), hardness, floor)
    rows = [torch.autograd.grad(k, leaf, retain_graph=True)[0] for k in kept[0]]
    return torch.cat(rows)


@pytest.mark.parametrize(
    ("hardness", "kept", "slope"),
    [
        (1.0, (0.2612, 0.4142, 0.5858, 0.7388), (0.886, 1.114, 1.114, 0.886)),
        (4.0, (0.0154, 0.2, 0.8, 0.9846), (0.173, 1.827, 1.827, 0.173)),
        (50.0, (0.0, 0.0, 1.0, 1.0), (0.0, 2.0, 2.0, 0.0)),
    ],
)
def test_raw_form_has_the_published_values(hardness: float, kept: tuple[float, ...], slope: tuple[float, ...]) -> None:
    alpha = torch.tensor([0.5], dtype=torch.float64)
    scores = IMPORTANCE.log()
    threshold = solve_threshold(scores, VALID, alpha, hardness, 0.0)
    assert threshold.exp().item() == pytest.approx(0.28284, abs=1e-5)
    p = keep_probability(alpha, scores, VALID, hardness, 0.0)[0]
    assert p.tolist() == pytest.approx(kept, abs=1e-4)
    assert jacobian(alpha, scores, hardness, 0.0).tolist() == pytest.approx(slope, abs=1e-3)


@pytest.mark.parametrize("floor", [0.0, 0.01])
@pytest.mark.parametrize("hardness", [1.0, 5.0, 20.0, 50.0])
@pytest.mark.parametrize("level", [0.1, 0.33, 0.6, 0.9, 0.985])
def test_gradient_is_the_finite_difference_and_sums_to_the_width(floor: float, hardness: float, level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 0.5 * torch.randn(1, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(16, generator=generator, dtype=torch.float64)
    valid = torch.ones(1, 16, dtype=torch.bool)

    def loss(value: torch.Tensor) -> torch.Tensor:
        return (weight * keep_probability(value, scores, valid, hardness, floor)[0] ** 2).sum()

    alpha = torch.tensor([level], dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(loss(alpha), alpha)
    step = 1e-6
    with torch.no_grad():
        difference = (loss(alpha + step) - loss(alpha - step)) / (2 * step)
    assert exact.item() == pytest.approx(difference.item(), rel=2e-3, abs=2e-3)
    assert jacobian(alpha.detach(), scores, hardness, floor).sum().item() == pytest.approx(16.0)


def test_padding_entries_are_never_kept_and_mean_is_alpha() -> None:
    scores, valid = stack_rows(standardise([torch.tensor([1.0, 2.0, 8.0]), torch.tensor([1.0, 5.0])]))
    alpha = torch.tensor([0.5, 0.8])
    kept = keep_probability(alpha, scores, valid, 4.0)
    assert kept[1, 2] == 0
    assert (kept.sum(1) / valid.sum(1)).tolist() == pytest.approx(alpha.tolist(), abs=1e-5)


def test_standardising_makes_the_unit_of_the_criterion_irrelevant() -> None:
    raw = torch.rand(9) + 0.1
    torch.testing.assert_close(standardise([raw])[0], standardise([raw * 1e-3])[0], rtol=1e-4, atol=1e-4)
