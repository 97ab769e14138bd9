"""Networks with several inputs or outputs, and targets in the user's axis order: trained, pruned, quantized, scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.unit.compress.test_training import blobs
from tinycompress.compress.deployed import Deployed
from tinycompress.compress.groups import find_groups
from tinycompress.compress.prune.loop import Pruner
from tinycompress.compress.recipe import parse_recipe
from tinycompress.compress.run import compress
from tinycompress.compress.task import Budget, Task
from tinycompress.compress.train import Objective
from tinycompress.data import Split, from_object
from tinycompress.errors import ConfigError
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.graph import Graph

SHORT = {"epochs": 6, "batch": 16, "lr": 0.05}


class Pair(nn.Module):
    """An image and a vector in, one class out: whether both point the same way."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.hint = nn.Linear(3, 6)
        self.head = nn.Linear(14, 2)

    def forward(self, image: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.image(image).flatten(1), F.relu(self.hint(hint))], 1))


class Fork(nn.Module):
    """A class and two values out of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 10, 3, stride=2, padding=1), nn.ReLU()
        )
        self.kind, self.place = nn.Linear(160, 4), nn.Linear(160, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x).flatten(1)
        return self.kind(x), self.place(x)


def pair() -> tuple[Graph, Task]:
    torch.manual_seed(0)
    graph = import_module(Pair(), {"image": (1, 6, 6), "hint": (3,)}, "pair")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    image = rng.normal(size=(200, 1, 6, 6)) + labels[:, None, None, None]
    hint = rng.normal(size=(200, 3)) + labels[:, None]
    return graph, Task.of(from_object({"hint": hint, "image": image, "y": labels}, "pairs"))


def both(output: tuple[torch.Tensor, torch.Tensor], target: dict[str, torch.Tensor]) -> torch.Tensor:
    kind, place = output
    return F.cross_entropy(kind, target["kind"]) + F.mse_loss(place, target["place"])


def right(outputs: tuple[np.ndarray, np.ndarray], targets: dict[str, np.ndarray]) -> float:
    return float((outputs[0].argmax(1) == targets["kind"]).mean()) - float(
        ((outputs[1] - targets["place"]) ** 2).mean()
    )


def fork() -> tuple[Graph, Task]:
    torch.manual_seed(0)
    graph = import_module(Fork(), (2, 8, 8), "fork")

    def named(split: Split) -> Split:
        assert split.targets is not None
        place = np.stack([split.targets // 2, split.targets % 2], 1)
        return Split(split.inputs, {"kind": split.targets, "place": place.astype(np.float32)})

    data = blobs()
    return graph, Task(named(data.train), named(data.val), named(data.test), loss=both, metric=right)


@pytest.mark.parametrize("make", [pair, fork], ids=["two inputs", "two outputs"])
def test_a_whole_compression(make: Any) -> None:
    graph, task = make()
    full = Deployed(graph, find_groups(graph)).evaluate({})["weights_bytes"]
    recipe = parse_recipe(
        {
            "threads": 1,
            "train": SHORT,
            "teacher": {"kind": "dense", "train": SHORT},
            "distill": {"alpha": 0.5},
            "qat": {"epochs": 2, "batch": 16},
        }
    )
    result = compress(graph, task, Budget(weights_bytes=int(0.8 * full)), recipe)
    assert [s.name for s in result.stages] == ["teacher", "student", "qat"]
    assert result.graph.parameters < graph.parameters
    assert result.resources["weights_bytes"] <= 0.8 * full
    assert len(result.quantized.inputs) == len(graph.inputs)
    assert len(result.quantized.outputs) == len(graph.outputs)
    assert result.float_score > 0.5
    assert abs(result.score - result.float_score) < 0.3


def test_an_own_loop_prunes_several_inputs() -> None:
    graph, task = pair()
    full = Deployed(graph, find_groups(graph)).evaluate({})["weights_bytes"]
    pruner = Pruner(graph, Budget(weights_bytes=int(0.7 * full)), steps=20)
    optimizer = torch.optim.SGD(pruner.parameters(), lr=0.05)
    inputs = pruner.network.inputs(task.train.samples)
    assert isinstance(inputs, tuple)
    labels = torch.from_numpy(task.train.labels)
    for _ in range(20):
        loss = F.cross_entropy(pruner(*inputs), labels) + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()
        pruner.step()
        optimizer.step()
    pruner.shrink()
    assert pruner.graph().parameters < graph.parameters


def test_named_losses_and_augmentation_are_for_one_of_each() -> None:
    graph, task = fork()
    plain = Task(task.train, task.val, task.test, kind="regression", loss=both)
    with pytest.raises(ConfigError, match=r"TC-C312: .*'fork' has 1 inputs and 2 outputs"):
        compress(graph, plain)
    graph, task = pair()
    noisy = parse_recipe({"train": SHORT, "augment": {"noise": 0.1}})
    with pytest.raises(ConfigError, match="TC-C313"):
        compress(graph, task, None, noisy)


@pytest.mark.parametrize("names", [("image", "vector"), ("image",)])
def test_inputs_of_other_names_are_refused(names: tuple[str, ...]) -> None:
    graph, _ = pair()
    split = Split({name: np.zeros((9, 2)) for name in names}, np.zeros(9, int))
    with pytest.raises(ConfigError, match=rf"TC-C107: the samples are {', '.join(names)}; the model takes image, hint"):
        compress(graph, Task(split, split, split), None, parse_recipe({"train": SHORT}))


def test_image_targets_are_in_the_users_axis_order() -> None:
    """A network that doubles its input, 3 channels first: the loss against twice the input is 0 in that order only."""
    conv = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(2 * torch.eye(3)[:, :, None, None])
    graph = import_module(conv, (3, 5, 4), "double")
    images = np.random.default_rng(0).normal(size=(40, 3, 5, 4)).astype(np.float32)
    split = Split(images, 2 * images)
    task = Task(split, split, split, kind="regression")
    recipe = parse_recipe({"train": {"epochs": 0}, "prune": {"method": "none"}})
    result = compress(graph, task, None, recipe)
    assert result.float_score == pytest.approx(0, abs=1e-9)
    assert result.score == pytest.approx(0, abs=5e-3)
    objective = Objective(task, graph=graph)
    x = torch.from_numpy(images).permute(0, 2, 3, 1)
    assert float(objective(2 * x, x, torch.from_numpy(2 * images))) == pytest.approx(0, abs=1e-9)
