"""Pruning while training: gates before each step, importances after it, physical cuts at epoch ends."""

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
from tinycompress.compress.prune.repair import Fitted, Widths, excess, fit, strongest
from tinycompress.compress.prune.soft import LOW, PUBLISHED, SoftSettings, SoftWidths, failures
from tinycompress.compress.recipe import PruneSettings
from tinycompress.compress.shrink import shrink
from tinycompress.compress.train import Trainer
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph

TAYLOR_MEMORY = 0.98
TIGHTENING = 0.98
"""Factor on the budgets given to the cost model while the planner's exact plan is still over."""
REFRESH_STEPS = 20
"""Steps between two computations of importances that come from weights."""

MakeModel = Callable[[Graph, Groups], CostModel]
Fits = Callable[[Graph], bool]
"""Whether the planner's own plan of a network is inside every budget (the cost model is a lower bound)."""


def _always(graph: Graph) -> bool:
    return True


def fit_to_plan(
    choose: Callable[[Mapping[str, float]], Fitted],
    fits: Callable[[Widths], bool],
    budget: Mapping[str, float],
) -> Fitted:
    """What `choose` makes of the budget, tightened step by step until the plan of the result is inside the real one.

    Raises BudgetError TC-B201 from `choose` when tightening reaches the least widths.
    """
    limits = dict(budget)
    while True:
        fitted = choose(limits)
        if fits(fitted.widths):
            return fitted
        limits = {n: limit * TIGHTENING for n, limit in limits.items()}


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


