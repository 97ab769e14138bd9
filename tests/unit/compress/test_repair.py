from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.unit.compress.networks import chain, resnet
from tinycompress.compress import verdict
from tinycompress.compress.deployed import Deployed
from tinycompress.compress.groups import find_groups
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune import repair
from tinycompress.compress.prune.repair import (
    check_feasible,
    excess,
    fit,
    fit_to_plan,
    scaled,
    strongest,
    uniform_widths,
)
from tinycompress.compress.shrink import shrink
from tinycompress.errors import BudgetError

NETWORKS = {"resnet": resnet(size=16, widths=(8, 16, 32)), "chain": chain((12, 16, 24, 16), size=16)}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(10))
def test_random_feasible_budgets_are_met(name: str, seed: int) -> None:
    graph = NETWORKS[name]
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    rng = np.random.default_rng(seed)
    least, full = model.evaluate({g.name: 1 for g in groups.prunable}), model.evaluate({})
    budget = {k: least[k] + float(rng.uniform(0.05, 0.9)) * (full[k] - least[k]) for k in full}
    scores = {g.name: rng.random(g.size) for g in groups.prunable}
    wanted = {g.name: int(rng.integers(1, g.size + 1)) for g in groups.prunable}
    fitted = fit(wanted, scores, budget, model.evaluate, {g.name: 1 for g in groups.prunable})
    assert max(excess(model.evaluate(fitted.widths), budget).values()) <= 0
    for group in groups.prunable:
        if fitted.widths[group.name] < group.size:
            wider = model.evaluate({**fitted.widths, group.name: fitted.widths[group.name] + 1})
            assert max(excess(wider, budget).values()) > 0, "fill left a channel that fits"


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_one_binding_budget_is_used_to_95_percent(share: float) -> None:
    graph = NETWORKS["resnet"]
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    budget = {"flash_bytes": share * model.evaluate({})["flash_bytes"]}
    scores = {g.name: np.ones(g.size) for g in groups.prunable}
    fitted = fit(groups.widths(), scores, budget, model.evaluate, {g.name: 1 for g in groups.prunable})
    used = model.evaluate(fitted.widths)["flash_bytes"]
    assert 0.95 * budget["flash_bytes"] <= used <= budget["flash_bytes"]


@pytest.mark.parametrize("seed", range(20))
def test_random_budgets_of_a_deployment_are_met_by_the_plan(seed: int) -> None:
    """Between the smallest reachable and the dense network; a weights budget alone is used to 95 %."""
    graph = NETWORKS["chain"]
    groups = find_groups(graph)
    model = Deployed(graph, groups, has_work=False)
    rng = np.random.default_rng(seed)
    minimum = {g.name: 2 for g in groups.prunable}
    least, full = model.evaluate(minimum), model.evaluate({})
    names = ("weights_bytes",) if seed % 2 else ("ram_bytes", "weights_bytes")
    budget = {n: float(least[n] + rng.uniform(0.1, 0.9) * (full[n] - least[n])) for n in names}
    scores = {g.name: rng.random(g.size) for g in groups.prunable}
    wanted = {g.name: int(rng.integers(2, g.size + 1)) for g in groups.prunable}

    def fits(widths: dict[str, int]) -> bool:
        return verdict.fits(shrink(graph, {g: range(n) for g, n in widths.items()}, groups), budget, 0.0)

    fitted = fit_to_plan(lambda limits: fit(wanted, scores, limits, model.evaluate, minimum), fits, budget)
    use = model.evaluate(fitted.widths)
    assert max(excess(use, budget).values()) <= 0
    assert fits(fitted.widths)
    if seed % 2:
        assert use["weights_bytes"] >= 0.95 * budget["weights_bytes"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", ["weights_bytes", "ram_bytes"])
def test_wide_networks_are_repaired_in_bulk(name: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the budget, nothing that fits left out, and about as much importance kept as channel by channel."""
    graph = NETWORKS["resnet"]
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    resource = "flash_bytes" if name == "weights_bytes" else name
    least, full = model.evaluate({g.name: 2 for g in groups.prunable})[resource], model.evaluate({})[resource]
    budget = {resource: least + share * (full - least)}
    rng = np.random.default_rng(0)
    scores = {g.name: rng.random(g.size) for g in groups.prunable}
    calls: list[int] = []

    def evaluate(widths: Mapping[str, int]) -> Mapping[str, float]:
        calls.append(1)
        return model.evaluate(widths)

    kept, evaluations = [], []
    for limit in (10**6, 0):
        monkeypatch.setattr(repair, "WIDE", limit)
        calls.clear()
        fitted = fit(groups.widths(), scores, budget, evaluate, {g.name: 2 for g in groups.prunable})
        assert excess(model.evaluate(fitted.widths), budget)[resource] <= 0
        for g, n in fitted.widths.items():
            grown = {**fitted.widths, g: min(n + 1, groups.group(g).size)}
            assert n == groups.group(g).size or excess(model.evaluate(grown), budget)[resource] > 0
        kept.append(sum(float(np.sort(scores[g])[::-1][:n].sum() / scores[g].sum()) for g, n in fitted.widths.items()))
        evaluations.append(len(calls))
    assert kept[1] >= 0.9 * kept[0]
    assert evaluations[1] < evaluations[0] or evaluations[0] < 200


def test_an_impossible_budget_names_the_nearest_feasible_one() -> None:
    graph = NETWORKS["resnet"]
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    minimum = {g.name: 2 for g in groups.prunable}
    least = model.evaluate(minimum)
    with pytest.raises(BudgetError, match=rf"TC-B201.*nearest feasible budget: ram_bytes = {least['ram_bytes']}"):
        check_feasible(minimum, {"ram_bytes": 100.0, "flash_bytes": 1e9}, model.evaluate)
    check_feasible(minimum, {"ram_bytes": float(least["ram_bytes"])}, model.evaluate)


def test_uniform_is_the_largest_single_factor() -> None:
    graph = NETWORKS["chain"]
    groups = find_groups(graph)
    model = PaperModel(graph, groups)
    full = groups.widths()
    assert uniform_widths(full, {"flash_bytes": 1e9}, model.evaluate) == full
    limit = 0.4 * model.evaluate({})["flash_bytes"]
    widths = uniform_widths(full, {"flash_bytes": limit}, model.evaluate)
    assert model.evaluate(widths)["flash_bytes"] <= limit
    assert model.evaluate(scaled(full, 1.1 * widths["conv6"] / full["conv6"]))["flash_bytes"] > limit


def test_strongest_keeps_the_largest_scores_in_order() -> None:
    assert strongest(np.array([0.1, 0.9, 0.4, 0.9]), 3) == [1, 2, 3]
