"""Training of one graph, epoch by epoch: seeds, schedules, checkpoints by rename, exact resume, pruning hooks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tinycompress.compress.augment import augment
from tinycompress.compress.checkpoint import Checkpoint, State
from tinycompress.compress.distill.losses import Distillation, cross_entropy, matched_smoothing, mean_squared_error
from tinycompress.compress.distill.rewinding import close
from tinycompress.compress.network import Network, source_outputs
from tinycompress.compress.recipe import AugmentSettings, DistillSettings, TrainSettings
from tinycompress.compress.shrink import Keep
from tinycompress.compress.task import Task, Values, calling
from tinycompress.compress.team import ALONE, Team, local_device
from tinycompress.data import Split
from tinycompress.data.dataset import Array
from tinycompress.errors import ConfigError, QualityError
from tinycompress.execute.torch_module import Batch, parts, take
from tinycompress.ir.graph import Graph

Progress = Callable[[str, str, float | None], None]
"""(stage, text, fraction of the stage or None)."""


def silent(stage: str, text: str, fraction: float | None = None) -> None:
    """Progress that goes nowhere."""


class Hook(Protocol):
    """What may happen inside a training run: gates before a step, bookkeeping after it, cuts at epoch ends."""

    def before_step(self, trainer: Trainer, step: int) -> None: ...

    def gradients(self) -> list[Tensor]:
        """Gradients besides the parameters' that `after_backward` reads; a team averages them in place."""

    def after_backward(self, trainer: Trainer, step: int) -> None: ...

    def after_epoch(self, trainer: Trainer, epoch: int) -> None: ...

    def status(self) -> str:
        """What progress adds to its line; empty or starting with a semicolon."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class Objective:
    """The loss of a batch: the task's, smoothed or distilled from a frozen teacher that sees the same inputs."""

    task: Task
    teacher: Network | None = None
    distill: DistillSettings = field(default_factory=DistillSettings)
    smoothing: float = 0.0
    graph: Graph | None = None
    """The network whose outputs are judged, when targets have the axis order of the user's own model."""

    def __post_init__(self) -> None:
        patient = self.distill.recipe == "patient"
        self._mix = Distillation(1.0, 1.0) if patient else Distillation(self.distill.alpha, self.distill.temperature)

    def __call__(self, output: Batch, inputs: Batch, targets: Batch) -> Tensor:
        loss = self._task_loss(output, inputs if self.task.kind == "autoencoder" else targets)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            self.teacher.module.eval()
            soft = parts(self.teacher.run(inputs))
        are_logits = self.task.kind == "classification"
        mixed = [self._mix(o, s, loss, are_logits=are_logits) for o, s in zip(parts(output), soft, strict=True)]
        return mixed[0] if len(mixed) == 1 else torch.stack(mixed).mean()

    def _task_loss(self, output: Batch, target: Batch) -> Tensor:
        chosen = self.task.loss_name
        if self.graph is not None and self.task.kind != "autoencoder":
            output = source_outputs(output, self.graph)
        if callable(chosen):
            with calling("loss", chosen):
                value = torch.as_tensor(chosen(output, target))
                if value.numel() != 1 or not value.requires_grad:
                    raise ValueError(f"it gave {list(value.shape)} values or none that depends on the output")
            return value.reshape(())
        assert isinstance(output, Tensor)
        assert isinstance(target, Tensor)
        if chosen == "cross_entropy":
            return cross_entropy(output, target, self.smoothing)
        return mean_squared_error(output, target)


def resolve_smoothing(settings: TrainSettings, teacher: Network | None, inputs: Batch) -> float:
    """ε of label smoothing; ``matched`` takes the teacher's mean confidence over the first inputs."""
    if settings.label_smoothing != "matched":
        return float(settings.label_smoothing)
    if teacher is None:
        return 0.0
    confident = teacher.outputs(take(inputs, slice(2048)))
    return matched_smoothing(confident) if isinstance(confident, Tensor) else 0.0


@dataclass
class Epoch:
    """One line of a training curve. `score` is the task's metric on the validation split."""

    epoch: int
    loss: float
    score: float
    lr: float
    seconds: float
    parameters: int


