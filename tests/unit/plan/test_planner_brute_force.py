"""The planner against brute force: every order, every choice of overwritten operand, every offset."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.unit.plan.networks import Net
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.kernels.catalogue import KernelTable, KernelVariant, PackedKernel
from tinycompress.plan import OverBudget, plan

GRAPHS = 520
WORD = 4


def _pack(op: o.Op, graph: Graph, rounding: Rounding) -> PackedKernel:
    return PackedKernel("none", ())


def _kernels(scratch: dict[str, int], in_place: dict[str, tuple[int, ...]]) -> KernelTable:
    """One fake kernel per operator type, whose scratch depends on the operator's name."""

    def bytes_of(op: o.Op, graph: Graph, rows: int) -> int:
        return scratch.get(op.name, 0)

    def variant(name: str, *positions: int) -> tuple[KernelVariant, ...]:
        return (KernelVariant(name, "none.h", "portable", _pack, scratch_bytes=bytes_of, in_place=positions),)

    return {
        o.FullyConnected: variant("fc"),
        o.Add: variant("add", *in_place["add"]),
        o.Table: variant("table", *in_place["table"]),
        o.Concat: variant("concat"),
    }


InPlace = dict[str, tuple[int, ...]]


def _random_graph(generator: random.Random) -> tuple[QuantGraph, KernelTable]:
    graph, scratch, rules = _random_layers(generator)
    return graph, _kernels(scratch, rules)


def _random_layers(generator: random.Random) -> tuple[QuantGraph, dict[str, int], InPlace]:
    """(graph, scratch bytes by operator, operands that may be overwritten by kind).

    At most 7 tensors: dense, add, table and concat over vectors of 1 to 5 words, with branches.
    """
    net = Net("random", generator.randrange(2**31))
    names = [net.input(4 * generator.randint(1, 5), name=f"in{i}") for i in range(generator.choice((1, 1, 1, 2)))]
    while len(names) < generator.randint(3, 7):
        source = generator.choice(names)
        same = [n for n in names if net.tensors[n].shape == net.tensors[source].shape and n != source]
        kind = generator.choice(("dense", "dense", "table", "add", "concat"))
        if kind == "add" and same:
            names.append(net.add(source, generator.choice(same)))
        elif kind == "table":
            names.append(net.table(source))
        elif kind == "concat" and len(names) > 1 and net.tensors[source].elements <= 12:
            other = generator.choice(names)
            names.append(net.concat(source, other, axis=0))
        else:
            names.append(net.dense(source, 4 * generator.randint(1, 5)))
    read = {n for op in net.ops for n in op.inputs}
    outputs = [op.outputs[0] for op in net.ops if op.outputs[0] not in read or generator.random() < 0.1]
    scratch = {op.name: 8 * generator.randint(1, 3) for op in net.ops if generator.random() < 0.3}
    rules = {"add": generator.choice(((0, 1), (0,), ())), "table": generator.choice(((0,), ()))}
    return net.build(*outputs), scratch, rules


@dataclass(frozen=True)
class _Block:
    """A piece of memory with the steps it is needed in; `unit` is its alignment."""

    words: int
    steps: frozenset[int]
    unit: int


def _orders(graph: QuantGraph) -> Iterator[tuple[o.Op, ...]]:
    for order in itertools.permutations(graph.ops):
        known = set(graph.input_names)
        for op in order:
            if not known.issuperset(op.inputs):
                break
            known.update(op.outputs)
        else:
            yield order


def _needed(graph: QuantGraph, order: Sequence[o.Op]) -> dict[str, tuple[int, int]]:
    """First and last step of every tensor."""
    spans = dict.fromkeys(graph.input_names, (0, 0))
    for step, op in enumerate(order):
        for name in (*op.outputs, *op.inputs):
            spans[name] = (spans[name][0] if name in spans else step, step)
    return {n: (first, len(order) - 1 if n in graph.outputs else last) for n, (first, last) in spans.items()}


