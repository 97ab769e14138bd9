"""The hook of differentiable widths: gates from width parameters, widths moved after each step, cuts at epoch ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tinycompress.compress.prune.hook import PruneHook
from tinycompress.compress.prune.repair import excess, fit, fit_to_plan
from tinycompress.compress.prune.soft import LOW, PUBLISHED, SoftSettings, SoftWidths, failures
from tinycompress.compress.train import Trainer

REFRESH_STEPS = 20
"""Steps between two computations of importances that come from weights."""


class SoftHook(PruneHook):
    """Differentiable widths (methods ``differentiable`` and ``dsa``)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings, least = self.settings, self.settings.min_channels
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

    def gradients(self) -> list[Tensor]:
        if self.is_done or self.soft is None or not self.soft.is_gated:
            return super().gradients()
        return self.soft.gradients()

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
            return
        soft = self.soft
        counts = {g: a * soft.sizes[g] for g, a in soft.alpha().items()}
        self.remember_use(soft.model.evaluate(counts))
        if self.settings.shrink:
            self._shrink(trainer, soft)

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

    def state(self) -> dict[str, Any]:
        soft = None if self.soft is None else self.soft.state()
        low, weighed = ({g: t.clone() for g, t in kept.items()} for kept in (self._low, self._weighed))
        return super().state() | {"soft": soft, "low": low, "weighed": weighed}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.soft, self._pending = None, state["soft"]
        self._low, self._weighed = dict(state["low"]), dict(state["weighed"])