@dataclass
class Trainer:
    """Trains `graph` on `task`. Everything random derives from (seed, epoch), so a run resumed at an epoch is the run.

    In a team every process trains on its share of each batch; gradients, batch-norm statistics (each share has its own)
    and losses are averaged every step, cuts are decided by the first process, and at epoch ends the others take over
    its state.

    Raises QualityError TC-Q102 at the first non-finite loss, naming the step; the last checkpoint stays. ConfigError
    TC-C352 when there are no weights.
    """

    graph: Graph
    task: Task
    settings: TrainSettings
    device: torch.device
    seed: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    objective: Objective | None = None
    hook: Hook | None = None
    checkpoint: Path | None = None
    stage: str = "train"
    progress: Progress = silent
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """Masks of single weights by operator; the trained graph holds zeros where they are closed."""
    team: Team = ALONE

    def __post_init__(self) -> None:
        self.network = Network(self.graph, self.device)
        if not any(True for _ in self.network.parameters()):
            raise ConfigError(
                "TC-C352", f"{self.graph.name!r} has no weights to train", where=self.graph.name,
                fix="deploy it as it is: `tinycompress deploy`, without [compress]",
            )  # fmt: skip
        self.inputs = self.network.inputs(self.task.train.samples)
        if isinstance(self.inputs, tuple) and any(self.augment.model_dump().values()):
            raise ConfigError(
                "TC-C313", "augmentation changes the images of one input, this network has several",
                where="compress.augment", fix="leave it out, and augment the data yourself",
            )  # fmt: skip
        self.targets = training_targets(self.task, self.device)
        self.samples = len(self.task.train)
        self.batch = min(self.settings.batch, self.samples)
        self.steps_per_epoch = self.samples // self.batch
        self.total_steps = self.settings.epochs * self.steps_per_epoch
        self.history: list[Epoch] = []
        self.optimizer = self._optimizer({})
        self.loss = self.objective or Objective(self.task, graph=self.graph)

    def run(self) -> Graph:
        """Trains to the end (from the checkpoint when there is one) and returns the graph with its weights."""
        checkpoint = Checkpoint(self.checkpoint, self.team, self.device)
        checkpoint.resume(self)
        for epoch in range(len(self.history), self.settings.epochs):
            started = time.perf_counter()
            loss = self._epoch(epoch)
            if self.team.leads:
                self._end(epoch, loss, started)
            checkpoint.keep(self, epoch)
        close(self.network, self.masks)
        return self.network.graph()

    def _end(self, epoch: int, loss: float, started: float) -> None:
        """Cuts, evaluates and reports after an epoch."""
        if self.hook is not None:
            self.hook.after_epoch(self, epoch)
        score = self.scores(self.task.val)
        size = sum(p.numel() for _, _, p in self.network.parameters())
        line = Epoch(epoch, loss, score, self._rate(), time.perf_counter() - started, size)
        self.history.append(line)
        text = f"epoch {epoch + 1}/{self.settings.epochs}, loss {loss:.4f}, {self.task.metric_name} {score:.4f}"
        text += "" if self.hook is None else self.hook.status()
        self.progress(self.stage, text, (epoch + 1) / self.settings.epochs)

    def scores(self, split: Split) -> float:
        """The task's metric of the present network, gates and masks applied."""
        return float_score(self.network, self.task, split)

    def _epoch(self, epoch: int) -> float:
        seed, rank = _mixed(self.seed, epoch), self.team.rank
        generator = torch.Generator(self.device).manual_seed(seed)
        torch.manual_seed(seed + 1 + rank)
        order = torch.randperm(self.samples, generator=generator, device=self.device)
        if rank:
            generator.manual_seed(seed + 1 + rank)
        self.network.module.train()
        total = 0.0
        for index in range(self.steps_per_epoch):
            batch = order[index * self.batch : (index + 1) * self.batch]
            chosen = self.team.share(batch)
            inputs = take(self.inputs, chosen)
            if isinstance(inputs, Tensor):
                inputs = augment(inputs, self.augment, generator)
            step = epoch * self.steps_per_epoch + index
            total += self._step(step, inputs, take(self.targets, chosen), len(chosen) / len(batch))
        return total / max(1, self.steps_per_epoch)

    def _step(self, step: int, inputs: Batch, targets: Batch, share: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, step, self.steps_per_epoch)
        if self.masks:
            self.network.set_masks(self.masks)
        if self.hook is not None:
            self.hook.before_step(self, step)
        loss = self.loss(self.network.run(inputs), inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        if self.team.size > 1:
            self.team.average([loss, *self._shared()], share)
        value = float(loss)
        if not math.isfinite(value):
            raise QualityError(
                "TC-Q102",
                f"the loss became {value} at step {step} (epoch {step // self.steps_per_epoch + 1})",
                where=self.stage,
                fix=f"lower the learning rate (now {self._rate():.3g}); the last good checkpoint is kept",
            )
        if self.hook is not None:
            self.hook.after_backward(self, step)
        self.optimizer.step()
        return value

    def _shared(self) -> list[Tensor]:
        """What a team averages after each backward pass: gradients and running statistics."""
        gradients = [p.grad for _, _, p in self.network.parameters() if p.grad is not None]
        gates = [] if self.hook is None else self.hook.gradients()
        return [*gradients, *gates, *self.network.module.layers.buffers()]

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    # -- optimiser and physical cuts ---------------------------------------------------------------------------------

    def _optimizer(self, states: Mapping[str, Mapping[str, Tensor]]) -> torch.optim.Optimizer:
        """Weight decay acts on weights only. `states` are restored by ``op.field``."""
        named = list(self.network.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for _, n, p in named if n == "weights"], "weight_decay": self.settings.weight_decay},
            {"params": [p for _, n, p in named if n != "weights"], "weight_decay": 0.0},
        ]
        groups = [g for g in groups if g["params"]]
        optimizer: torch.optim.Optimizer
        if self.settings.optimizer == "adam":
            optimizer = torch.optim.AdamW(groups, lr=self.settings.lr)
        else:
            momentum = self.settings.momentum
            optimizer = torch.optim.SGD(groups, lr=self.settings.lr, momentum=momentum, nesterov=momentum > 0)
        for op, name, parameter in self.network.parameters():
            if f"{op}.{name}" in states:
                optimizer.state[parameter] = dict(states[f"{op}.{name}"])
        return optimizer

    def cut(self, keep: Keep) -> None:
        """Replaces the network by a physically smaller one in the middle of training; optimiser state is cut alike."""
        self.network, states = self.network.smaller(keep, self.optimizer)
        self.optimizer = self._optimizer(states)

    # -- state -------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Everything that the next epoch depends on."""
        states = {f"{op}.{name}": dict(self.optimizer.state[p]) for op, name, p in self.network.parameters()
                  if p in self.optimizer.state}  # fmt: skip
        return {
            "graph": self.network.graph(),
            "optimizer": states,
            "hook": {} if self.hook is None else self.hook.state(),
            "history": [vars(line) for line in self.history],
        }

    def load_state(self, state: State) -> None:
        """Goes on from `state`."""
        self.network = Network(state["graph"], self.device)
        self.optimizer = self._optimizer(state["optimizer"])
        self.history = [Epoch(**line) for line in state["history"]]
        if self.hook is not None:
            self.hook.load_state(state["hook"])


