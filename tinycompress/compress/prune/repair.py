"""From wanted widths to widths inside every budget: repair what is over, fill what is left, and the uniform net."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompress.errors import BudgetError
from tinycompress.units import format_resource

TIGHTENING = 0.98
"""Factor on the budgets given to the cost model while the planner's exact plan is still over."""

WIDE = 512
"""Networks with more prunable channels are repaired and filled many channels at a time, by bisection."""
COARSE = 0.02
"""Relative excess from which on a pass of bulk repair goes all the way instead of half of it."""

Widths = dict[str, int]
Evaluate = Callable[[Mapping[str, int]], Mapping[str, float]]
"""Resources of the network with the given group widths, by name (``ram_bytes``, ``flash_bytes``, ``macs`` …)."""


@dataclass(frozen=True)
class Fitted:
    """Widths inside every budget, and how many channels repair removed and fill put back to get there."""

    widths: Widths
    repaired: int
    filled: int


def excess(resources: Mapping[str, float], budget: Mapping[str, float]) -> dict[str, float]:
    """Relative excess over each budget: 0.1 is 10 % over, negative is slack."""
    return {name: float(resources[name]) / limit - 1.0 for name, limit in budget.items()}


def check_feasible(minimum: Widths, budget: Mapping[str, float], evaluate: Evaluate) -> None:
    """BudgetError TC-B201, with the nearest budget that can be met, when even the `minimum` widths are over."""
    least = evaluate(minimum)
    over = {n: least[n] for n, e in excess(least, budget).items() if e > 0}
    if over:
        told = {n: (format_resource(n, budget[n]), format_resource(n, v)) for n, v in over.items()}
        missed = ", ".join(f"{n} {limit} is below {value}" for n, (limit, value) in told.items())
        nearest = {n: int(np.ceil(v)) for n, v in over.items()}
        listed = ", ".join(f"{n} = {v}" for n, v in nearest.items())
        error = BudgetError(
            "TC-B201",
            f"no pruning of this network fits the budget: {missed}, the least that can be reached",
            fix=f"nearest feasible budget: {listed}; or start from a smaller architecture",
        )
        error.known = {"nearest": nearest}
        raise error


def fit(
    wanted: Mapping[str, int],
    scores: Mapping[str, NDArray[np.float64]],
    budget: Mapping[str, float],
    evaluate: Evaluate,
    minimum: Mapping[str, int],
) -> Fitted:
    """Greedy repair, then fill. Scores are importances per channel (any unit); channels go and come in their order.

    Repair removes, while a budget is exceeded, the channel with the least share of its group's remaining importance
    per relative saving of the violated resources; where two tied peaks let no single removal help, the widest group
    gives. Fill adds the channel with the largest share per relative cost as long as everything stays inside. Above
    `WIDE` channels both take many at prices of one pass. Raises BudgetError TC-B201 when the minimum is over.
    """
    ranked = {g: np.sort(np.asarray(s, dtype=np.float64))[::-1] for g, s in scores.items()}
    widths = {g: max(int(n), minimum[g]) for g, n in wanted.items()}
    is_wide = sum(len(s) for s in ranked.values()) > WIDE
    repaired = (_repair_in_bulk if is_wide else _repair)(widths, ranked, budget, evaluate, minimum)
    filled = (_fill_in_bulk if is_wide else _fill)(widths, ranked, budget, evaluate)
    return Fitted(widths, repaired, filled)


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


def _share(ranked: NDArray[np.float64], position: int, kept: int) -> float:
    return float(ranked[position] / max(float(ranked[:kept].sum()), 1e-30))


def _repair(
    widths: Widths,
    ranked: Mapping[str, NDArray[np.float64]],
    budget: Mapping[str, float],
    evaluate: Evaluate,
    minimum: Mapping[str, int],
) -> int:
    removed = 0
    while True:
        now = evaluate(widths)
        over = [n for n, e in excess(now, budget).items() if e > 0]
        if not over:
            return removed
        candidates = [g for g in widths if widths[g] > minimum[g]]
        if not candidates:
            check_feasible(widths, budget, evaluate)
        best: tuple[float, str] | None = None
        for group in candidates:
            less = evaluate({**widths, group: widths[group] - 1})
            saving = sum((float(now[n]) - float(less[n])) / budget[n] for n in over)
            if saving > 0:
                price = _share(ranked[group], widths[group] - 1, widths[group]) / saving
                best = min(best or (price, group), (price, group))
        victim = best[1] if best else max(candidates, key=lambda g: widths[g] - minimum[g])
        widths[victim] -= 1
        removed += 1


