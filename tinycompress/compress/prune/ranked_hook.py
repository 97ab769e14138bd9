"""The hook of the ranked methods: at epoch ends the least important channels go, to a falling budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from tinycompress.compress.costing import CostModel
from tinycompress.compress.prune.criteria import Scores
from tinycompress.compress.prune.hook import PruneHook
from tinycompress.compress.prune.repair import Fitted, Widths, excess, fit, fit_to_plan
from tinycompress.compress.train import Trainer
from tinycompress.ir import ops as o


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
            fitted = choose(limits)
            self.remember_use(model.evaluate(fitted.widths))
            self.cut(trainer, fitted.widths, scores)

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
