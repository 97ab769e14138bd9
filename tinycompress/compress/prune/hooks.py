"""Pruning methods by the name that a recipe gives them; ``uniform`` and ``none`` need no hook."""

from __future__ import annotations

from tinycompress.compress.prune.hook import PruneHook
from tinycompress.compress.prune.ranked_hook import RankedHook
from tinycompress.compress.prune.soft_hook import SoftHook

HOOKS: dict[str, type[PruneHook]] = {
    "differentiable": SoftHook,
    "dsa": SoftHook,
    **dict.fromkeys(("taylor", "slimming", "l1", "l2", "bn", "random", "greedy"), RankedHook),
}
