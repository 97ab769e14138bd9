"""Arena offsets for rows: items of pieces with lifetimes, placed by first fit and the promotion of misfits.

An item is what has one address: a row; the rows of a contiguous tensor, each with its own lifetime; a layer's scratch,
which lives in each of its steps; an accumulator. Rows that one step makes may be one item as well, side by side:
kernels that pair pixels run over such rows as over one long row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompress.cost.scalar import round_up
from tinycompress.cost.working_set import SCRATCH_ALIGN, TENSOR_ALIGN
from tinycompress.plan.row_net import RowNet

ROUNDS = 50
"""First-fit rounds per starting order."""
PROMOTION = 0.3
"""How far forward a misfit moves at most, as a part of the order's length."""

RowKey = tuple[int, int]
"""(tensor number, row)."""


@dataclass(frozen=True)
class Piece:
    """`size` bytes at `offset` of its item, needed in steps birth … death."""

    offset: int
    size: int
    birth: int
    death: int


@dataclass(frozen=True)
class Item:
    """Pieces with one address. `rows` are the rows that live here and their offsets within the item."""

    name: str
    alignment: int
    pieces: tuple[Piece, ...]
    rows: tuple[tuple[RowKey, int], ...] = ()

    @property
    def size(self) -> int:
        return max(p.offset + p.size for p in self.pieces)

    @property
    def lifetime(self) -> int:
        return sum(p.death - p.birth + 1 for p in self.pieces)


def items(net: RowNet, order: Sequence[int], *, side_by_side: bool = False) -> tuple[Item, ...]:
    """Everything that needs an address when the nodes' steps run in `order`; `side_by_side`: rows of one step too."""
    return _Tracer(net, side_by_side).trace(order)


class _Tracer:
    """Runs a schedule and notes when each row is made, last read, and written over which other row."""

    def __init__(self, net: RowNet, side_by_side: bool) -> None:
        self.net = net
        self.side_by_side = side_by_side
        self.birth: dict[RowKey, int] = {}
        self.death: dict[RowKey, int] = {}
        self.home: dict[RowKey, RowKey] = {}
        self.scratch: dict[int, list[int]] = {}

    def trace(self, order: Sequence[int]) -> tuple[Item, ...]:
        net = self.net
        for index, tensor in enumerate(net.tensors):
            if tensor.producer is None:
                for row in range(tensor.rows):
                    self.birth[index, row] = self.death[index, row] = 0
        done = list(net.start()[0])
        for time, node in enumerate(order):
            self.step(time, node, done)
            done[node] += 1
        end = max(0, len(order) - 1)
        for index, tensor in enumerate(net.tensors):
            if tensor.is_kept:
                self.death.update({(index, row): end for row in range(tensor.rows)})
        return self.collect()

    def step(self, time: int, node: int, done: Sequence[int]) -> None:
        item, step = self.net.nodes[node], done[node]
        reused = self.net.overwrites(node, done)
        for made, tensor in zip(item.made, item.writes, strict=True):
            for row in range(made[step], made[step + 1]):
                self.birth[tensor, row] = self.death[tensor, row] = time
                if reused is not None:
                    self.home[tensor, row] = (item.reads[reused].tensor, row)
        for read in item.reads:
            for row in range(read.free[step], read.needed[step]):
                self.death[read.tensor, row] = time
        if item.scratch or item.accumulator:
            self.scratch.setdefault(node, []).append(time)

    def collect(self) -> tuple[Item, ...]:
        chains = self.chains()
        blocks: dict[int, list[tuple[RowKey, Piece]]] = {}
        steps: dict[tuple[int, int], list[tuple[RowKey, list[RowKey], Piece]]] = {}
        for root, rows in chains.items():
            birth, death = min(self.birth[r] for r in rows), max(self.death[r] for r in rows)
            block = next((r for r in rows if self.net.tensors[r[0]].is_block), None)
            slot = self.net.tensors[root[0]].slot_bytes
            if block is None:
                mates = steps.setdefault((root[0], self.birth[root] if self.side_by_side else root[1]), [])
                mates.append((root, rows, Piece(len(mates) * slot, slot, birth, death)))
            else:
                at = block[1] * slot
                pieces = [(r, Piece(at, slot, birth, death)) for r in rows]
                blocks.setdefault(block[0], []).extend(pieces)
        result = [
            Item(
                self.row_name(mates[0][0]),
                TENSOR_ALIGN,
                tuple(piece for _, _, piece in mates),
                tuple((row, piece.offset) for _, rows, piece in mates for row in rows),
            )
            for mates in steps.values()
        ]
        for tensor, entries in blocks.items():
            distinct = tuple(dict.fromkeys(piece for _, piece in entries))
            placed = tuple((row, piece.offset) for row, piece in entries)
            result.append(Item(self.net.tensors[tensor].name, TENSOR_ALIGN, distinct, placed))
        return (*result, *self.work_memory())

    def chains(self) -> dict[RowKey, list[RowKey]]:
        """Rows that share one place, by the row that is there first."""
        found: dict[RowKey, list[RowKey]] = {}
        for row in self.birth:
            first = row
            while first in self.home:
                first = self.home[first]
            found.setdefault(first, []).append(row)
        return found

    def work_memory(self) -> list[Item]:
        found = []
        for node, times in self.scratch.items():
            item = self.net.nodes[node]
            if item.scratch:
                pieces = tuple(Piece(0, item.scratch, t, t) for t in times)
                found.append(Item(f"{item.name}.scratch", SCRATCH_ALIGN, pieces))
            if item.accumulator:
                piece = Piece(0, item.accumulator, times[0], times[-1])
                found.append(Item(f"{item.name}.accumulator", SCRATCH_ALIGN, (piece,)))
        return found

    def row_name(self, row: RowKey) -> str:
        return f"{self.net.tensors[row[0]].name}[{row[1]}]"


