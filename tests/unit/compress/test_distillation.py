from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.unit.compress.networks import Net, chain, resnet
from tinycompress.compress.distill.losses import (
    Distillation,
    cross_entropy,
    matched_smoothing,
    soft_divergence,
)
from tinycompress.compress.distill.widths import rescale, student_widths
from tinycompress.compress.groups import find_groups
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

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


def convolutions(graph: Graph) -> list[str]:
    return [op.weights for op in graph.ops if isinstance(op, o.Conv2D | o.DepthwiseConv2D)]


def alive(graph: Graph, density: float = 1.0) -> dict[str, int]:
    """Survivors when every layer keeps the same share."""
    return {c: round(density * graph.tensors[c].elements) for op in graph.ops for c in op.constants()}


@pytest.fixture(scope="module")
def vgg19() -> Graph:
    net = Net((16, 16, 3))
    x = "x"
    for position, width in enumerate(VGG19):
        x = net.relu(net.conv(x, width))
        x = net.pool(x) if position in (1, 3, 7, 11) else x
    return net.graph(net.fc(net.flatten(x), 10))


@pytest.fixture(scope="module")
def resnet18() -> Graph:
    """Every stage projects, the first one too, as in the published students."""
    net = Net((8, 8, 3))
    x = net.relu(net.conv("x", 64))
    for width in (64, 128, 256, 512):
        x = net.relu(net.add(net.conv(x, width, 1), net.conv(net.relu(net.conv(x, width)), width)))
        x = net.relu(net.add(x, net.conv(net.relu(net.conv(x, width)), width)))
    return net.graph(net.fc(net.mean(x), 10))


@pytest.mark.parametrize("name", PUBLISHED_CHAINS)
def test_the_rule_gives_the_published_vgg_widths(name: str, vgg19: Graph) -> None:
    widths = PUBLISHED_CHAINS[name]
    counts = [9 * a * b for a, b in itertools.pairwise([3, *widths])]
    dense = sum(9 * a * b for a, b in itertools.pairwise([3, *VGG19]))
    target = {"ST36": 0.64, "ST59": 0.41, "ST79": 0.21}[name]
    assert sum(counts) / dense == pytest.approx(target, abs=0.005)
    surviving = dict(zip(convolutions(vgg19), counts, strict=True))
    assert list(student_widths(vgg19, find_groups(vgg19), surviving).values()) == widths


@pytest.mark.parametrize("name", PUBLISHED_STAGES)
def test_the_rule_gives_the_published_resnet_widths(name: str, resnet18: Graph) -> None:
    names = iter(convolutions(resnet18))
    surviving = {next(names): 9 * 3 * 64}
    before = 64
    for width in PUBLISHED_STAGES[name]:
        projected = (before * width, 9 * before * width, 9 * width**2)
        surviving |= {next(names): count for count in (*projected, 9 * width**2, 9 * width**2)}
        before = width
    found = student_widths(resnet18, find_groups(resnet18), surviving)
    per_stage = [list(found.values())[1 + 3 * stage : 4 + 3 * stage] for stage in range(4)]
    assert [len(found), found["conv0"]] == [13, 64]
    assert per_stage == [[width] * 3 for width in PUBLISHED_STAGES[name]]


def inverted_residuals() -> Graph:
    """Two stages of inverted residuals, the first without an addition."""
    net = Net((8, 8, 3))
    x = net.block("x", 8)
    x = net.bn(net.conv(net.depthwise(net.block(x, 24, 1)), 12, 1))
    for width in (16, 16, 16):
        inner = net.bn(net.conv(net.relu(net.depthwise(net.block(x, 4 * width, 1))), width, 1))
        x = net.add(x, inner) if net.shape(x) == net.shape(inner) else inner
    return net.graph(net.fc(net.mean(x), 5))


SMALL = {"chain": chain((8, 16, 12)), "resnet": resnet(widths=(8, 12, 16)), "inverted": inverted_residuals()}


@pytest.mark.parametrize("name", SMALL)
def test_an_unpruned_teacher_gives_the_full_width(name: str) -> None:
    graph = SMALL[name]
    groups = find_groups(graph)
    assert student_widths(graph, groups, alive(graph)) == groups.widths()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("density", [0.3, 0.64, 1.3])
def test_a_student_holds_what_survived(name: str, density: float) -> None:
    """Rounding a width by half a channel is all that keeps the student's weights from the teacher's survivors."""
    graph = SMALL[name]
    groups = find_groups(graph)
    surviving = alive(graph, density)
    widths = student_widths(graph, groups, surviving)
    shapes = groups.shapes(graph, widths)
    held = sum(math.prod(shapes[c]) for c in convolutions(graph))
    assert held == pytest.approx(sum(surviving[c] for c in convolutions(graph)), rel=0.12)


def test_an_inverted_residual_stage_keeps_its_proportions() -> None:
    graph = SMALL["inverted"]
    groups = find_groups(graph)
    widths = student_widths(graph, groups, alive(graph, 0.3))
    trunk = next(g for g in groups.prunable if len(g.producers) == 3)
    inner = [g for g in groups.prunable if g.size == 64]
    assert all(widths[g.name] == pytest.approx(4 * widths[trunk.name], abs=2) for g in inner)


def test_rescaling_keeps_the_profile_within_the_sizes() -> None:
    assert rescale({"a": 8, "b": 32}, {"a": 16, "b": 32}, 0.5) == {"a": 4, "b": 16}
    assert rescale({"a": 8, "b": 40}, {"a": 16, "b": 32}, 1.0) == {"a": 8, "b": 32}
