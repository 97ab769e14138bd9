"""The operator order with the smallest working set: exact search over topological orders (METHODS B1.1), or its gap."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from tinycompress.cost.scalar import Scalar, plain
from tinycompress.cost.working_set import Workload, peak

STATE_BUDGET = 200_000
"""Sets of finished operators that the exact search may visit before it gives way to the heuristic."""


@dataclass(frozen=True)
class Order:
    """Task indices in execution order, their peak, and the bound below which no order can go."""

    indices: tuple[int, ...]
    peak: Scalar
    lower_bound: Scalar
    method: str

    @property
    def is_optimal(self) -> bool:
        return plain(self.peak) == plain(self.lower_bound)


class _Search:
    """Marginal costs over sets of finished tasks, as bit masks; sizes are plain floats or ints."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        producer = {name: i for i, task in enumerate(work.tasks) for name in task.writes}
        self.needs = [0] * len(work.tasks)
        self.readers: dict[str, int] = dict.fromkeys(work.sizes, 0)
        for i, task in enumerate(work.tasks):
            for name in task.reads:
                self.readers[name] |= 1 << i
                if name in producer:
                    self.needs[i] |= 1 << producer[name]
        self.size = {name: plain(size) for name, size in work.sizes.items()}
        self.scratch = [plain(task.scratch) for task in work.tasks]
        self.all = (1 << len(work.tasks)) - 1
        self.start = sum(self.size[n] for n in work.entry)

    def ready(self, done: int) -> list[int]:
        return [i for i, need in enumerate(self.needs) if not done >> i & 1 and need & ~done == 0]

    def dies(self, name: str, done: int) -> bool:
        return name not in self.work.exit and self.readers[name] & ~done == 0

    def run(self, i: int, done: int, live: float) -> tuple[float, float]:
        """(bytes live during task i, bytes live after it) when exactly `done` came before."""
        task, after = self.work.tasks[i], done | 1 << i
        made = sum(self.size[n] for n in task.writes)
        dying = {n for n in task.reads if self.dies(n, after)}
        if not done:
            dying |= {n for n in self.work.entry if self.dies(n, after)}
        freed = sum(self.size[n] for n in dying) + sum(self.size[n] for n in task.writes if self.dies(n, after))
        overwritten = max((self.size[n] for n in task.reusable if n in dying), default=0.0)
        return live + made - overwritten + self.scratch[i], live + made - freed

    def close(self, done: int, live: float, limit: float) -> tuple[int, float, tuple[int, ...]]:
        """Takes at once every ready task that fits and does not grow the live set: it never becomes dearer by waiting.

        The first task is exempt: unused inputs die with it, whichever it is.
        """
        taken: list[int] = []
        progress = True
        while progress:
            progress = False
            for i in self.ready(done):
                during, after = self.run(i, done, live)
                if during <= limit and after <= live:
                    done, live = done | 1 << i, after
                    taken.append(i)
                    progress = True
        return done, live, tuple(taken)


def _exact(search: _Search, budget: int) -> tuple[tuple[int, ...], float, bool]:
    """Best-first search by peak: (order, peak, True), or ((), bound reached, False) when the budget is spent."""
    Entry = tuple[float, int, int, float, tuple[int, ...]]
    queue: list[Entry] = [(search.start, 0, 0, search.start, ())]
    seen: set[int] = set()
    serial = 0
    while queue:
        top, _, done, live, order = heapq.heappop(queue)
        done, live, taken = search.close(done, live, top)
        order += taken
        if done == search.all:
            return order, top, True
        if done in seen:
            continue
        seen.add(done)
        if len(seen) > budget:
            return (), top, False
        for i in search.ready(done):
            during, after = search.run(i, done, live)
            serial += 1
            heapq.heappush(queue, (max(top, during), serial, done | 1 << i, after, (*order, i)))
    return (), search.start, False


def _greedy(search: _Search) -> tuple[int, ...]:
    """Always the ready task with the smallest live set during it, then after it."""
    done, live, order = 0, search.start, []
    while done != search.all:
        i = min(search.ready(done), key=lambda i: (search.run(i, done, live), i))
        live = search.run(i, done, live)[1]
        done |= 1 << i
        order.append(i)
    return tuple(order)


def best_order(work: Workload, budget: int = STATE_BUDGET) -> Order:
    """The order of least peak. `method` says how it was found: 'exact', or 'greedy' / 'as given' beyond the budget."""
    given = tuple(range(len(work.tasks)))
    if not given:
        return Order((), peak(work, ()), peak(work, ()), "exact")
    search = _Search(work)
    order, bound, finished = _exact(search, budget)
    if finished:
        found = peak(work, order)
        return Order(order, found, found, "exact")
    greedy = _greedy(search)
    method, chosen = min((("as given", given), ("greedy", greedy)), key=lambda c: plain(peak(work, c[1])))
    return Order(chosen, peak(work, chosen), int(bound), method)


def all_orders(work: Workload) -> Iterator[tuple[int, ...]]:
    """Every valid execution order, lexicographically."""
    search = _Search(work)

    def extend(done: int, order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if done == search.all:
            yield order
        for i in search.ready(done):
            yield from extend(done | 1 << i, (*order, i))

    yield from extend(0, ())
