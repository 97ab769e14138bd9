"""What pruning does inside a training run: open gates, their importances, cuts at epoch ends, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinycompress.compress.costing import CostModel
from tinycompress.compress.groups import Groups
from tinycompress.compress.prune.criteria import Scores, score
from tinycompress.compress.prune.repair import Fitted, Widths, excess, strongest
from tinycompress.compress.recipe import PruneSettings
from tinycompress.compress.shrink import shrink
from tinycompress.compress.train import Trainer
from tinycompress.cost.scalar import Scalar
from tinycompress.execute.torch_module import take
from tinycompress.ir.graph import Graph
from tinycompress.units import format_resource, resource_name

TAYLOR_MEMORY = 0.98

MakeModel = Callable[[Graph, Groups], CostModel]
Fits = Callable[[Graph], bool]
"""Whether the planner's own plan of a network is inside every budget (the cost model is a lower bound)."""


def _always(graph: Graph) -> bool:
    return True


@dataclass
class PruneReport:
    """What pruning did: widths, how they were reached, and what looked wrong."""

    before: Widths = field(default_factory=dict)
    after: Widths = field(default_factory=dict)
    repaired: int = 0
    filled: int = 0
    use: dict[str, float] = field(default_factory=dict)
    """Share of each budget that the final widths use."""
    soft_use: dict[str, float] = field(default_factory=dict)
    """The same of the soft widths at the freeze (differentiable pruning)."""
    warnings: list[str] = field(default_factory=list)


@dataclass(eq=False)
class PruneHook:
    """What all methods share: phases, Taylor importances of gates, cuts, batch-norm recalibration, the report."""

    settings: PruneSettings
    budget: Mapping[str, float]
    make_model: MakeModel
    epochs: int
    seed: int
    fits: Fits = _always

    def __post_init__(self) -> None:
        settings, epochs = self.settings, self.epochs
        self.asked = self.budget
        self.budget = {n: limit * (1.0 - settings.safety) for n, limit in self.budget.items()}
        self.first_epoch = min(max(0, epochs - 1), round(settings.start * epochs))
        self.last_epoch = min(epochs, max(self.first_epoch + 1, round(settings.end * epochs)))
        self.report = PruneReport()
        self.is_done = False
        self.use: dict[str, float] = {}
        """RAM and the budgeted resources of the network at the last epoch end, soft while its widths are."""
        self.taylor: dict[str, Tensor] = {}
        self._gates: dict[str, Tensor] = {}

    # -- hook --------------------------------------------------------------------------------------------------------

    def before_step(self, trainer: Trainer, step: int) -> None:
        if self.is_done:
            return
        self._gates = self.gates(trainer, step)
        trainer.network.set_gates(self._gates)

    def gradients(self) -> list[Tensor]:
        return [] if self.is_done else list(self.gate_gradients().values())

    def after_backward(self, trainer: Trainer, step: int) -> None:
        if not self.is_done:
            self._remember(self.gate_gradients())

    def after_epoch(self, trainer: Trainer, epoch: int) -> None:
        raise NotImplementedError

    def gates(self, trainer: Trainer, step: int) -> dict[str, Tensor]:
        """Open gates, whose gradients are the Taylor importances."""
        device = trainer.device
        return {g.name: torch.ones(g.size, device=device, requires_grad=True) for g in trainer.network.groups.prunable}

    def gate_gradients(self) -> dict[str, Tensor]:
        return {g: gate.grad for g, gate in self._gates.items() if gate.grad is not None}

    def status(self) -> str:
        parts = []
        for name, used in self.use.items():
            limit = f" of {format_resource(name, self.asked[name])}" if name in self.asked else ""
            parts.append(f"{resource_name(name)} {format_resource(name, used)}{limit}")
        return f"; {', '.join(parts)}" if parts else ""

    def remember_use(self, resources: Mapping[str, Scalar]) -> None:
        """Keeps of all `resources` what progress shows."""
        self.use = {n: float(resources[n]) for n in dict.fromkeys(("ram_bytes", *self.asked))}

    def state(self) -> dict[str, Any]:
        return {
            "is_done": self.is_done,
            "use": self.use,
            "taylor": {g: t.clone() for g, t in self.taylor.items()},
            "report": asdict(self.report),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.is_done = bool(state["is_done"])
        self.use = dict(state["use"])
        self.taylor = dict(state["taylor"])
        self.report = PruneReport(**state["report"])

    # -- parts -------------------------------------------------------------------------------------------------------

    def minimum(self, groups: Groups) -> Widths:
        return {g.name: min(self.settings.min_channels, g.size) for g in groups.prunable}

    def _remember(self, gradients: Mapping[str, Tensor]) -> None:
        for group, gradient in gradients.items():
            square = gradient.detach() ** 2
            before = self.taylor.get(group)
            if before is None or len(before) != len(square):
                self.taylor[group] = square
            else:
                self.taylor[group] = TAYLOR_MEMORY * before + (1.0 - TAYLOR_MEMORY) * square

    def scores(self, trainer: Trainer, epoch: int, criterion: str) -> Scores:
        """Importance of every prunable channel of the present network."""
        groups = trainer.network.groups
        taylor = {
            g.name: self.taylor.get(g.name, torch.ones(g.size)).sqrt().cpu().double().numpy() for g in groups.prunable
        }
        rng = np.random.default_rng([self.seed, epoch])
        return score(criterion, trainer.network.graph(), groups, taylor, rng)

    def cut(self, trainer: Trainer, widths: Widths, scores: Scores) -> None:
        """Keeps the strongest channels of each group and cuts the rest, importances included."""
        keep = {g: strongest(scores[g], n) for g, n in widths.items()}
        sizes = {g.name: g.size for g in trainer.network.groups.prunable}
        if all(len(k) == sizes[g] for g, k in keep.items()):
            return
        self.taylor = {g: t[keep[g]] if g in keep and len(t) == sizes[g] else t for g, t in self.taylor.items()}
        trainer.cut(keep)

    def cut_graph(self, trainer: Trainer, widths: Widths, scores: Scores) -> Graph:
        """The graph that `cut` would leave."""
        keep = {g: strongest(scores[g], n) for g, n in widths.items()}
        return shrink(trainer.network.module.graph, keep, trainer.network.groups)

    def finish(self, trainer: Trainer, fitted: Fitted, scores: Scores) -> None:
        """The last cut: gates go, statistics are recomputed, the report is written."""
        self.report.before = self.report.before or trainer.network.groups.widths()
        self.cut(trainer, fitted.widths, scores)
        trainer.network.set_gates({})
        order = np.random.default_rng(self.seed).permutation(trainer.samples)
        count = self.settings.recalibration_batches * trainer.batch
        chosen = torch.from_numpy(order[:count]).to(trainer.device)
        trainer.network.recalibrate(take(trainer.inputs, chosen), self.settings.recalibration_batches, trainer.batch)
        model = self.make_model(trainer.network.module.graph, trainer.network.groups)
        self.report.after = dict(fitted.widths)
        self.report.repaired, self.report.filled = fitted.repaired, fitted.filled
        use = model.evaluate({})
        self.remember_use(use)
        self.report.use = {n: e + 1.0 for n, e in excess(use, self.budget).items()}
        self.is_done = True
