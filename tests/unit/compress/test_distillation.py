from __future__ import annotations

import itertools

import pytest
import torch

from tests.unit.compress.networks import chain, resnet
from tinycompress.compress.distill.losses import (
    Distillation,
    cross_entropy,
    matched_smoothing,
    soft_divergence,
)
from tinycompress.compress.distill.widths import chain_widths, profile, rescale, stage_width
from tinycompress.compress.groups import find_groups

TEACHER = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)

VGG19 = [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512]
PUBLISHED_CHAINS = {
    "ST36": [53, 61, 128, 121, 258, 241, 258, 236, 485, 410, 406, 374, 340, 358, 390, 399],
    "ST59": [44, 56, 116, 112, 238, 227, 240, 209, 408, 348, 339, 246, 196, 214, 367, 272],
    "ST79": [40, 49, 111, 97, 225, 187, 224, 170, 356, 233, 220, 99, 111, 84, 297, 122],
}
PUBLISHED_STAGES = {"ST36": [58, 113, 216, 398], "ST59": [54, 102, 184, 305], "ST79": [49, 85, 140, 198]}


def test_divergence_has_the_closed_form_values() -> None:
    assert soft_divergence(STUDENT, TEACHER, 1.0).item() == pytest.approx(0.098886, abs=1e-6)
    assert soft_divergence(STUDENT, TEACHER, 4.0).item() / 16 == pytest.approx(0.00765885, abs=1e-8)
    assert soft_divergence(STUDENT, TEACHER, 4.0).item() == pytest.approx(0.122542, abs=1e-6)
    assert soft_divergence(TEACHER, TEACHER, 4.0).item() == pytest.approx(0.0, abs=1e-12)


def test_divergence_gradient_is_the_difference_of_softmaxes() -> None:
    student = STUDENT.clone().requires_grad_(True)
    soft_divergence(student, TEACHER, 4.0).backward()
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([-0.24349, 0.12174, 0.12174], abs=1e-5)
    closed_form = 4.0 * (torch.softmax(STUDENT / 4.0, -1) - torch.softmax(TEACHER / 4.0, -1))
    torch.testing.assert_close(student.grad, closed_form)


def test_hot_distillation_matches_logits() -> None:
    student = torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float64, requires_grad=True)
    soft_divergence(student, TEACHER, 1e4).backward()
    centred = (student - student.mean() - TEACHER + TEACHER.mean()).detach() / 3
    assert student.grad is not None
    torch.testing.assert_close(student.grad, centred, atol=1e-4, rtol=1e-3)


def test_without_soft_term_it_is_the_task_loss() -> None:
    labels = torch.tensor([0])
    plain = cross_entropy(STUDENT, labels)
    assert Distillation(alpha=0.0, temperature=1.0)(STUDENT, TEACHER, plain) == plain


def test_matched_smoothing_gives_the_teachers_confidence() -> None:
    epsilon = matched_smoothing(TEACHER)
    confidence = torch.softmax(TEACHER, -1).max().item()
    assert 1 - epsilon + epsilon / 3 == pytest.approx(confidence)


@pytest.mark.parametrize("name", PUBLISHED_CHAINS)
def test_chain_rule_gives_the_published_vgg_widths(name: str) -> None:
    widths = PUBLISHED_CHAINS[name]
    surviving = [9 * a * b for a, b in itertools.pairwise([3, *widths])]
    assert chain_widths(surviving, 3) == widths
    dense = sum(9 * a * b for a, b in itertools.pairwise([3, *VGG19]))
    target = {"ST36": 0.64, "ST59": 0.41, "ST79": 0.21}[name]
    assert sum(surviving) / dense == pytest.approx(target, abs=0.005)


@pytest.mark.parametrize("name", PUBLISHED_STAGES)
def test_stage_rule_gives_the_published_resnet_widths(name: str) -> None:
    before = 64
    for width in PUBLISHED_STAGES[name]:
        surviving = 9 * before * width + 9 * width**2 + before * width + 18 * width**2
        assert stage_width(surviving, before, blocks=2, projection=True) == width
        before = width


def test_profile_of_an_unpruned_teacher_is_the_full_width() -> None:
    for graph in (chain(), resnet()):
        groups = find_groups(graph)
        alive = {c: graph.tensors[c].elements for op in graph.ops for c in op.constants()}
        assert set(profile(graph, groups, alive).values()) == {1.0}


def test_profile_is_the_chain_rule_on_a_chain() -> None:
    graph = chain((8, 16, 12))
    groups = find_groups(graph)
    alive = {c: graph.tensors[c].elements for op in graph.ops for c in op.constants()}
    halved = {c: n // 2 for c, n in alive.items()}
    convs = [op.constants()[0] for op in graph.ops if op.kind == "Conv2D"]
    expected = chain_widths([halved[c] for c in convs], 2)
    found = profile(graph, groups, halved)
    assert [round(f * g.size) for f, g in zip(found.values(), groups.prunable, strict=True)] == expected


def test_rescaling_keeps_the_profile_within_the_sizes() -> None:
    assert rescale({"a": 0.5, "b": 1.0}, {"a": 16, "b": 32}, 0.5) == {"a": 4, "b": 16}
    assert rescale({"a": 0.5, "b": 1.0}, {"a": 16, "b": 32}, 3.0, multiple=4) == {"a": 16, "b": 32}
