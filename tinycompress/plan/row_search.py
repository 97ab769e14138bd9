"""Streamed schedules of least working set: pull orders with cuts, and an exact search over step vectors.

The search rests on two facts. A ready step that fits and does not enlarge the live set never becomes dearer by waiting
(more consumers of its rows are finished then), so it is taken at once. A row that arrives from outside frees nothing,
so it is asked for just before the step that reads it. What is left to branch on is small.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinycompress.plan.row_net import Done, RowNet

STATE_BUDGET = 20_000
"""Step vectors the exact search may visit."""
MAX_JOINS = 6
"""Joins whose operand orders are all tried; the others keep the graph's."""
MAX_CANDIDATES = 400
"""Pull orders that are tried at most."""


@dataclass(frozen=True)
class RowOrder:
    """Node numbers in execution order, their peak, the bound no order goes below, and how the order was found."""

    nodes: tuple[int, ...]
    peak: int
    lower_bound: int
    method: str


def peak_of(net: RowNet, order: Iterable[int]) -> tuple[int, tuple[int, ...]]:
    """(peak, bytes live during each step) of a complete schedule."""
    done, live = net.start()
    during = []
    for node in order:
        now, live = net.run(node, done, live)
        during.append(now)
        done = (*done[:node], done[node] + 1, *done[node + 1 :])
    return max(during, default=live), tuple(during)


class _Closure:
    """Takes steps that are free to take."""

    def __init__(self, net: RowNet) -> None:
        self.net = net
        self.near = net.neighbours()

    def close(self, done: Done, live: int, limit: int, fresh: Iterable[int]) -> tuple[Done, int, tuple[int, ...]]:
        """All steps of `fresh` nodes, and of those they enable, that fit `limit` and do not enlarge the live set."""
        net = self.net
        taken: list[int] = []
        state = list(done)
        waiting = list(dict.fromkeys(fresh))
        while waiting:
            node = waiting.pop(0)
            while net.is_ready(node, state):
                during, after = net.run(node, state, live)
                if during > limit or after > live:
                    break
                state[node] += 1
                live = after
                taken.append(node)
                waiting += [n for n in self.near[node] if n != node and n not in waiting]
        return tuple(state), live, tuple(taken)


def pull(net: RowNet, operand_order: dict[int, tuple[int, ...]], cuts: Sequence[int] = ()) -> tuple[int, ...]:
    """Depth first by demand: every cut, then every sink, is run to its end; operands of joins in the given order.

    Steps that cost nothing are taken as soon as they can be, so rows that nobody reads do not hold their inputs.
    """
    closure = _Closure(net)
    done, live = net.start()
    order: list[int] = []
    peak = live

    def advance(node: int) -> None:
        nonlocal done, live, peak
        during, live = net.run(node, done, live)
        done = (*done[:node], done[node] + 1, *done[node + 1 :])
        peak = max(peak, during)
        order.append(node)
        done, live, taken = closure.close(done, live, peak, closure.near[node])
        order.extend(taken)

    def demand(target: int) -> None:
        """One more step of `target`, and whatever it waits for, deepest first."""
        before = done[target]
        while done[target] == before:
            node: int | None = target
            deepest = target
            while node is not None:
                deepest = node
                node = _blocking(net, node, done, operand_order.get(node))
            advance(deepest)

    for target in (*cuts, *_sinks(net)):
        while done[target] < net.nodes[target].steps:
            demand(target)
    for node in range(len(net.nodes)):
        while done[node] < net.nodes[node].steps:
            demand(node)
    return tuple(order)


def _blocking(net: RowNet, node: int, done: Done, operands: tuple[int, ...] | None) -> int | None:
    """The producer whose rows the node's next step waits for."""
    item = net.nodes[node]
    for position in operands or range(len(item.reads)):
        read = item.reads[position]
        if net.made(read.tensor, done) < read.needed[done[node]]:
            return net.tensors[read.tensor].producer
    return None


def _sinks(net: RowNet) -> list[int]:
    return [
        i
        for i, n in enumerate(net.nodes)
        if any(net.tensors[t].is_kept or not net.tensors[t].readers for t in n.writes)
    ]


@dataclass(frozen=True)
class PullRule:
    """A way to pull: the operand order at some joins, and the nodes that are run to their end first."""

    operands: tuple[tuple[int, tuple[int, ...]], ...] = ()
    cuts: tuple[int, ...] = ()

    def order(self, net: RowNet) -> tuple[int, ...]:
        """The schedule it gives on `net`."""
        return pull(net, dict(self.operands), self.cuts)