def _fill(
    widths: Widths, ranked: Mapping[str, NDArray[np.float64]], budget: Mapping[str, float], evaluate: Evaluate
) -> int:
    added = 0
    while True:
        now = evaluate(widths)
        best: tuple[float, str] | None = None
        for group, scores in ranked.items():
            if widths[group] >= len(scores):
                continue
            more = evaluate({**widths, group: widths[group] + 1})
            if any(e > 0 for e in excess(more, budget).values()):
                continue
            cost = sum((float(more[n]) - float(now[n])) / limit for n, limit in budget.items())
            value = _share(scores, widths[group], widths[group] + 1) / max(cost, 1e-9)
            best = max(best or (value, group), (value, group))
        if best is None:
            return added
        widths[best[1]] += 1
        added += 1


def _repair_in_bulk(
    widths: Widths,
    ranked: Mapping[str, NDArray[np.float64]],
    budget: Mapping[str, float],
    evaluate: Evaluate,
    minimum: Mapping[str, int],
) -> int:
    """`_repair` for wide networks: a pass prices every group once, then removes what halves the worst excess.

    No pass takes more than a quarter of a group, since the peak of memory moves.
    """
    removed = 0
    while True:
        now = evaluate(widths)
        over = {n: e for n, e in excess(now, budget).items() if e > 0}
        if not over:
            return removed
        candidates = [g for g in widths if widths[g] > minimum[g]]
        if not candidates:
            check_feasible(widths, budget, evaluate)
        priced: list[tuple[float, str]] = []
        for group in candidates:
            less = evaluate({**widths, group: widths[group] - 1})
            saving = sum((float(now[n]) - float(less[n])) / budget[n] for n in over)
            if saving > 0:
                last = widths[group] - max(1, (widths[group] - minimum[group]) // 4)
                kept = range(widths[group], last, -1)
                priced += [(_share(ranked[group], n - 1, n) / saving, group) for n in kept]
        widest = max(candidates, key=lambda g: widths[g] - minimum[g])
        order = [group for _, group in sorted(priced)] or [widest]
        goal = max(over.values()) / 2 if max(over.values()) > COARSE else 0.0

        def reaches(count: int, order: list[str] = order, goal: float = goal) -> bool:
            use = evaluate(_changed(widths, order[:count], -1))
            return max(excess(use, budget).values()) <= goal

        count = _first(reaches, len(order))
        widths.update(_changed(widths, order[:count], -1))
        removed += count


def _fill_in_bulk(
    widths: Widths, ranked: Mapping[str, NDArray[np.float64]], budget: Mapping[str, float], evaluate: Evaluate
) -> int:
    """`_fill` for wide networks: a pass prices every group with room once, then adds what fits in that order."""
    added = 0
    has_room = {g for g, scores in ranked.items() if widths[g] < len(scores)}
    while True:
        now = evaluate(widths)
        priced: list[tuple[float, str]] = []
        for group in sorted(has_room):
            more = evaluate({**widths, group: widths[group] + 1})
            if any(e > 0 for e in excess(more, budget).values()):
                has_room.remove(group)
                continue
            cost = sum((float(more[n]) - float(now[n])) / limit for n, limit in budget.items())
            kept = range(widths[group], len(ranked[group]))
            priced += [(_share(ranked[group], n, n + 1) / max(cost, 1e-9), group) for n in kept]
        if not priced:
            return added
        order = [group for _, group in sorted(priced, reverse=True)]

        def exceeds(count: int, order: list[str] = order) -> bool:
            use = evaluate(_changed(widths, order[:count], 1))
            return max(excess(use, budget).values()) > 0

        count = len(order) if not exceeds(len(order)) else _first(exceeds, len(order)) - 1
        widths.update(_changed(widths, order[:count], 1))
        has_room = {g for g in has_room if widths[g] < len(ranked[g])}
        added += count


def _changed(widths: Mapping[str, int], groups: Sequence[str], by: int) -> Widths:
    """Widths with one channel more or less for every occurrence of a group."""
    counts = Counter(groups)
    return {g: n + by * counts[g] for g, n in widths.items()}


def _first(holds: Callable[[int], bool], most: int) -> int:
    """The least count in 1 … most for which a condition that stays true holds; `most` when it never does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def uniform_widths(full: Mapping[str, int], budget: Mapping[str, float], evaluate: Evaluate, least: int = 1) -> Widths:
    """The largest single width factor whose network is inside every budget; BudgetError TC-B201 when none is."""
    minimum = {g: min(least, n) for g, n in full.items()}
    check_feasible(minimum, budget, evaluate)

    def inside(factor: float) -> bool:
        return all(e <= 0 for e in excess(evaluate(scaled(full, factor, least)), budget).values())

    if inside(1.0):
        return dict(full)
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return scaled(full, low, least)


def scaled(full: Mapping[str, int], factor: float, least: int = 1) -> Widths:
    """Every width times `factor`, rounded down, at least `least`."""
    return {g: max(min(least, n), int(factor * n + 1e-9)) for g, n in full.items()}


def strongest(scores: NDArray[np.float64], count: int) -> Sequence[int]:
    """Indices of the `count` largest scores, ascending; earlier channels win ties."""
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    return sorted(int(i) for i in order[:count])