def training_targets(task: Task, device: torch.device) -> Batch:
    """Targets of the training split: int64 classes, float32 values, zeros where there are none; several by name."""

    def tensor(values: Array) -> Tensor:
        return torch.from_numpy(values.astype(np.int64 if values.dtype.kind in "iu" else np.float32)).to(device)

    wanted = task.train.wanted
    if isinstance(wanted, Mapping):
        return {name: tensor(values) for name, values in wanted.items()}
    return torch.zeros(len(task.train), device=device) if wanted is None else tensor(wanted)


def float_score(network: Network, task: Task, split: Split) -> float:
    """The task's metric of a float network on `split`."""
    inputs = network.inputs(split.samples)
    outputs = network.outputs(inputs)
    if task.kind != "autoencoder":
        outputs = source_outputs(outputs, network.module.graph)
    return task.score(_values(outputs), split, _values(inputs))


def _values(batch: Batch) -> Values:
    found = tuple(part.cpu().numpy() for part in parts(batch))
    return found[0] if len(found) == 1 else found


def _mixed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch * 7919 + 17) % (2**31)


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The rate at a step: linear warm-up, then cosine to 0, steps at the milestones, or constant."""
    total = max(1, settings.epochs * steps_per_epoch)
    warm = min(1.0, (step + 1) / max(1.0, settings.warmup_epochs * steps_per_epoch))
    if settings.schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * step / total))
    elif settings.schedule == "step":
        factor = settings.decay ** sum(step >= m * total for m in settings.milestones)
    else:
        factor = 1.0
    return settings.lr * warm * factor


def choose_device(name: str, team: Team = ALONE) -> torch.device:
    """``auto`` is CUDA when there is one, else the CPU; each process of a team has its own GPU.

    ConfigError TC-C314 for ``cuda`` where there is none, TC-C317 when there are fewer GPUs than processes.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "TC-C314", "torch finds no CUDA device here", where="compress.device", fix='use device = "auto" or "cpu"'
        )
    if team.size == 1:
        return torch.device("cuda")
    torch.cuda.set_device(local_device())
    return torch.device("cuda", local_device())
