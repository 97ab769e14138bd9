"""The pruner in a training loop of the user's own.

    pruner = Pruner(graph, Budget(weights_bytes="16 KB", ram_bytes="16 KB"), steps=2000)
    optimizer = torch.optim.SGD(pruner.parameters(), lr=0.05, momentum=0.9)
    for x, y in batches:
        loss = my_loss(pruner(x), y) + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()
        pruner.step()
        optimizer.step()
        if pruner.is_done:
            optimizer = torch.optim.SGD(pruner.shrink(), lr=0.01, momentum=0.9)
    small = pruner.graph()

After `steps` calls of `step` the widths are final: `shrink` cuts the network to the budget and further training is
ordinary. Inputs are batches of real values, channels last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tinycompress.compress.deployed import Deployed
from tinycompress.compress.groups import find_groups
from tinycompress.compress.network import Network
from tinycompress.compress.prune.hook import TAYLOR_MEMORY, MakeModel
from tinycompress.compress.prune.repair import check_feasible, fit, fit_to_plan, strongest
from tinycompress.compress.prune.soft import SoftSettings, SoftWidths
from tinycompress.compress.shrink import shrink
from tinycompress.compress.task import Budget
from tinycompress.compress.verdict import fits
from tinycompress.ir.graph import Graph
from tinycompress.passes import prepare_for_training


class Pruner:
    """Differentiable widths of one network, stepped from outside.

    Raises BudgetError TC-B201 at once when the budget is below the smallest network that can be reached.
    """

    def __init__(
        self,
        graph: Graph,
        budget: Budget,
        steps: int,
        *,
        settings: SoftSettings | None = None,
        device: torch.device | str = "cpu",
        make_model: MakeModel = Deployed,
    ) -> None:
        self.network = Network(prepare_for_training(graph), torch.device(device))
        self.budget = budget.resources
        self.steps = steps
        self.is_done = False
        self._taken = 0
        self._make_model = make_model
        groups = self.network.groups
        model = make_model(self.network.module.graph, groups)
        self._settings = settings or SoftSettings()
        self._minimum = {g.name: min(self._settings.min_channels, g.size) for g in groups.prunable}
        check_feasible(self._minimum, self.budget, model.evaluate)
        self.widths = SoftWidths(groups.widths(), model, self.budget, steps, self._settings)
        self._importance = {g.name: torch.ones(g.size, device=self.network.device) for g in groups.prunable}

    @property
    def module(self) -> nn.Module:
        """The network as an ordinary module; it is another object after `shrink`."""
        return self.network.module

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the present network."""
        return self.network.module.parameters()

    def __call__(self, *inputs: Tensor) -> Any:
        """The network's output, a tuple of several, with gates on its channels while it is trained and pruned."""
        if self.module.training and not self.is_done:
            importances = {g: square.sqrt() for g, square in self._importance.items()}
            self.network.set_gates(self.widths.gates(importances, self._progress()))
        return self.network.module(*inputs)

    def _progress(self) -> float:
        return min(1.0, self._taken / max(1, self.steps - 1))

    def penalty(self) -> Tensor:
        """What to add to the loss: 0, since resources act on the widths and not on the weights."""
        return torch.zeros((), device=self.network.device)

    def step(self) -> None:
        """After the backward pass: remembers importances and moves the widths."""
        if self.is_done:
            return
        for group, gradient in self.widths.gate_gradients().items():
            square = gradient.detach() ** 2
            before = self._importance[group] if self._taken else square
            self._importance[group] = TAYLOR_MEMORY * before + (1.0 - TAYLOR_MEMORY) * square
        self.widths.step(self._progress())
        self._taken += 1
        self.is_done = self._taken >= self.steps

    def shrink(self) -> list[nn.Parameter]:
        """Cuts the network to the budget and returns the parameters of the smaller one, for a fresh optimiser.

        Batch-norm statistics are stale afterwards: train on, or run some batches in training mode before evaluating.
        """
        network = self.network
        model = self._make_model(network.module.graph, network.groups)
        scores = {g: square.cpu().double().numpy() for g, square in self._importance.items()}
        keep_of = {g: scores[g] for g in self.widths.wanted()}

        def smaller(widths: dict[str, int]) -> Graph:
            return shrink(network.graph(), {g: strongest(keep_of[g], n) for g, n in widths.items()}, network.groups)

        use = model.evaluate({})
        code = float(use["flash_bytes"] - use.get("weights_bytes", use["flash_bytes"]))
        fitted = fit_to_plan(
            lambda limits: fit(self.widths.wanted(), scores, limits, model.evaluate, self._minimum),
            lambda widths: fits(smaller(widths), self.budget, code),
            self.budget,
        )
        self.network = Network(smaller(fitted.widths), network.device)
        self.is_done = True
        return list(self.parameters())

    def graph(self) -> Graph:
        """The network as a graph with its present weights, physically as small as it is now."""
        return self.network.graph()

    def sizes(self) -> dict[str, int]:
        """Present width of every prunable group."""
        return find_groups(self.network.module.graph).widths()
