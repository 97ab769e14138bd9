"""Arena offsets for rows: items of pieces with lifetimes, placed by first fit and the promotion of misfits.

An item is what has one address: a row; the rows of a contiguous tensor, each with its own lifetime; a layer's scratch,
which lives in each of its steps; an accumulator. Rows that one step makes may be one item as well, side by side:
kernels that pair pixels run over such rows as over one long row.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    @functools.cached_property
    def size(self) -> int:
        return max(p.offset + p.size for p in self.pieces)

    @functools.cached_property
    def table(self) -> NDArray[np.int64]:
        """Offsets, sizes, births and deaths of the pieces, a row each."""
        return np.array([(p.offset, p.size, p.birth, p.death) for p in self.pieces], dtype=np.int64).T

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
                found.append(scratch_item(item.name, item.scratch, times))
            if item.accumulator:
                piece = Piece(0, item.accumulator, times[0], times[-1])
                found.append(Item(f"{item.name}.accumulator", SCRATCH_ALIGN, (piece,)))
        return found

    def row_name(self, row: RowKey) -> str:
        return f"{self.net.tensors[row[0]].name}[{row[1]}]"


def scratch_item(layer: str, size: int, times: Sequence[int]) -> Item:
    """A layer's scratch of `size` bytes, which lives in each of its steps by itself."""
    return Item(f"{layer}.scratch", SCRATCH_ALIGN, tuple(Piece(0, size, t, t) for t in times))


class _Rivals:
    """For each item those that some piece of it lives with, and the distances at which the two would meet.

    Item i at address a and its rival j at address b meet when low < a − b < high.
    """

    def __init__(self, found: Sequence[Item]) -> None:
        self.tables = [item.table for item in found]
        self.owner = np.repeat(np.arange(len(found)), [table.shape[1] for table in self.tables])
        self.all = np.concatenate([np.zeros((4, 0), np.int64), *self.tables], axis=1)
        self.known: dict[int, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = {}

    def of(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(rivals, low, high) of an item."""
        if number not in self.known:
            offset, size, birth, death = self.all
            own = self.tables[number]
            together = (birth <= own[3][:, None]) & (death >= own[2][:, None]) & (self.owner != number)
            piece, rival = np.nonzero(together)
            low = offset[rival] - (own[0] + own[1])[piece]
            high = (offset + size)[rival] - own[0][piece]
            self.known[number] = (self.owner[rival], low, high)
        return self.known[number]

    def lowest(self, number: int, alignment: int, addresses: NDArray[np.int64]) -> int:
        """The lowest address at which an item meets no rival; one that is not placed yet is far away (UNPLACED)."""
        rival, low, high = self.of(number)
        if not len(rival):
            return 0
        at = addresses[rival]
        starts, stops = at + low, at + high
        by_start = starts.argsort()
        reached = np.maximum.accumulate(np.maximum(stops[by_start], 0))
        clear = np.concatenate([_ZERO, -(-reached // alignment) * alignment])
        fits = clear[:-1] <= starts[by_start]
        first = int(fits.argmax())
        return int(clear[first] if fits[first] else clear[-1])


UNPLACED = 1 << 40
_ZERO = np.zeros(1, np.int64)


def _first_fit(found: Sequence[Item], order: Sequence[int], rivals: _Rivals) -> tuple[int, NDArray[np.int64]]:
    """(arena bytes, address of each item of `found`) when they are placed in `order`."""
    addresses = np.full(len(found), UNPLACED, dtype=np.int64)
    top = 0
    for number in order:
        item = found[number]
        address = rivals.lowest(number, item.alignment, addresses)
        addresses[number] = address
        top = max(top, address + item.size)
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
    rivals = _Rivals(found)
    best: tuple[int, NDArray[np.int64]] | None = None
    for key in _ORDERS:
        order = sorted(range(len(found)), key=lambda number: key(found[number]))
        for _ in range(rounds):
            made = _first_fit(found, order, rivals)
            if best is None or made[0] < best[0]:
                best = made
            if best[0] <= bound:
                return best[0], _by_name(found, best[1])
            order = _promoted(found, order, made[1], bound, generator)
    assert best is not None
    return best[0], _by_name(found, best[1])


def _by_name(found: Sequence[Item], addresses: NDArray[np.int64]) -> dict[str, int]:
    return {item.name: int(address) for item, address in zip(found, addresses, strict=True)}


def fit_in(found: Sequence[Item], addresses: Mapping[str, int], item: Item, limit: int) -> int | None:
    """The lowest address of `item` beside all others, None when it ends above `limit` there."""
    others = [other for other in found if other.name != item.name]
    at = np.array([*(addresses[other.name] for other in others), UNPLACED], dtype=np.int64)
    address = _Rivals([*others, item]).lowest(len(others), item.alignment, at)
    return address if address + item.size <= limit else None


def _promoted(
    found: Sequence[Item], order: Sequence[int], addresses: NDArray[np.int64], bound: int, generator: random.Random
) -> list[int]:
    """The order with every item that ends above `bound` moved forward by up to PROMOTION of its length."""
    rank = {}
    for position, number in enumerate(order):
        misfits = addresses[number] + found[number].size > bound
        rank[number] = position - (generator.uniform(0, PROMOTION * len(order)) if misfits else 0.0)
    return sorted(order, key=lambda number: rank[number])
