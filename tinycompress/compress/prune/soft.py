"""Resource-aware differentiable widths: one width parameter per channel group, priced by what its bytes cost.

Reconstruction, not a published method: the papers state that pruning is differentiable, structured, happens during
training and combines resource with importance feedback; the mechanism here starts from DSA's keep-ratio gate and was
corrected by experiments (METHODS B1.3). The published form of that gate stays as `PUBLISHED` for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinycompress.compress.costing import CostModel, soft_excess
from tinycompress.compress.prune.gates import keep_probability, stack_rows, standardise

THETA_RANGE = (-6.0, 5.0)
LARGEST_ALPHA = 0.993
RESOURCE_STEPS = 5
"""Steps between two evaluations of the cost model; in between it is continued to first order."""
LOW = 0.05
"""A channel with a lower keep probability at two epoch ends is cut."""


@dataclass(frozen=True)
class SoftSettings:
    """Numbers of METHODS B1.3; `travel` is the step size times the number of pruning steps."""

    min_channels: int = 2
    hardness: tuple[float, float] = (1.0, 20.0)
    travel: float = 40.0
    theta: float = 3.0
    smoothing: float = 0.01
    anneal: float = 0.8
    """Share of the pruning phase over which the budget moves from the present use to its value; 0 is at once."""
    sharpness: float = 10.0
    """κ: how steeply a price answers an excess."""
    price_rate: float = 0.2
    value_memory: float = 0.95
    value_floor: float = 0.02
    standardised: bool = True
    bernoulli: bool = False
    """Draw a 0/1 mask and pass its gradient straight through, instead of using the probabilities themselves."""
    ratio_step: bool = True
    """θ moves by (value − price) / (value + price); otherwise Adam on loss plus one-sided penalties, λ reset at 0."""


PUBLISHED = SoftSettings(
    hardness=(1.0, 50.0), theta=5.0, anneal=0.0, smoothing=0.0, standardised=False, bernoulli=True, ratio_step=False
)
"""The keep-ratio gate as published. It meets budgets but does not allocate: all widths move in lockstep and freeze."""
ADAM_RATE, ADAM_MEMORY, PENALTY_RATE = 1e-2, (0.9, 0.999), 1e-2


@dataclass
class Trace:
    """What one step saw, for progress and for detecting failures."""

    hardness: float = 1.0
    excess: dict[str, float] = field(default_factory=dict)
    alpha: dict[str, float] = field(default_factory=dict)
    undecided: float = 1.0
    """Share of channels whose keep probability is neither above 0.95 nor below 0.05."""


class SoftWidths:
    """Width parameters, prices and gates of one network while it is pruned.

    Per step: `gates(importances, progress)` gives a mask per group that the forward pass applies, the loss is
    differentiated, then `step(progress)` moves the widths. `sizes` are present group sizes; `resize` follows a physical
    cut. The state is plain (`state`, `load_state`), so training resumes exactly.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        model: CostModel,
        budget: Mapping[str, float],
        steps: int,
        settings: SoftSettings = SoftSettings(),
    ) -> None:
        self.settings = settings
        self.sizes = dict(sizes)
        self.model = model
        self.budget = dict(budget)
        self.steps = max(1, steps)
        self.theta = dict.fromkeys(self.sizes, settings.theta)
        self.value: dict[str, float] = {}
        self.price: dict[str, float] = {}
        self.moments: dict[str, tuple[float, float]] = {}
        self.taken = 0
        self.first_use: dict[str, float] = {}
        self.trace = Trace()
        self._local: dict[str, tuple[float, list[float], list[float]]] | None = None
        self._alpha: Tensor | None = None
        self._mask: Tensor | None = None
        self._kept: Tensor | None = None

    # -- forward -----------------------------------------------------------------------------------------------------

    def hardness(self, progress: float) -> float:
        """β2 at `progress` 0 … 1 of the pruning phase."""
        first, last = self.settings.hardness
        return float(first * (last / first) ** progress)

    def alpha(self) -> dict[str, float]:
        """Keep ratio of every group: σ(θ), not below the least width."""
        return {
            g: max(1.0 / (1.0 + math.exp(-self.theta[g])), min(1.0, self.settings.min_channels / n))
            for g, n in self.sizes.items()
        }

    def gates(
        self, importances: Mapping[str, Tensor], progress: float, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Mask per group and channel, differentiable in the widths; importances (≥ 0) get no gradient."""
        rows = [importances[g].detach().float() for g in self.sizes]
        logs = standardise(rows) if self.settings.standardised else [row.clamp_min(1e-12).log() for row in rows]
        scores, valid = stack_rows(logs)
        alpha = torch.tensor(list(self.alpha().values()), device=scores.device, requires_grad=True)
        hardness = self.hardness(progress)
        kept = keep_probability(alpha, scores, valid, hardness)
        mask = kept
        if self.settings.bernoulli:
            drawn = torch.rand(kept.shape, generator=generator, device=kept.device) < kept
            mask = drawn.float() + (kept - kept.detach())
        mask.retain_grad()
        self._alpha, self._mask, self._kept = alpha, mask, kept.detach()
        decided = ((kept > 1 - LOW) | (kept < LOW)) & valid
        self.trace.hardness = hardness
        self.trace.undecided = 1.0 - float(decided.sum()) / float(valid.sum())
        return {g: mask[i, :n] for i, (g, n) in enumerate(self.sizes.items())}

    def gate_gradients(self) -> dict[str, Tensor]:
        """∂loss/∂mask of the last step, per group: what the Taylor importance averages."""
        assert self._mask is not None
        assert self._mask.grad is not None
        return {g: self._mask.grad[i, :n] for i, (g, n) in enumerate(self.sizes.items())}

    def gradients(self) -> list[Tensor]:
        """What `gate_gradients` and `step` read, for averaging in place: ∂loss/∂mask and ∂loss/∂α."""
        leaves = (self._mask, self._alpha)
        return [leaf.grad for leaf in leaves if leaf is not None and leaf.grad is not None]

    @property
    def is_gated(self) -> bool:
        """True once a mask is in use, so that its gradients are what the importances average."""
        return self._mask is not None

    def kept(self) -> dict[str, Tensor]:
        """Keep probabilities of the last step."""
        assert self._kept is not None
        return {g: self._kept[i, :n] for i, (g, n) in enumerate(self.sizes.items())}

    # -- widths ------------------------------------------------------------------------------------------------------

    def limits(self, progress: float) -> dict[str, float]:
        """The budget in force: it falls geometrically from the first use to its value."""
        if not self.settings.anneal:
            return dict(self.budget)
        share = min(1.0, progress / self.settings.anneal)
        return {
            n: max(limit, limit * (max(self.first_use[n], limit) / limit) ** (1.0 - share))
            for n, limit in self.budget.items()
        }

    def step(self, progress: float) -> None:
        """Moves every θ by its value (what the loss would lose) against its price (what the budgets ask)."""
        assert self._alpha is not None
        assert self._alpha.grad is not None
        alpha = self._alpha.detach().cpu()
        if self._local is None or self.taken % RESOURCE_STEPS == 0:
            self._local = self._linearised(alpha, progress)
        slopes = {n: torch.tensor(slope) for n, (_, slope, _) in self._local.items()}
        over = {n: at + float(slopes[n] @ (alpha - torch.tensor(there)))
                for n, (at, _, there) in self._local.items()}  # fmt: skip
        worth = self._alpha.grad.detach().cpu()
        if self.settings.ratio_step:
            self._ratio_step(-worth, slopes, over)
        else:
            self._penalty_step(worth, slopes, over, alpha.detach())
        self.taken += 1
        self.trace.excess = over
        self.trace.alpha = self.alpha()

    def _linearised(self, alpha: Tensor, progress: float) -> dict[str, tuple[float, list[float], list[float]]]:
        """Per resource: relative excess at `alpha`, its slope there, and alpha itself."""
        leaf = alpha.clone().requires_grad_(True)
        counts = {g: leaf[i] * n for i, (g, n) in enumerate(self.sizes.items())}
        if not self.first_use:
            use = soft_excess(self.model, counts, dict.fromkeys(self.budget, 1.0), 0.0)
            self.first_use = {n: float(u.detach()) + 1.0 for n, u in use.items()}
        found = {}
        for name, value in soft_excess(self.model, counts, self.limits(progress), self.settings.smoothing).items():
            (slope,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True)
            slope = torch.zeros_like(leaf) if slope is None else slope
            found[name] = (float(value.detach()), slope.tolist(), alpha.tolist())
        return found

    def _ratio_step(self, worth: Tensor, slopes: Mapping[str, Tensor], over: Mapping[str, float]) -> None:
        setting = self.settings
        memory = setting.value_memory if self.value else 0.0
        for i, group in enumerate(self.sizes):
            before = self.value.get(group, 0.0)
            self.value[group] = memory * before + (1.0 - memory) * float(worth[i])
        raw = torch.tensor([self.value[g] for g in self.sizes])
        value = raw.clamp_min(setting.value_floor * float(raw.abs().mean()) + 1e-9)
        balance = {n: float(value.sum()) / max(float(s.sum()), 1e-9) for n, s in slopes.items()}
        price = torch.zeros_like(value)
        for name, slope in slopes.items():
            pull = max(-0.5, min(0.5, over[name]))
            now = self.price.get(name, balance[name] / len(slopes)) * math.exp(setting.price_rate * pull)
            self.price[name] = min(max(now, 1e-3 * balance[name]), 1e3 * balance[name])
            price += self.price[name] * math.exp(setting.sharpness * pull) * slope
        rate = setting.travel / self.steps
        ratio = (value - price) / (value + price).clamp_min(1e-20)
        for i, group in enumerate(self.sizes):
            self.theta[group] = min(max(self.theta[group] + rate * float(ratio[i]), THETA_RANGE[0]), THETA_RANGE[1])

    def _penalty_step(
        self, worth: Tensor, slopes: Mapping[str, Tensor], over: Mapping[str, float], alpha: Tensor
    ) -> None:
        gradient = worth + sum(
            (self.price.get(n, 0.0) * s for n, s in slopes.items() if over[n] > 0), torch.zeros_like(alpha)
        )
        gradient = gradient * alpha * (1.0 - alpha)
        for name in slopes:
            self.price[name] = 0.0 if over[name] <= 0 else self.price.get(name, 0.0) + PENALTY_RATE * over[name]
        first, second = ADAM_MEMORY
        for i, group in enumerate(self.sizes):
            m, v = self.moments.get(group, (0.0, 0.0))
            g = float(gradient[i])
            m, v = first * m + (1 - first) * g, second * v + (1 - second) * g * g
            self.moments[group] = (m, v)
            t = self.taken + 1
            self.theta[group] -= ADAM_RATE * (m / (1 - first**t)) / (math.sqrt(v / (1 - second**t)) + 1e-8)

    # -- physical cuts -----------------------------------------------------------------------------------------------

    def wanted(self) -> dict[str, int]:
        """Whole widths nearest to the soft ones."""
        least = self.settings.min_channels
        return {g: max(min(least, self.sizes[g]), round(a * self.sizes[g])) for g, a in self.alpha().items()}

    def resize(self, sizes: Mapping[str, int], model: CostModel) -> None:
        """Follows a physical cut: α·C stays what it was; groups that appear start afresh, vanished ones are dropped."""
        alpha = self.alpha()
        theta = {}
        for group, size in sizes.items():
            if group not in self.sizes:
                theta[group] = self.settings.theta
                continue
            ratio = min(LARGEST_ALPHA, alpha[group] * self.sizes[group] / size)
            theta[group] = self.theta[group] if size == self.sizes[group] else math.log(ratio / (1.0 - ratio))
        self.theta, self.sizes, self.model = theta, dict(sizes), model
        self.value = {g: v for g, v in self.value.items() if g in sizes}
        self.moments = {g: m for g, m in self.moments.items() if g in sizes}
        self._alpha = self._mask = self._kept = self._local = None

    # -- state -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as numbers."""
        moments = {g: list(m) for g, m in self.moments.items()}
        return {
            "theta": dict(self.theta), "value": dict(self.value), "price": dict(self.price), "moments": moments,
            "taken": self.taken, "first_use": dict(self.first_use),
            "local": None if self._local is None else {n: list(v) for n, v in self._local.items()},
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores `state`; sizes are those of the network that was resumed."""
        self.theta, self.value = dict(state["theta"]), dict(state["value"])
        self.price, self.first_use = dict(state["price"]), dict(state["first_use"])
        self.moments = {g: (m[0], m[1]) for g, m in state["moments"].items()}
        self.taken = int(state["taken"])
        local = state["local"]
        self._local = None if local is None else {n: (v[0], v[1], v[2]) for n, v in local.items()}


def failures(
    trace: Trace, soft_use: Mapping[str, float], changed: int, channels: int, prices: Mapping[str, float]
) -> list[str]:
    """What went wrong in a pruning phase, as sentences for the report; empty when nothing did.

    `soft_use` is each resource's share of its budget at the freeze, `changed` the channels repair and fill touched.
    """
    found = []
    ratios = torch.tensor(list(trace.alpha.values()))
    if len(ratios) > 1 and float(ratios.std()) < 0.02 and float(ratios.min()) < 0.98:
        found.append("all layers were narrowed alike: training did not tell which of them need their channels")
    if soft_use and max(soft_use.values()) < 0.8 and all(p < 1e-6 for p in prices.values()):
        found.append(f"widths collapsed below the budget (at most {max(soft_use.values()):.0%} of it used)")
    if channels and changed > 0.1 * channels:
        found.append(
            f"the last cut, not training, chose {changed} of {channels} channels: more epochs would leave it fewer"
        )
    if trace.undecided > 0.99:
        found.append("no channel was decided at the freeze: importances are not on one scale")
    return found
