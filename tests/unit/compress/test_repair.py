from __future__ import annotations

import numpy as np
import pytest

from tests.unit.compress.networks import chain, resnet
from tinycompress.compress.groups import find_groups
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.repair import check_feasible, excess, fit, scaled, strongest, uniform_widths
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