class _Arena:
    """The pieces placed so far, as arrays."""

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self.at: NDArray[np.int64] = np.zeros((4, capacity), dtype=np.int64)

    def lowest(self, item: Item) -> int:
        """The lowest address at which no piece of the item meets a placed one that lives with it."""
        begin, end, birth, death = self.at[:, : self.count]
        low, high = [], []
        for piece in item.pieces:
            rival = (birth <= piece.death) & (death >= piece.birth)
            low.append(begin[rival] - piece.offset - piece.size)
            high.append(end[rival] - piece.offset)
        if not low:
            return 0
        starts, stops = np.concatenate(low), np.concatenate(high)
        address = 0
        for i in np.argsort(starts, kind="stable"):
            if starts[i] >= address:
                break
            if stops[i] > address:
                address = int(round_up(int(stops[i]), item.alignment))
        return address

    def put(self, item: Item, address: int) -> None:
        for piece in item.pieces:
            begin = address + piece.offset
            self.at[:, self.count] = (begin, begin + piece.size, piece.birth, piece.death)
            self.count += 1


def _first_fit(order: Sequence[Item], capacity: int) -> tuple[int, dict[str, int]]:
    """(arena bytes, address of each item)."""
    arena = _Arena(capacity)
    addresses: dict[str, int] = {}
    top = 0
    for item in order:
        address = arena.lowest(item)
        top = max(top, address + item.size)
        arena.put(item, address)
        addresses[item.name] = address
    return top, addresses


_ORDERS: tuple[Callable[[Item], tuple[float, ...]], ...] = (
    lambda i: (-i.size, i.pieces[0].birth),
    lambda i: (i.pieces[0].birth, -i.size),
    lambda i: (-i.size * i.lifetime,),
)


def place_rows(found: Sequence[Item], bound: int, rounds: int = ROUNDS, seed: int = 0) -> tuple[int, Mapping[str, int]]:
    """(arena bytes, address of each item): first fit under several orders, improved by moving the misfits up.

    After each round the items that end above `bound` are placed earlier in the next; stops when the bound is met.
    """
    generator = random.Random(seed)
    capacity = sum(len(item.pieces) for item in found)
    best: tuple[int, dict[str, int]] | None = None
    for key in _ORDERS:
        order = sorted(found, key=key)
        for _ in range(rounds):
            made = _first_fit(order, capacity)
            if best is None or made[0] < best[0]:
                best = made
            if best[0] <= bound:
                return best
            order = _promoted(order, made[1], bound, generator)
    assert best is not None
    return best


def _promoted(order: Sequence[Item], addresses: Mapping[str, int], bound: int, generator: random.Random) -> list[Item]:
    """The order with every item that ends above `bound` moved forward by up to PROMOTION of its length."""
    rank = {}
    for position, item in enumerate(order):
        misfits = addresses[item.name] + item.size > bound
        rank[item.name] = position - (generator.uniform(0, PROMOTION * len(order)) if misfits else 0.0)
    return sorted(order, key=lambda item: rank[item.name])
