from __future__ import annotations

import tomllib

import numpy as np
import pytest

from tinycompress.compress.recipe import Recipe, parse_recipe
from tinycompress.compress.task import Budget, Task, area_under_curve
from tinycompress.data import Split
from tinycompress.errors import ConfigError


def test_a_recipe_is_a_toml_table() -> None:
    text = """
    initial = "teacher"
    control = "scratch-e"
    [train]
    epochs = 12
    label_smoothing = "matched"
    [prune]
    method = "taylor"
    hardness = [1.0, 10.0]
    [teacher]
    kind = "pruned"
    [teacher.train]
    epochs = 3
    """
    recipe = parse_recipe(tomllib.loads(text))
    assert recipe.teacher.train.epochs == 3
    assert recipe.prune.hardness == (1.0, 10.0)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    assert parse_recipe(None) == Recipe()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prunee": {}}, r"TC-C102: unknown key 'prunee' \(compress.prunee\); did you mean 'prune'\?"),
        ({"prune": {"methd": "l1"}}, r"TC-C102.*compress.prune.methd.*did you mean 'method'"),
        ({"teacher": {"train": {"epoch": 3}}}, r"TC-C102.*compress.teacher.train.epoch.*did you mean 'epochs'"),
        ({"prune": {"method": "tailor"}}, r"TC-C103.*compress.prune.method.*did you mean 'taylor'"),
        ({"control": "scratch"}, r"TC-C103.*did you mean 'scratch-[eb]'"),
        ({"train": {"lr": -1}}, r"TC-C103: -1.*compress.train.lr"),
    ],
)
def test_mistakes_name_the_nearest_match(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe(values)


def test_budgets_take_sizes_as_text() -> None:
    budget = Budget(ram_bytes="8 KB", flash_bytes=16384, instructions=1e6)
    assert budget.resources == {"ram_bytes": 8192.0, "flash_bytes": 16384.0, "instructions": 1e6}
    for wrong in ({"ram_bytes": "8 apples"}, {"macs": 0}):
        with pytest.raises(ConfigError, match="TC-C311"):
            Budget(**wrong)  # type: ignore[arg-type]


def test_tasks_check_names_and_classes() -> None:
    split = Split(np.zeros((4, 2)), np.array([0, 1, 2, 3]))
    with pytest.raises(ConfigError, match=r"TC-C310.*'accuracy'"):
        Task(split, split, split, metric="acuracy")
    with pytest.raises(ConfigError, match="TC-C303: train labels go from 0 to 3, the network has 3 outputs"):
        Task(split, split, split).check_classes(3)
    with pytest.raises(ConfigError, match=r"TC-C302.*needs targets"):
        Task(Split(np.zeros((4, 2))), split, split, kind="regression")


def test_area_under_curve_counts_pairs() -> None:
    assert area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == pytest.approx(0.75)
    assert area_under_curve(np.array([1.0, 1.0]), np.array([0, 1])) == pytest.approx(0.5)