def pull_rules(net: RowNet) -> list[tuple[PullRule, tuple[int, ...], int]]:
    """(rule, order, peak), best first: every operand order at up to MAX_JOINS joins; the best with one cut behind each
    node; and layer by layer, which is a cut behind every node.
    """
    joins = [i for i, n in enumerate(net.nodes) if len({r.tensor for r in n.reads}) > 1][:MAX_JOINS]
    options = [list(itertools.permutations(range(len(net.nodes[i].reads)))) for i in joins]
    picks = itertools.islice(itertools.product(*options), MAX_CANDIDATES)
    found = [_tried(net, PullRule(tuple(zip(joins, pick, strict=True)))) for pick in picks]
    operands = min(found, key=lambda item: item[2])[0].operands
    cuts = [(cut,) for cut in range(len(net.nodes) - 1)]
    found += [_tried(net, PullRule(operands, cut)) for cut in (*cuts, tuple(range(len(net.nodes))))]
    return sorted(found, key=lambda item: item[2])


def _tried(net: RowNet, rule: PullRule) -> tuple[PullRule, tuple[int, ...], int]:
    order = rule.order(net)
    return rule, order, peak_of(net, order)[0]


def search(net: RowNet, budget: int = STATE_BUDGET, ceiling: int | None = None) -> tuple[tuple[int, ...] | None, int]:
    """Best-first over step vectors: (an optimal order, its peak), or (None, a lower bound) when the budget is spent.

    Nothing above `ceiling` is looked at; (None, ceiling) says that no order is better than it.
    """
    closure = _Closure(net)
    start, live = net.start()
    everything = range(len(net.nodes) - 1, -1, -1)
    final = tuple(n.steps for n in net.nodes)
    queue: list[tuple[int, int, int, Done, int, int, tuple[int, ...]]] = [(live, 0, 0, start, live, -1, ())]
    trail: list[tuple[int, tuple[int, ...]]] = []
    seen: set[Done] = set()
    while queue:
        top, _, _, done, live, parent, arrived = heapq.heappop(queue)
        if ceiling is not None and top >= ceiling:
            return None, ceiling
        done, live, taken = closure.close(done, live, top, everything)
        if done in seen:
            continue
        seen.add(done)
        trail.append((parent, (*arrived, *taken)))
        here = len(trail) - 1
        if done == final:
            return _retrace(trail, here), top
        if len(seen) > budget:
            return None, top
        for node in everything:
            move = _move(net, node, done, live)
            if move is not None:
                nodes, during, state, after = move
                heapq.heappush(queue, (max(top, during), -sum(state), -node - 1, state, after, here, nodes))
    return None, ceiling if ceiling is not None else live


def _move(net: RowNet, node: int, done: Done, live: int) -> tuple[tuple[int, ...], int, Done, int] | None:
    """The node's next step after the rows from outside that it waits for: (nodes, peak, state and live bytes after it).

    None when it waits for another layer, and for rows from outside that some layer is still to read.
    """
    item, now = net.nodes[node], list(done)
    taken: list[int] = []
    peak = 0
    if now[node] < item.steps:
        for read in item.reads:
            source = net.tensors[read.tensor].producer
            while net.made(read.tensor, now) < read.needed[now[node]]:
                if source is None or not net.is_source(source):
                    return None
                taken.append(source)
                during, live = net.run(source, now, live)
                peak = max(peak, during)
                now[source] += 1
    if not net.is_ready(node, now):
        return None
    during, after = net.run(node, now, live)
    if net.is_source(node) and net.is_awaited(node, done):
        return None
    now[node] += 1
    return (*taken, node), max(peak, during), tuple(now), after


def _retrace(trail: list[tuple[int, tuple[int, ...]]], end: int) -> tuple[int, ...]:
    parts = []
    while end >= 0:
        parent, taken = trail[end]
        parts.append(taken)
        end = parent
    return tuple(node for part in reversed(parts) for node in part)


def best_row_orders(net: RowNet, budget: int = STATE_BUDGET, bound: int | None = None) -> list[RowOrder]:
    """Schedules to place, best peak first: the exact one when the search finishes, and the best pull orders.

    With a `bound` that is known already there is no search, only the pull orders.
    """
    found = list({order: peak for _, order, peak in pull_rules(net)}.items())
    ceiling = found[0][1]
    order, bound = search(net, budget, ceiling) if bound is None else (None, min(bound, ceiling))
    if order is not None:
        peak = peak_of(net, order)[0]
        found.insert(0, (order, peak))
        bound = peak
    method = "exact" if order is not None or bound == ceiling else "pull"
    return [RowOrder(nodes, peak, bound, method) for nodes, peak in found]