def _layouts(graph: QuantGraph, kernels: KernelTable, order: Sequence[o.Op]) -> Iterator[list[_Block]]:
    """Blocks for every choice of overwriting operands."""
    spans = _needed(graph, order)
    choices: list[list[tuple[str, str] | None]] = []
    for step, op in enumerate(order):
        allowed: list[tuple[str, str] | None] = [None]
        positions = kernels[type(op)][0].in_place
        for name in set(op.inputs):
            uses = [i for i, n in enumerate(op.inputs) if n == name]
            same = graph.tensors[name].shape == graph.tensors[op.output].shape
            if set(uses) <= set(positions) and same and spans[name][1] == step and name not in graph.outputs:
                allowed.append((op.output, name))
        choices.append(allowed)
    for picks in itertools.product(*choices):
        owner = {name: name for name in spans}
        for pick in picks:
            if pick:
                owner[pick[0]] = owner[pick[1]]
        blocks = []
        for root in dict.fromkeys(owner.values()):
            steps = {t for n in spans if owner[n] == root for t in range(spans[n][0], spans[n][1] + 1)}
            blocks.append(_Block(graph.tensors[root].bytes // WORD, frozenset(steps), 1))
        for step, op in enumerate(order):
            size = kernels[type(op)][0].scratch_bytes(op, graph, 1)
            if size:
                blocks.append(_Block(size // WORD, frozenset({step}), 2))
        yield blocks


def _fits(blocks: Sequence[_Block], capacity: int, placed: list[tuple[_Block, int]]) -> bool:
    """True when the blocks can be placed within `capacity` words; every offset is tried."""
    if len(placed) == len(blocks):
        return True
    block = blocks[len(placed)]
    for at in range(0, capacity - block.words + 1, block.unit):
        clash = any(block.steps & b.steps and at < o2 + b.words and o2 < at + block.words for b, o2 in placed)
        if not clash and _fits(blocks, capacity, [*placed, (block, at)]):
            return True
    return False


def _smallest_arena(graph: QuantGraph, kernels: KernelTable) -> int:
    """Bytes of the smallest arena over all orders, overwriting choices and offsets."""
    layouts = {}
    for order in _orders(graph):
        for blocks in _layouts(graph, kernels, order):
            key = tuple(sorted((b.words, tuple(sorted(b.steps)), b.unit) for b in blocks))
            peak = max(sum(b.words for b in blocks if t in b.steps) for t in range(len(order)))
            layouts[key] = (peak, sorted(blocks, key=lambda b: -b.words * len(b.steps)))
    capacity = min(peak for peak, _ in layouts.values())
    while True:
        if any(peak <= capacity and _fits(blocks, capacity, []) for peak, blocks in layouts.values()):
            return capacity * WORD
        capacity += 1


@pytest.mark.parametrize("part", range(8))
def test_plan_is_the_smallest_of_all_orders_and_offsets(part: int) -> None:
    generator = random.Random(part)
    features = np.zeros(4, dtype=int)
    for _ in range(GRAPHS // 8):
        graph, kernels = _random_graph(generator)
        made = plan(graph, kernels=kernels)
        assert made.arena_bytes == _smallest_arena(graph, kernels), graph
        assert made.arena_is_optimal
        readers = [sum(n in op.inputs for op in graph.ops) for n in graph.tensors]
        overwritten = len({p.offsets for p in made.placements.values()}) < len(made.placements)
        scratch = any(layer.scratch_bytes for layer in made.layers)
        features += [max(readers) > 1, overwritten, scratch, len(list(_orders(graph))) > 1]
    assert (features > 10).all(), "the random graphs must branch, overwrite, use scratch and leave a choice of order"


def test_a_budget_finds_the_smallest_arena_of_all_kernels() -> None:
    """Every layer with scratch has a leaner, slower kernel: no choice among them, no order and no offset needs less."""
    generator = random.Random(99)
    for _ in range(40):
        graph, scratch, rules = _random_layers(generator)
        leaner = {name: generator.choice((0, 8)) for name in scratch}
        lean = _kernels(leaner, rules)
        table = {kind: (*variants, *(replace(v, name=f"lean {v.name}") for v in lean[kind]))
                 for kind, variants in _kernels(scratch, rules).items()}  # fmt: skip
        picks = itertools.product(*[((name, size), (name, leaner[name])) for name, size in scratch.items()])
        least = min(_smallest_arena(graph, _kernels(dict(pick), rules)) for pick in picks)
        for ram_bytes in (0, least - 1):
            with pytest.raises(OverBudget, match=f"needs {least} B.*; no plan of whole layers needs less"):
                plan(graph, kernels=table, ram_bytes=ram_bytes)
        assert plan(graph, kernels=table, ram_bytes=least).arena_bytes == least