class PruneHook:
    """What all methods share: phases, Taylor importances of gates, cuts, batch-norm recalibration, the report."""

    def __init__(
        self,
        settings: PruneSettings,
        budget: Mapping[str, float],
        make_model: MakeModel,
        epochs: int,
        seed: int,
        fits: Fits = _always,
    ) -> None:
        self.settings = settings
        self.budget = {n: limit * (1.0 - settings.safety) for n, limit in budget.items()}
        self.fits = fits
        self.make_model = make_model
        self.seed = seed
        self.first_epoch = min(max(0, epochs - 1), round(settings.start * epochs))
        self.last_epoch = min(epochs, max(self.first_epoch + 1, round(settings.end * epochs)))
        self.report = PruneReport()
        self.is_done = False
        self.taylor: dict[str, Tensor] = {}
        self._gates: dict[str, Tensor] = {}

    # -- hook --------------------------------------------------------------------------------------------------------

    def before_step(self, trainer: Trainer, step: int) -> None:
        if self.is_done:
            return
        self._gates = self.gates(trainer, step)
        trainer.network.set_gates(self._gates)

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
        if self.is_done:
            return " " + " ".join(f"{n} {u:.1%} of budget" for n, u in self.report.use.items())
        return ""

    def state(self) -> dict[str, Any]:
        return {
            "is_done": self.is_done,
            "taylor": {g: t.clone() for g, t in self.taylor.items()},
            "report": asdict(self.report),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.is_done = bool(state["is_done"])
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
        order = np.random.default_rng(self.seed).permutation(len(trainer.inputs))
        count = self.settings.recalibration_batches * trainer.batch
        chosen = torch.from_numpy(order[:count]).to(trainer.device)
        trainer.network.recalibrate(trainer.inputs[chosen], self.settings.recalibration_batches, trainer.batch)
        model = self.make_model(trainer.network.module.graph, trainer.network.groups)
        self.report.after = dict(fitted.widths)
        self.report.repaired, self.report.filled = fitted.repaired, fitted.filled
        self.report.use = {n: e + 1.0 for n, e in excess(model.evaluate({}), self.budget).items()}
        self.is_done = True


class SoftHook(PruneHook):
    """Differentiable widths (methods ``differentiable`` and ``dsa``)."""

    def __init__(
        self,
        settings: PruneSettings,
        budget: Mapping[str, float],
        make_model: MakeModel,
        epochs: int,
        seed: int,
        fits: Fits = _always,
    ) -> None:
        super().__init__(settings, budget, make_model, epochs, seed, fits)
        least = settings.min_channels
        if settings.method == "dsa":
            self.soft_settings = SoftSettings(**{**asdict(PUBLISHED), "min_channels": least})
        else:
            self.soft_settings = SoftSettings(min_channels=least, hardness=settings.hardness, travel=settings.travel)
        self.criterion = "conv_bn" if settings.method == "dsa" else settings.importance
        self.soft: SoftWidths | None = None
        self._pending: Mapping[str, Any] | None = None
        self._low: dict[str, Tensor] = {}
        self._weighed: dict[str, Tensor] = {}

    def _progress(self, trainer: Trainer, step: int) -> float | None:
        """0 … 1 through the pruning phase; None before it."""
        first = round(self.settings.start * trainer.total_steps)
        last = self.last_epoch * trainer.steps_per_epoch - 1
        first = min(first, last)
        return None if step < first else min(1.0, (step - first) / max(1, last - first))

    def _widths(self, trainer: Trainer) -> SoftWidths:
        groups = trainer.network.groups
        if self.soft is None:
            steps = self.last_epoch * trainer.steps_per_epoch - round(self.settings.start * trainer.total_steps)
            model = self.make_model(trainer.network.module.graph, groups)
            self.soft = SoftWidths(groups.widths(), model, self.budget, steps, self.soft_settings)
            if self._pending is not None:
                self.soft.load_state(self._pending)
        return self.soft

    def gates(self, trainer: Trainer, step: int) -> dict[str, Tensor]:
        progress = self._progress(trainer, step)
        if progress is None:
            return super().gates(trainer, step)
        generator = torch.Generator(trainer.device).manual_seed(self.seed * 7907 + step)
        return self._widths(trainer).gates(self._importances(trainer, step), progress, generator)

    def _importances(self, trainer: Trainer, step: int) -> dict[str, Tensor]:
        if self.criterion == "taylor":
            return {
                g.name: self.taylor.get(g.name, torch.ones(g.size, device=trainer.device)).sqrt()
                for g in trainer.network.groups.prunable
            }
        if not self._weighed or step % REFRESH_STEPS == 0:
            found = self.scores(trainer, 0, self.criterion)
            self._weighed = {g: torch.from_numpy(s.copy()).to(trainer.device) for g, s in found.items()}
        return self._weighed

    def gate_gradients(self) -> dict[str, Tensor]:
        if self.soft is not None and self.soft.is_gated:
            return self.soft.gate_gradients()
        return super().gate_gradients()

    def after_backward(self, trainer: Trainer, step: int) -> None:
        super().after_backward(trainer, step)
        progress = self._progress(trainer, step)
        if not self.is_done and progress is not None:
            self._widths(trainer).step(progress)

    def after_epoch(self, trainer: Trainer, epoch: int) -> None:
        if self.is_done or self.soft is None:
            return
        if epoch + 1 >= self.last_epoch:
            self._freeze(trainer)
        elif self.settings.shrink:
            self._shrink(trainer, self.soft)

    def _shrink(self, trainer: Trainer, soft: SoftWidths) -> None:
        """Cuts channels whose keep probability was low at this and the last epoch end."""
        kept = soft.kept()
        self.report.before = self.report.before or trainer.network.groups.widths()
        doomed = {g: (p < LOW) & (self._low[g] < LOW) for g, p in kept.items()
                  if g in self._low and len(self._low[g]) == len(p)}  # fmt: skip
        self._low = kept
        keep: dict[str, list[int]] = {}
        for group, p in kept.items():
            stays = ~doomed[group] if group in doomed else torch.ones_like(p, dtype=torch.bool)
            least = min(self.settings.min_channels, len(p))
            if int(stays.sum()) < least:
                stays = torch.zeros_like(stays)
                stays[p.topk(least).indices] = True
            keep[group] = [int(i) for i in stays.nonzero().flatten()]
        if all(len(k) == len(kept[g]) for g, k in keep.items()):
            return
        self.taylor = {g: t[keep[g]] if g in keep else t for g, t in self.taylor.items()}
        self._low = {g: p[keep[g]] for g, p in kept.items()}
        self._weighed = {}
        trainer.cut(keep)
        groups = trainer.network.groups
        soft.resize(groups.widths(), self.make_model(trainer.network.module.graph, groups))

    def _freeze(self, trainer: Trainer) -> None:
        soft = self._widths(trainer)
        groups = trainer.network.groups
        model = self.make_model(trainer.network.module.graph, groups)
        scores = {g: t.cpu().double().numpy() for g, t in self._importances(trainer, 0).items()}
        counts = {g: a * groups.group(g).size for g, a in soft.alpha().items()}
        soft_use = {n: e + 1.0 for n, e in excess(model.evaluate(counts), self.budget).items()}
        fitted = fit_to_plan(
            lambda limits: fit(soft.wanted(), scores, limits, model.evaluate, self.minimum(groups)),
            lambda widths: self.fits(self.cut_graph(trainer, widths, scores)),
            self.budget,
        )
        channels = sum(g.size for g in groups.prunable)
        self.report.soft_use = soft_use
        changed = fitted.repaired + fitted.filled
        self.report.warnings = failures(soft.trace, soft_use, changed, channels, soft.price)
        self.finish(trainer, fitted, scores)

    def status(self) -> str:
        if self.is_done or self.soft is None:
            return super().status()
        trace = self.soft.trace
        parts = (f"{n} {e + 1.0:.2f} price {self.soft.price.get(n, 0.0):.2g}" for n, e in trace.excess.items())
        return " " + " ".join(parts)

    def state(self) -> dict[str, Any]:
        low = {g: p.clone() for g, p in self._low.items()}
        return super().state() | {"soft": None if self.soft is None else self.soft.state(), "low": low}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._pending = state["soft"]
        self._low = dict(state["low"])


class RankedHook(PruneHook):
    """Iterative pruning by a criterion: at every epoch end of the phase the lowest channels go, to a falling budget.

    ``taylor``, ``slimming``, ``l1``, ``l2``, ``bn`` and ``random`` rank all channels of the network in one list;
    ``greedy`` removes by importance per violated resource. What a cut leaves of the budget is filled at once, since a
    list that ignores costs takes channels that relieve no violated budget.
    """

    def before_step(self, trainer: Trainer, step: int) -> None:
        if self.settings.method in ("taylor", "greedy"):
            super().before_step(trainer, step)

    def after_backward(self, trainer: Trainer, step: int) -> None:
        if self.settings.method in ("taylor", "greedy"):
            super().after_backward(trainer, step)
        elif self.settings.method == "slimming" and not self.is_done:
            for op in trainer.network.module.graph.ops:
                if isinstance(op, o.BatchNorm):
                    gamma = trainer.network.module.parameter(op.name, "gamma")
                    if gamma.grad is not None:
                        gamma.grad += self.settings.slimming * torch.sign(gamma.detach())

    def after_epoch(self, trainer: Trainer, epoch: int) -> None:
        if self.is_done or epoch < self.first_epoch:
            return
        criterion = {"slimming": "bn", "greedy": "taylor"}.get(self.settings.method, self.settings.method)
        scores = self.scores(trainer, epoch, criterion)
        groups = trainer.network.groups
        model = self.make_model(trainer.network.module.graph, groups)
        self.report.before = self.report.before or groups.widths()
        is_last = epoch + 1 >= self.last_epoch
        limits = self.budget if is_last else self._interim(model, self.last_epoch - epoch)
        minimum = self.minimum(groups)

        def choose(limits: Mapping[str, float]) -> Fitted:
            wanted = groups.widths()
            if self.settings.method != "greedy":
                wanted = ranked_widths(_comparable(scores, criterion), limits, model.evaluate, minimum)
            return fit(wanted, scores, limits, model.evaluate, minimum)

        if is_last:
            checked = fit_to_plan(choose, lambda w: self.fits(self.cut_graph(trainer, w, scores)), limits)
            self.finish(trainer, checked, scores)
        else:
            self.cut(trainer, choose(limits).widths, scores)

    def _interim(self, model: CostModel, epochs_left: int) -> dict[str, float]:
        """One of `epochs_left` equal geometric steps from the present use to the final budget."""
        use = {n: float(v) for n, v in model.evaluate({}).items()}
        return {n: limit * max(1.0, use[n] / limit) ** (1.0 - 1.0 / epochs_left) for n, limit in self.budget.items()}


def _comparable(scores: Scores, criterion: str) -> Scores:
    """Norms are divided by their group's mean, so that one list can rank all groups; gradients need no such thing."""
    if criterion in ("taylor", "random"):
        return scores
    return {g: s / max(float(s.mean()), 1e-30) for g, s in scores.items()}


def ranked_widths(
    scores: Scores, budget: Mapping[str, float], evaluate: Callable[[Widths], Mapping[str, float]], minimum: Widths
) -> Widths:
    """Widths after removing the lowest-scored channels of one global list, as few as bring every budget in.

    A group's `minimum` best channels are never in the list.
    """
    removable: list[tuple[float, str]] = []
    for group, values in scores.items():
        rising = np.sort(values)
        removable += [(float(v), group) for v in rising[: len(rising) - minimum[group]]]
    removable.sort()

    def widths(removed: int) -> Widths:
        result = {g: len(s) for g, s in scores.items()}
        for _, group in removable[:removed]:
            result[group] -= 1
        return result

    low, high = 0, len(removable)
    while low < high:
        middle = (low + high) // 2
        if max(excess(evaluate(widths(middle)), budget).values()) <= 0:
            high = middle
        else:
            low = middle + 1
    return widths(low)


def make_hook(
    settings: PruneSettings,
    budget: Mapping[str, float],
    make_model: MakeModel,
    epochs: int,
    seed: int,
    fits: Fits = _always,
) -> PruneHook:
    """The hook of a method; ``uniform`` and ``none`` need none and are a KeyError here."""
    return HOOKS[settings.method](settings, budget, make_model, epochs, seed, fits)


HOOKS: dict[str, type[PruneHook]] = {
    "differentiable": SoftHook,
    "dsa": SoftHook,
    **dict.fromkeys(("taylor", "slimming", "l1", "l2", "bn", "random", "greedy"), RankedHook),
}
