from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.compress.networks import chain, resnet
from tinycompress.compress.augment import augment
from tinycompress.compress.network import Network, initialise
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.hooks import HOOKS
from tinycompress.compress.recipe import AugmentSettings, PruneSettings, TrainSettings
from tinycompress.compress.task import Task
from tinycompress.compress.train import Trainer, learning_rate
from tinycompress.data import Split
from tinycompress.errors import QualityError
from tinycompress.ir.store import graph_sha256, load

CPU = torch.device("cpu")


def blobs(classes: int = 4, count: int = 96, size: int = 8, channels: int = 2, seed: int = 0) -> Task:
    """Images whose class is where a bright square stands: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.normal(0, 0.3, (count, size, size, channels)).astype(np.float32)
    half = size // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label) % 4, 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 1.0
    parts = [
        Split(images[a:b], labels[a:b]) for a, b in ((0, count - 32), (count - 32, count - 16), (count - 16, count))
    ]
    return Task(*parts, name="blobs")


def trainer(epochs: int = 4, **options: object) -> Trainer:
    graph = initialise(chain(), 0)
    settings = TrainSettings(epochs=epochs, batch=16, lr=0.05)
    return Trainer(graph, blobs(), settings, CPU, **options)  # type: ignore[arg-type]


def test_training_learns_and_repeats() -> None:
    first, second = trainer(8), trainer(8)
    a, b = first.run(), second.run()
    assert graph_sha256(a) == graph_sha256(b)
    assert first.history[-1].loss < 0.5 * first.history[0].loss
    assert first.scores(first.task.train) > 0.9


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_after_two(stage: str, text: str, fraction: float | None = None) -> None:
        if text.startswith("epoch 3"):
            raise Stop

    straight = trainer().run()
    with pytest.raises(Stop):
        trainer(checkpoint=tmp_path / "c", progress=stop_after_two).run()
    resumed = trainer(checkpoint=tmp_path / "c")
    assert graph_sha256(resumed.run()) == graph_sha256(straight)
    assert [line.epoch for line in resumed.history] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "settings",
    [
        PruneSettings(method="differentiable"),
        PruneSettings(method="differentiable", importance="l1"),
        PruneSettings(method="dsa"),
        PruneSettings(method="taylor"),
    ],
    ids=["differentiable", "differentiable-l1", "dsa", "taylor"],
)
def test_pruning_resumes_exactly(settings: PruneSettings, tmp_path: Path) -> None:
    graph = initialise(chain((6, 8, 6)), 0)
    size = PaperModel(graph, Network(graph, CPU).groups).evaluate({})["flash_bytes"]

    def run(checkpoint: Path | None, stop: int | None) -> Trainer:
        hook = HOOKS[settings.method](settings, {"flash_bytes": 0.5 * size}, PaperModel, 6, 0)

        def progress(stage: str, text: str, fraction: float | None = None) -> None:
            if stop is not None and text.startswith(f"epoch {stop}/"):
                raise KeyboardInterrupt

        epochs = TrainSettings(epochs=6, batch=16, lr=0.05)
        made = Trainer(graph, blobs(), epochs, CPU, hook=hook, checkpoint=checkpoint, progress=progress)
        made.run()
        return made

    straight = run(None, None)
    for stop in (2, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "c", stop)
    resumed = run(tmp_path / "c", None)
    assert graph_sha256(resumed.network.graph()) == graph_sha256(straight.network.graph())
    assert vars(resumed.hook.report) == vars(straight.hook.report)  # type: ignore[union-attr]


def test_a_run_survives_being_killed(tmp_path: Path) -> None:
    """SIGKILL at five moments; the finished artifact is that of an undisturbed run."""
    script = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        "from tests.unit.compress.test_training import trainer\n"
        "from tinycompress.ir.store import graph_sha256\n"
        "print(graph_sha256(trainer(30, checkpoint=Path(sys.argv[1])).run()))\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(folder)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=root)

    undisturbed, _ = start(tmp_path / "a").communicate(timeout=600)
    waits = np.random.default_rng(0).uniform(0.0, 0.4, 5)
    for wait in waits:
        process = start(tmp_path / "b")
        deadline = time.monotonic() + 300
        while not (tmp_path / "b").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(float(wait))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished, _ = start(tmp_path / "b").communicate(timeout=600)
    assert finished.strip() == undisturbed.strip()
    assert len(finished.strip()) == 64


def test_a_diverging_run_stops_and_says_where(tmp_path: Path) -> None:
    """The loss is NaN from step 9 on, in the third of epochs of 4 steps: the state after the second is kept."""
    calls = itertools.count()

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        value = torch.nn.functional.cross_entropy(output, target)
        return value * float("nan") if next(calls) == 9 else value

    def start(epochs: int, task: Task) -> Trainer:
        settings = TrainSettings(epochs=epochs, batch=16, schedule="constant", lr=0.05)
        return Trainer(initialise(chain(), 0), task, settings, CPU, checkpoint=tmp_path / "c")

    with pytest.raises(QualityError, match=r"TC-Q102: the loss became nan at step 9 \(epoch 3\)"):
        start(3, replace(blobs(), loss=loss)).run()
    kept = start(2, blobs())
    kept.checkpoint = tmp_path / "other"
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["epoch-000001"]
    assert graph_sha256(load(tmp_path / "c" / "epoch-000001" / "graph")) == graph_sha256(kept.run())


def test_cutting_in_mid_training_keeps_the_function_and_the_momentum() -> None:
    made = trainer(2)
    made.run()
    groups = made.network.groups
    keep = {g.name: list(range(0, g.size, 2)) for g in groups.prunable}
    gates = {g.name: torch.tensor([1.0 - i % 2 for i in range(g.size)]) for g in groups.prunable}
    inputs = made.inputs[:7]
    before = {(op, name): made.optimizer.state[p]["momentum_buffer"] for op, name, p in made.network.parameters()}
    made.network.set_gates(gates)
    masked = made.network.outputs(inputs)
    made.network.set_gates({})
    made.cut(keep)
    torch.testing.assert_close(made.network.outputs(inputs), masked, atol=1e-6, rtol=1e-5)
    first = next(op for op, name, _ in made.network.parameters() if name == "weights")
    after = made.optimizer.state[made.network.module.parameter(first)]["momentum_buffer"]
    torch.testing.assert_close(after, before[first, "weights"][keep[first]])


@pytest.mark.parametrize("graph", [resnet(), chain()], ids=["resnet", "chain"])
def test_gates_are_what_cutting_does(graph: object) -> None:
    network = Network(graph, CPU)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    keep = {g.name: sorted(rng.permutation(g.size)[: max(1, g.size // 2)].tolist()) for g in network.groups.prunable}
    gates = {
        g.name: torch.zeros(g.size).index_fill(0, torch.tensor(keep[g.name]), 1.0) for g in network.groups.prunable
    }
    inputs = torch.randn(5, *network.module.graph.tensors["x"].shape)
    network.set_gates(gates)
    masked = network.outputs(inputs)
    smaller, _ = network.smaller(keep, None)
    torch.testing.assert_close(smaller.outputs(inputs), masked, atol=1e-5, rtol=1e-4)


def test_slimming_adds_the_sign_of_the_scale() -> None:
    """γ = 0.3 with no other gradient, rate 1, λ 0.1 → 0.2."""
    hook = HOOKS["slimming"](PruneSettings(method="slimming", slimming=0.1), {"flash_bytes": 1.0}, PaperModel, 4, 0)
    made = trainer(hook=hook)
    gamma = made.network.module.parameter("bn1", "gamma")
    with torch.no_grad():
        gamma.fill_(0.3)
    gamma.grad = torch.zeros_like(gamma)
    hook.after_backward(made, 0)
    torch.testing.assert_close((gamma - 1.0 * gamma.grad).detach(), torch.full_like(gamma, 0.2))


def test_learning_rates_warm_up_and_fall() -> None:
    cosine = TrainSettings(epochs=10, lr=1.0, warmup_epochs=1)
    assert learning_rate(cosine, 0, 10) == pytest.approx(0.1)
    assert learning_rate(cosine, 50, 10) == pytest.approx(0.5)
    stepped = TrainSettings(epochs=10, lr=1.0, schedule="step", warmup_epochs=0)
    assert [round(learning_rate(stepped, s, 10), 4) for s in (0, 50, 75)] == [1.0, 0.1, 0.01]


def test_augmentation_is_repeatable_and_keeps_the_shape() -> None:
    images = torch.rand(6, 12, 10, 3)
    settings = AugmentSettings(flip=True, shift=2, rotate=10, scale=0.1, elastic=1.0, noise=0.01)
    a, b = (augment(images, settings, torch.Generator().manual_seed(5)) for _ in range(2))
    assert a.shape == images.shape
    torch.testing.assert_close(a, b)
    shifted = augment(images, AugmentSettings(shift=1), torch.Generator().manual_seed(5))
    assert set(shifted.unique().tolist()) <= {0.0, *images.unique().tolist()}
