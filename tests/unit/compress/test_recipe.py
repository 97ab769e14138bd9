from __future__ import annotations

import tomllib

import numpy as np
import pytest

from tests.unit.compress.networks import Net
from tinycompress.compress.recipe import Recipe, parse_recipe
from tinycompress.compress.run import compress
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


def test_tasks_check_names_and_targets() -> None:
    split = Split(np.zeros((4, 2)), np.array([0, 1, 2, 3]))
    with pytest.raises(ConfigError, match=r"TC-C310.*'accuracy'"):
        Task(split, split, split, metric="acuracy")
    with pytest.raises(ConfigError, match=r"TC-C302.*needs targets"):
        Task(Split(np.zeros((4, 2))), split, split, kind="regression")


def test_tasks_check_the_network() -> None:
    """Two values in, three out: labels up to 3, labels that are none, targets of 4 values, reconstructions of 2."""
    net = Net((2,))
    graph = net.graph(net.fc("x", 3))
    labels = Split(np.zeros((4, 2)), np.array([0, 1, 2, 3]))
    values = Split(np.zeros((4, 2)), np.zeros((4, 4)))
    with pytest.raises(ConfigError, match="TC-C303: train labels go from 0 to 3, the network has 3 outputs"):
        Task(labels, labels, labels).check_network(graph)
    with pytest.raises(ConfigError, match=r"TC-C303: train labels are float64 of shape \[4, 4\], not one integer"):
        Task(values, values, values).check_network(graph)
    with pytest.raises(ConfigError, match=r"TC-C303: the network's output is \[3\], a target of train \[4\]"):
        Task(values, values, values, kind="regression").check_network(graph)
    with pytest.raises(ConfigError, match=r"TC-C303: the network's output is \[3\], its input \[2\]"):
        Task(values, values, values, kind="autoencoder").check_network(graph)
    own = Task(values, values, values, loss=lambda o, t: o.sum(), metric=lambda o, t: 0.0)
    own.check_network(graph)


def test_a_teacher_of_another_task_is_refused() -> None:
    net, other = Net((2,)), Net((2,))
    split = Split(np.zeros((4, 2)), np.zeros(4, int))
    with pytest.raises(ConfigError, match=r"TC-C315: the teacher's inputs and outputs are \[\[2\], \[5\]\]"):
        compress(net.graph(net.fc("x", 3)), Task(split, split, split), teacher=other.graph(other.fc("x", 5)))


def _broken(output: object, target: object) -> float:
    raise KeyError("far")


@pytest.mark.parametrize(
    ("loss", "metric", "said"),
    [
        (_broken, None, "the loss _broken failed: KeyError: 'far'"),
        (lambda o, t: o.sum(1), None, r"failed: ValueError: it gave \[4\] values"),
        (lambda o, t: 3.0, None, "none that depends on the output"),
        (None, _broken, "the metric _broken failed: KeyError: 'far'"),
        (None, lambda o, t: o, "the metric .* failed: TypeError"),
    ],
)
def test_functions_of_the_users_that_fail_are_named(loss: object, metric: object, said: str) -> None:
    net = Net((2,))
    split = Split(np.ones((4, 2)), np.array([0, 1, 2, 0]))
    task = Task(split, split, split, loss=loss, metric=metric)  # type: ignore[arg-type]
    recipe = parse_recipe({"train": {"epochs": 1, "batch": 4}, "prune": {"method": "none"}})
    with pytest.raises(ConfigError, match=f"TC-C319: .*{said}"):
        compress(net.graph(net.fc("x", 3)), task, None, recipe)


def test_area_under_curve_counts_pairs() -> None:
    assert area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == pytest.approx(0.75)
    assert area_under_curve(np.array([1.0, 1.0]), np.array([0, 1])) == pytest.approx(0.5)
