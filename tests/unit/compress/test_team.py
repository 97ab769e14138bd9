"""Two processes train one network: the same steps in both, and what one process alone computes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.compress.networks import Net, chain
from tests.unit.compress.test_training import blobs
from tinycompress.compress.network import Network, initialise
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.hooks import HOOKS
from tinycompress.compress.recipe import AugmentSettings, PruneSettings, TrainSettings, parse_recipe
from tinycompress.compress.run import compress
from tinycompress.compress.task import Budget
from tinycompress.compress.team import Team, join
from tinycompress.compress.train import Trainer, choose_device
from tinycompress.errors import ConfigError
from tinycompress.ir.graph import Graph
from tinycompress.ir.store import graph_sha256

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


def plain() -> Graph:
    """A network without batch norm, so that a batch's parts give exactly the whole batch's gradient."""
    net = Net((8, 8, 2))
    x = net.relu(net.conv("x", 6, bias=True))
    return initialise(net.graph(net.fc(net.flatten(net.relu(net.conv(x, 6, stride=2, bias=True))), 4)), 0)


def whole_training() -> Graph:
    """Batches of 15, which two processes share as 8 and 7."""
    settings = TrainSettings(epochs=2, batch=15, lr=0.02)
    return Trainer(plain(), blobs(), settings, CPU, team=join()).run()


def pruned_steps(method: str) -> list[str]:
    """The network before each step of a training that prunes it, with batch norm and augmentation."""
    graph = initialise(chain((6, 8, 6)), 0)
    size = PaperModel(graph, Network(graph, CPU).groups).evaluate({})["flash_bytes"]
    kind = HOOKS[method]
    steps: list[str] = []

    class Watched(kind):  # type: ignore[misc, valid-type]
        def before_step(self, trainer: Trainer, step: int) -> None:
            steps.append(graph_sha256(trainer.network.graph())[:16])
            super().before_step(trainer, step)

    hook = Watched(PruneSettings(method=method), {"flash_bytes": 0.5 * size}, PaperModel, 5, 0)
    settings = TrainSettings(epochs=5, batch=16, lr=0.05)
    noisy = AugmentSettings(flip=True, noise=0.1)
    trainer = Trainer(graph, blobs(), settings, CPU, augment=noisy, hook=hook, team=join())
    last = graph_sha256(trainer.run())[:16]
    return [*steps, last]


def whole_compression(folder: Path) -> dict[str, Any]:
    short = {"epochs": 4, "batch": 16, "lr": 0.05}
    recipe = parse_recipe(
        {
            "threads": 1,
            "initial": "random",
            "train": short,
            "teacher": {"kind": "pruned", "rounds": 1, "train": short},
            "qat": {"epochs": 2, "batch": 16},
        }
    )
    spoken: list[str] = []

    def progress(stage: str, text: str, fraction: float | None = None) -> None:
        spoken.append(stage)

    mine = folder / str(join().rank)
    result = compress(chain(), blobs(), Budget(weights_bytes=1200), recipe, directory=mine, progress=progress)
    return {"sha256": result.sha256, "score": result.score, "spoken": spoken, "wrote": mine.exists()}


def member(folder: str) -> None:
    """One process: everything above, as JSON."""
    torch.set_num_threads(1)
    trained = whole_training()
    weights = {n: t.constant.tolist() for n, t in trained.tensors.items() if t.is_constant}
    steps = {method: pruned_steps(method) for method in ("differentiable", "dsa", "taylor", "slimming")}
    print(json.dumps({"weights": weights, "steps": steps, "compression": whole_compression(Path(folder))}))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes, set up as torchrun does, says at its end."""
    folder = tmp_path_factory.mktemp("team")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}  # fmt: skip
    script = f"from tests.unit.compress.test_team import member; member({str(folder)!r})"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs[0][1] + outputs[1][1]
    return [json.loads(out) for out, _ in outputs]


def test_shares_give_the_gradient_of_the_whole_batch(members: list[dict[str, Any]]) -> None:
    alone = whole_training()
    for name, values in members[0]["weights"].items():
        np.testing.assert_allclose(alone.tensors[name].constant, np.asarray(values), atol=2e-5)


@pytest.mark.parametrize("method", ["differentiable", "dsa", "taylor", "slimming"])
def test_every_step_and_cut_is_the_same_in_both(members: list[dict[str, Any]], method: str) -> None:
    first, second = (m["steps"][method] for m in members)
    assert first == second
    assert len(set(first)) > 20


def test_a_compression_has_one_result_and_one_voice(members: list[dict[str, Any]]) -> None:
    first, second = (m["compression"] for m in members)
    assert first["sha256"] == second["sha256"]
    assert first["score"] > 0.5
    assert (first["wrote"], second["wrote"]) == (True, False)
    assert {"teacher", "teacher-1", "student", "qat"} == set(first["spoken"])
    assert second["spoken"] == []


def test_shares_cover_a_batch_and_a_batch_too_small_is_refused() -> None:
    batch = torch.arange(8)
    parts = [Team(rank, 3).share(batch).tolist() for rank in range(3)]
    assert parts == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert Team().share(batch) is batch
    with pytest.raises(ConfigError, match="TC-C316: a batch of 8 cannot be shared by 9 processes"):
        Team(0, 9).share(batch)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(ConfigError, match="TC-C314"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda")
    with pytest.raises(ConfigError, match="TC-C317: process 1 of this machine has no GPU of its own, there are 1"):
        choose_device("auto", Team(1, 2))
