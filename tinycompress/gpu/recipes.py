"""Ways to a 2:4 network: one-shot magnitude and retraining, SR-STE, ExactOBS without retraining (METHODS B5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tinycompress.compress.network import Network
from tinycompress.compress.recipe import AugmentSettings, TrainSettings
from tinycompress.compress.task import Task
from tinycompress.compress.train import Progress, Trainer, silent
from tinycompress.gpu import masks as mk
from tinycompress.gpu.exact_obs import prune_graph
from tinycompress.gpu.permute import find_permutations, permute
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import real_inputs
from tinycompress.ir.tensor import Array

Recipe = Literal["dense", "magnitude", "one-shot", "sr-ste", "exact-obs"]
RECIPES: tuple[Recipe, ...] = ("dense", "magnitude", "one-shot", "sr-ste", "exact-obs")
"""dense: the control, trained on like the others without a mask; magnitude: the mask alone, no training."""
TRAINED: tuple[Recipe, ...] = ("dense", "one-shot", "sr-ste")
"""Recipes that train, and so need a TrainingPlan."""

SR_STE_DECAY = 2e-4
"""λ of the pull that SR-STE gives weights outside the mask."""
CALIBRATION_SAMPLES = 512
RECALIBRATION_BATCHES, RECALIBRATION_BATCH = 40, 64


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how a recipe may train, on what, and from which seed."""

    task: Task
    settings: TrainSettings
    seed: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def sparsify(
    graph: Graph,
    recipe: Recipe,
    plan: TrainingPlan | None,
    *,
    calibration: Array | None = None,
    is_permuted: bool = False,
    progress: Progress = silent,
) -> Graph:
    """`graph` (float, batch norms and all) with 2:4 weights in every eligible layer, by one of RECIPES.

    `plan` is needed by TRAINED; the result of dense keeps its weights dense. exact-obs takes its samples from the plan,
    else from `calibration`, real-valued `(n, *shape)`. With `is_permuted` channels are reordered first. Deterministic
    for a seed and a number of threads.
    """
    if is_permuted:
        graph = permute(graph, find_permutations(graph)[0])
    if recipe == "magnitude":
        return mk.apply_masks(graph, mk.magnitude_masks(graph))
    if recipe == "exact-obs":
        return _exact_obs(graph, plan, calibration)
    if plan is None:
        raise ValueError(f"recipe {recipe!r} needs training data")
    trainer = Trainer(
        graph, plan.task, plan.settings, plan.device, plan.seed, plan.augment, stage=recipe, progress=progress
    )
    if recipe == "one-shot":
        trainer.masks = torch_masks(graph, plan.device)
    elif recipe == "sr-ste":
        trainer.hook = SparseRefinedHook(graph)
    trained = trainer.run()
    return mk.apply_masks(trained, mk.magnitude_masks(trained)) if recipe == "sr-ste" else trained


def _exact_obs(graph: Graph, plan: TrainingPlan | None, calibration: Array | None) -> Graph:
    if plan is None:
        if calibration is None:
            raise ValueError("recipe 'exact-obs' needs samples")
        chosen, every, size = calibration, calibration, RECALIBRATION_BATCH
        device = torch.device("cpu")
    else:
        inputs, device, size = plan.task.train.inputs, plan.device, plan.settings.batch
        some, order = (np.random.default_rng(plan.seed + i).permutation(len(plan.task.train)) for i in range(2))
        chosen = real_inputs(inputs[np.sort(some[:CALIBRATION_SAMPLES])], graph)
        every = real_inputs(inputs[order], graph)
    pruned, _ = prune_graph(graph, chosen)
    network = Network(pruned, device)
    network.recalibrate(torch.from_numpy(every).to(device), RECALIBRATION_BATCHES, min(size, len(every)))
    return network.graph()


def torch_masks(graph: Graph, device: torch.device) -> dict[str, Tensor]:
    """Magnitude masks in the module's layout, for `Trainer.masks`."""
    kinds = {op.name: type(op) for op in graph.ops}
    found = {}
    for name, mask in mk.magnitude_masks(graph).items():
        moved = mask.transpose(0, 3, 1, 2) if kinds[name] is o.Conv2D else mask
        found[name] = torch.from_numpy(np.ascontiguousarray(moved)).to(device, torch.float32)
    return found


def two_of_four(weights: Tensor) -> Tensor:
    """The 0/1 magnitude mask of weights `(o, c, kh, kw)` or `(out, in)`, groups along c; earlier wins ties."""
    last = weights.detach().movedim(1, -1)
    groups = last.abs().reshape(*last.shape[:-1], -1, mk.GROUP)
    order = groups.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(groups).scatter(-1, order[..., : mk.KEPT], 1.0)
    return mask.reshape(last.shape).movedim(-1, 1)


class SparseRefined(torch.autograd.Function):
    """w ⊙ mask forward; backward the whole gradient, and a decay of the weights outside the mask."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, mask: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weights, mask)
        ctx.decay = decay
        return weights * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, mask = ctx.saved_tensors
        return gradients[0] + ctx.decay * (1 - mask) * weights, None, None


class SparseRefinedHook:
    """SR-STE inside a training run: every forward pass sees the present weights through a fresh 2:4 mask."""

    def __init__(self, graph: Graph, decay: float = SR_STE_DECAY) -> None:
        self.layers = {layer.name for layer in mk.find_layers(graph) if layer.is_eligible}
        self.decay = decay

    def constant(self, op: o.Op, field: str, value: Tensor) -> Tensor:
        """The weights that a layer multiplies with; stands in for a quantizer of the module."""
        if field != "weights" or op.name not in self.layers:
            return value
        masked: Tensor = SparseRefined.apply(value, two_of_four(value), self.decay)  # type: ignore[no-untyped-call]
        return masked

    def activation(self, name: str, value: Tensor) -> Tensor:
        return value

    def before_step(self, trainer: Trainer, step: int) -> None:
        trainer.network.module.quant = self

    def gradients(self) -> list[Tensor]:
        return []

    def after_backward(self, trainer: Trainer, step: int) -> None:
        """Nothing: the decay is in the gradient already."""

    def after_epoch(self, trainer: Trainer, epoch: int) -> None:
        """Nothing to keep up."""

    def status(self) -> str:
        return ""

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered: masks follow from the weights."""
