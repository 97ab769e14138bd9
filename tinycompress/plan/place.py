"""Arena offsets for blocks with fixed lifetimes: first fit until the live-set bound is met, else branch and bound."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tinycompress.cost.scalar import round_up
from tinycompress.cost.working_set import Buffer

NODE_BUDGET = 200_000
"""Partial placements that branch and bound may visit."""
RESTARTS = 60
"""Random first-fit orders to try before branch and bound."""
EXACT_BUFFERS = 12
"""Largest number of blocks for which branch and bound is tried."""


@dataclass(frozen=True)
class Placed:
    """Offsets by block name, the arena's bytes, and whether no placement of these lifetimes can be smaller."""

    offsets: Mapping[str, int]
    bytes: int
    is_optimal: bool


def _first_fit(order: Sequence[Buffer], rivals: Mapping[str, frozenset[str]]) -> tuple[int, dict[str, int]]:
    """Each block at the lowest gap between the already placed blocks that live with it."""
    offsets: dict[str, int] = {}
    sizes: dict[str, int] = {}
    top = 0
    for block in order:
        at = 0
        for begin, end in sorted((offsets[n], offsets[n] + sizes[n]) for n in rivals[block.name] if n in offsets):
            if at + block.bytes <= begin:
                break
            at = max(at, round_up(end, block.alignment))
        offsets[block.name], sizes[block.name] = at, block.bytes
        top = max(top, at + block.bytes)
    return top, offsets


_ORDERS: tuple[Callable[[Buffer], tuple[float, ...]], ...] = (
    lambda b: (-b.bytes,),
    lambda b: (-b.bytes, b.birth),
    lambda b: (-b.bytes * (b.death - b.birth + 1),),
    lambda b: (b.birth - b.death, -b.bytes),
    lambda b: (b.birth, -b.bytes),
    lambda b: (-b.death, -b.bytes),
)


def place(blocks: Sequence[Buffer], bound: int, seed: int = 0) -> Placed:
    """Offsets such that blocks alive together are disjoint. `bound` is the live-set bound of these lifetimes.

    Optimal when the bound is met, or when branch and bound finishes (tried up to EXACT_BUFFERS blocks).
    """
    rivals = {a.name: frozenset(b.name for b in blocks if b is not a and a.overlaps(b)) for a in blocks}
    generator = random.Random(seed)
    best: tuple[int, dict[str, int]] | None = None
    for attempt in range(len(_ORDERS) + RESTARTS):
        if attempt < len(_ORDERS):
            order = sorted(blocks, key=_ORDERS[attempt])
        else:
            weights = {b.name: b.bytes * generator.uniform(0.3, 1.7) for b in blocks}
            order = sorted(blocks, key=lambda b: -weights[b.name])
        found = _first_fit(order, rivals)
        if best is None or found[0] < best[0]:
            best = found
        if best[0] <= bound:
            return Placed(best[1], best[0], True)
    assert best is not None
    if len(blocks) > EXACT_BUFFERS:
        return Placed(best[1], best[0], False)
    return _branch_and_bound(blocks, rivals, best)


def _branch_and_bound(
    blocks: Sequence[Buffer], rivals: Mapping[str, frozenset[str]], start: tuple[int, dict[str, int]]
) -> Placed:
    """Exact: some optimal placement has every block at 0 or on top of a rival, so blocks stack by rising offset."""
    best_top, best = start
    by_name = {b.name: b for b in blocks}
    visited = 0

    def floor_of(name: str, offsets: Mapping[str, int]) -> int:
        block = by_name[name]
        return max(
            (round_up(offsets[r] + by_name[r].bytes, block.alignment) for r in rivals[name] if r in offsets), default=0
        )

    def extend(offsets: dict[str, int], left: frozenset[str], last: tuple[int, str]) -> None:
        nonlocal best_top, best, visited
        visited += 1
        if visited > NODE_BUDGET:
            return
        if not left:
            best_top, best = max(offsets[n] + by_name[n].bytes for n in offsets), dict(offsets)
            return
        floors = {name: max(last[0], floor_of(name, offsets)) for name in left}
        if any(round_up(at, by_name[n].alignment) + by_name[n].bytes >= best_top for n, at in floors.items()):
            return
        for name in sorted(left):
            at = floor_of(name, offsets)
            if (at, name) > last:
                extend({**offsets, name: at}, left - {name}, (at, name))

    extend({}, frozenset(by_name), (-1, ""))
    return Placed(best, best_top, visited <= NODE_BUDGET)
