"""Widths of a network under budgets: what is feasible, the uniform network, and widths from a pruned teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tinycompress.compress.deployed import Deployed
from tinycompress.compress.distill.rewinding import masks_of, sparsity
from tinycompress.compress.distill.widths import rescale, student_widths
from tinycompress.compress.groups import Groups, find_groups
from tinycompress.compress.network import Network, initialise
from tinycompress.compress.prune.criteria import norm_scores
from tinycompress.compress.prune.repair import (
    Fitted,
    Widths,
    check_feasible,
    excess,
    fit_to_plan,
    strongest,
    uniform_widths,
)
from tinycompress.compress.recipe import Recipe
from tinycompress.compress.shrink import shrink
from tinycompress.compress.verdict import fits
from tinycompress.errors import BudgetError, ConfigError
from tinycompress.ir.graph import Graph

_WORK = ("instructions", "latency_ms")
TIGHT = 0.5
"""Share of a budget that the smallest network takes, above which the budget decides the shape more than pruning."""


@dataclass(frozen=True)
class Sizing:
    """Sizes networks to `limits` (resource budgets by name). The planner's exact plan has the last word on memory."""

    limits: Mapping[str, float]
    recipe: Recipe
    has_dsp: bool
    clock_hz: float

    def model(self, graph: Graph, groups: Groups) -> Deployed:
        """The cost model of `graph`, with work only where a budget asks for it."""
        has_work = any(name in self.limits for name in _WORK)
        return Deployed(graph, groups, has_dsp=self.has_dsp, clock_hz=self.clock_hz, has_work=has_work)

    def use(self, graph: Graph) -> dict[str, float]:
        """Every resource of `graph` as it is."""
        return {n: float(v) for n, v in self.model(graph, find_groups(graph)).evaluate({}).items()}

    def fits(self, graph: Graph) -> bool:
        """Whether the planner's exact plan of `graph` is inside the memory budgets."""
        use = self.use(graph)
        return fits(graph, self.limits, use["flash_bytes"] - use["weights_bytes"], has_dsp=self.has_dsp)

    def check_feasible(self, graph: Graph) -> None:
        """BudgetError TC-B201 when the least widths are over a budget, by the cost model or by their exact plan."""
        groups = find_groups(graph)
        least = self._least(groups)
        check_feasible(least, self.limits, self.model(graph, groups).evaluate)
        if self.limits and not self.fits(shrink(graph, {g: range(n) for g, n in least.items()}, groups)):
            raise BudgetError(
                "TC-B201",
                f"the smallest network of this architecture ({self.recipe.prune.min_channels} channels per group) has "
                "no plan inside the budget",
                fix="raise ram_bytes or weights_bytes by a few percent",
            )

    def check_fits(self, graph: Graph) -> None:
        """BudgetError TC-B202 when a network that nothing will prune is over a budget: said before it is trained."""
        use = self.use(graph)
        over = [n for n, e in excess(use, self.limits).items() if e > 0]
        if over or (self.limits and not self.fits(graph)):
            listed = ", ".join(f"{n} {use[n]:.0f} of {self.limits[n]:.0f}" for n in over or self.limits)
            fix = "name a prune.method" if find_groups(graph).prunable else "start from a smaller architecture"
            raise BudgetError("TC-B202", f"the student is over its budget and nothing prunes it: {listed}", fix=fix)

    def is_tight(self, graph: Graph) -> bool:
        """Whether the smallest network of this architecture takes more than half of some budget."""
        groups = find_groups(graph)
        least = self.model(graph, groups).evaluate(self._least(groups))
        return any(float(least[n]) > TIGHT * limit for n, limit in self.limits.items())

    def _least(self, groups: Groups) -> Widths:
        return {g.name: min(self.recipe.prune.min_channels, g.size) for g in groups.prunable}

    def resized(self, graph: Graph, widths: Widths) -> Graph:
        """`graph` at smaller widths: its strongest channels, or fresh weights when the recipe starts from random."""
        groups = find_groups(graph)
        scores = norm_scores(graph, groups, 2)
        smaller = shrink(graph, {g: strongest(scores[g], n) for g, n in widths.items()}, groups)
        return initialise(smaller, self.recipe.seed) if self.recipe.initial == "random" else smaller

    def uniform(self, graph: Graph) -> Graph:
        """`graph` at the largest single width factor that is inside every budget."""
        groups = find_groups(graph)
        model = self.model(graph, groups)
        least = self.recipe.prune.min_channels
        return self._fitted(graph, lambda limits: uniform_widths(groups.widths(), limits, model.evaluate, least))

    def from_teacher(self, graph: Graph, teacher: Network) -> Graph:
        """`graph` at the widths that a pruned teacher's surviving weights give it (recipe key student.widths).

        ``published`` takes them as they are, at most the architecture's own; ``fitted`` scales them by the largest
        factor that is inside every budget. ConfigError TC-C351 when the teacher is another architecture.
        """
        alive = sparsity(teacher, masks_of(teacher)).per_constant
        for name, count in alive.items():
            if name not in graph.tensors or graph.tensors[name].elements < count:
                raise ConfigError(
                    "TC-C351",
                    f"the teacher's weights {name!r} are not in {graph.name!r}: its densities give no widths",
                    where="compress.student.widths",
                    fix="leave student.widths at 'full' when the teacher is another network",
                )
        groups = find_groups(graph)
        widths, sizes = student_widths(graph, groups, alive), groups.widths()
        if self.recipe.student.widths == "published" or not self.limits:
            return self.resized(graph, rescale(widths, sizes, 1.0))
        model = self.model(graph, groups)

        def choose(limits: Mapping[str, float]) -> Widths:
            low, high = 0.0, max(sizes[g] / n for g, n in widths.items())
            for _ in range(20):
                middle = (low + high) / 2
                inside = max(excess(model.evaluate(rescale(widths, sizes, middle)), limits).values()) <= 0
                low, high = (middle, high) if inside else (low, middle)
            return rescale(widths, sizes, low)

        return self._fitted(graph, choose)

    def _fitted(self, graph: Graph, choose: Callable[[Mapping[str, float]], Widths]) -> Graph:
        if not self.limits:
            return graph
        fitted = fit_to_plan(
            lambda limits: Fitted(choose(limits), 0, 0), lambda w: self.fits(self.resized(graph, w)), self.limits
        )
        return self.resized(graph, fitted.widths)
