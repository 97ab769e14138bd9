"""Differentiable widths: budgets are met and used, gradients mean what they say, failures are noticed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.compress.networks import chain, resnet
from tests.unit.compress.test_training import CPU, blobs
from tinycompress.compress.costing import smooth_maximum, soft_excess
from tinycompress.compress.deployed import Deployed
from tinycompress.compress.groups import find_groups
from tinycompress.compress.network import Network, initialise
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.gates import keep_probability, stack_rows, standardise
from tinycompress.compress.prune.loop import Pruner
from tinycompress.compress.prune.repair import excess, fit
from tinycompress.compress.prune.soft import PUBLISHED, SoftSettings, SoftWidths, Trace, failures
from tinycompress.compress.recipe import TrainSettings
from tinycompress.compress.shrink import shrink
from tinycompress.compress.task import Budget
from tinycompress.compress.train import Trainer
from tinycompress.errors import BudgetError
from tinycompress.plan.planner import plan
from tinycompress.quantize.ptq import quantize


def drive(graph: object, budget: dict[str, float], settings: SoftSettings, steps: int = 300) -> SoftWidths:
    """Widths under a stand-in loss that values every channel of group i by 1 / (i + 1)."""
    groups = find_groups(graph)  # type: ignore[arg-type]
    model = PaperModel(graph, groups)  # type: ignore[arg-type]
    soft = SoftWidths(groups.widths(), model, budget, steps, settings)
    importances = {g.name: torch.linspace(0.1, 1.0, g.size) for g in groups.prunable}
    for step in range(steps):
        progress = step / (steps - 1)
        gates = soft.gates(importances, progress, torch.Generator().manual_seed(step))
        loss = sum((1.0 - gate.mean()) ** 2 / (i + 1) for i, gate in enumerate(gates.values()))
        loss.backward()  # type: ignore[union-attr]
        soft.step(progress)
    return soft


@pytest.mark.parametrize("seed", range(6))
def test_soft_use_ends_at_the_binding_budget(seed: int) -> None:
    graph = resnet(size=16, widths=(8, 16, 32))
    model = PaperModel(graph, find_groups(graph))
    full = model.evaluate({})
    rng = np.random.default_rng(seed)
    name = str(rng.choice(["ram_bytes", "flash_bytes", "macs"]))
    budget = {name: float(rng.uniform(0.3, 0.8)) * full[name]}
    soft = drive(graph, budget, SoftSettings())
    use = excess(model.evaluate({g: a * soft.sizes[g] for g, a in soft.alpha().items()}), budget)[name]
    assert -0.08 < use < 0.1
    scores = {g: np.ones(n) for g, n in soft.sizes.items()}
    fitted = fit(soft.wanted(), scores, budget, model.evaluate, dict.fromkeys(soft.sizes, 2))
    assert excess(model.evaluate(fitted.widths), budget)[name] <= 0
    if name == "flash_bytes":
        assert excess(model.evaluate(fitted.widths), budget)[name] >= -0.05


def test_valued_groups_keep_more_than_worthless_ones() -> None:
    graph = chain((16, 16, 16), size=8)
    full = PaperModel(graph, find_groups(graph)).evaluate({})
    alpha = list(drive(graph, {"macs": 0.3 * full["macs"]}, SoftSettings()).alpha().values())
    assert max(alpha) - min(alpha) > 0.1


def test_the_published_form_moves_in_lockstep_and_this_is_noticed() -> None:
    graph = chain((16, 16, 16), size=8)
    full = PaperModel(graph, find_groups(graph)).evaluate({})
    soft = drive(graph, {"macs": 0.3 * full["macs"]}, PUBLISHED, steps=120)
    assert any("narrowed alike" in f for f in failures(soft.trace, {"macs": 1.4}, 0, 48, soft.price))


def test_failures_name_collapse_greedy_work_and_undecided_channels() -> None:
    spread = {"a": 0.2, "b": 0.6}
    collapsed = failures(Trace(alpha=spread, undecided=0.2), {"macs": 0.5}, 0, 100, {"macs": 0.0})
    assert collapsed == ["widths collapsed below the budget (at most 50% of it used)"]
    greedy = failures(Trace(alpha=spread, undecided=0.2), {"macs": 1.0}, 11, 100, {"macs": 1.0})
    assert greedy == ["the last cut, not training, chose 11 of 100 channels: more epochs would leave it fewer"]
    undecided = failures(Trace(alpha=spread, undecided=1.0), {"macs": 1.0}, 0, 100, {"macs": 1.0})
    assert undecided == ["no channel was decided at the freeze: importances are not on one scale"]
    assert failures(Trace(alpha=spread, undecided=0.2), {"macs": 1.0}, 0, 100, {"macs": 1.0}) == []


def test_budgets_fall_geometrically_from_the_first_use() -> None:
    graph = chain()
    model = PaperModel(graph, find_groups(graph))
    soft = SoftWidths(find_groups(graph).widths(), model, {"macs": 100.0}, 10)
    soft.first_use = {"macs": 400.0}
    assert soft.limits(0.0)["macs"] == pytest.approx(400.0)
    assert soft.limits(0.4)["macs"] == pytest.approx(200.0)
    assert soft.limits(0.8)["macs"] == soft.limits(1.0)["macs"] == pytest.approx(100.0)


def test_resizing_keeps_the_soft_count() -> None:
    graph = chain((10, 12, 8))
    soft = SoftWidths(find_groups(graph).widths(), PaperModel(graph, find_groups(graph)), {"macs": 1e4}, 10)
    soft.theta = dict.fromkeys(soft.sizes, 0.0)
    before = {g: a * soft.sizes[g] for g, a in soft.alpha().items()}
    smaller = shrink(graph, {"conv0": range(7)})
    soft.resize(find_groups(smaller).widths(), PaperModel(smaller, find_groups(smaller)))
    after = {g: a * soft.sizes[g] for g, a in soft.alpha().items()}
    assert after == pytest.approx(before, rel=1e-6)


def test_smoothed_maximum_is_a_little_above_the_maximum() -> None:
    steps = (torch.tensor(100.0), torch.tensor(100.0), torch.tensor(10.0))
    assert 100.0 < float(smooth_maximum(steps, 1.0)) <= 100.0 + np.log(3)


def test_smoothing_shares_the_gradient_among_tied_peaks() -> None:
    graph = chain((8, 8, 8, 8), size=8)
    model = PaperModel(graph, find_groups(graph))
    leaves = {g: torch.tensor(float(n), requires_grad=True) for g, n in find_groups(graph).widths().items()}
    soft_excess(model, leaves, {"ram_bytes": 512.0}, 0.01)["ram_bytes"].backward()
    assert sum(leaf.grad is not None and float(leaf.grad) > 1e-6 for leaf in leaves.values()) >= 2


def test_width_gradients_agree_with_finite_differences_on_a_trained_network() -> None:
    task = blobs(count=160)
    trained = Trainer(initialise(chain((8, 10, 8)), 0), task, TrainSettings(epochs=6, batch=16), CPU)
    trained.run()
    network = Network(trained.network.graph(), CPU)
    network.module.eval()
    inputs, targets = trained.inputs, trained.targets
    sizes = network.groups.widths()
    generator = torch.Generator().manual_seed(0)
    rows = standardise([torch.rand(n, generator=generator) + 0.1 for n in sizes.values()])
    scores, valid = stack_rows(rows)

    def loss(alpha: torch.Tensor) -> torch.Tensor:
        kept = keep_probability(alpha, scores, valid, 4.0)
        network.set_gates({g: kept[i, :n] for i, (g, n) in enumerate(sizes.items())})
        return torch.nn.functional.cross_entropy(network.module(inputs), targets)

    alpha = torch.full((len(sizes),), 0.6, requires_grad=True)
    (exact,) = torch.autograd.grad(loss(alpha), alpha)
    for i in range(len(sizes)):
        shift = torch.zeros(len(sizes))
        shift[i] = 1e-2
        with torch.no_grad():
            difference = (loss(alpha + shift) - loss(alpha - shift)) / 2e-2
        assert float(exact[i]) == pytest.approx(float(difference), rel=0.05, abs=2e-3)


def test_a_users_own_loop_drives_the_pruner() -> None:
    task = blobs(count=160)
    graph = initialise(chain((8, 12, 8)), 0)
    full = Deployed(graph, find_groups(graph)).evaluate({})
    budget = Budget(weights_bytes=int(0.5 * full["weights_bytes"]))
    pruner = Pruner(graph, budget, steps=60)
    optimizer = torch.optim.SGD(pruner.parameters(), lr=0.05, momentum=0.9)
    inputs = torch.from_numpy(task.train.inputs)
    assert task.train.targets is not None
    targets = torch.from_numpy(task.train.targets)
    for step in range(90):
        chosen = torch.arange(16) + 16 * (step % 8)
        loss = torch.nn.functional.cross_entropy(pruner(inputs[chosen]), targets[chosen]) + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        pruner.step()
        optimizer.step()
        if step == 59:
            assert pruner.is_done
            optimizer = torch.optim.SGD(pruner.shrink(), lr=0.02, momentum=0.9)
    quantized = quantize(pruner.graph(), task.train.inputs[:32])
    assert (
        plan(quantized, flash_bytes=int(budget.resources["weights_bytes"])).weights_bytes <= 0.5 * full["weights_bytes"]
    )
    assert pruner.sizes() == find_groups(pruner.graph()).widths()
    pruner.module.eval()
    assert float((pruner(inputs).argmax(1) == targets).float().mean()) > 0.6


def test_an_impossible_budget_is_refused_when_the_pruner_is_made() -> None:
    with pytest.raises(BudgetError, match="TC-B201"):
        Pruner(chain(), Budget(weights_bytes=50), steps=10)
