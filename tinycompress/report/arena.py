"""The arena over time: which bytes hold what, from which layer or step to which; and its picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from tinycompress.errors import ConfigError
from tinycompress.report.model import AGAIN
from tinycompress.report.text import visible

SCHEMA = 1
_WIDTH, _LEFT, _RIGHT, _TOP, _HEIGHT = 960, 72, 8, 24, 300
"""Pixels: the whole picture, the plot's margins and its height."""
_LANE = 4
"""Pixels of a layer in the strip that shows which layer runs."""
_GOLDEN_ANGLE = 137.508
"""Degrees between the hues of two tensors: neighbours differ, whatever their number."""


@dataclass(frozen=True)
class Block:
    """`bytes` from `offset` that hold (part of) `name` from time `first` to `last`, both included; −1 is before.

    `kind` is tensor, scratch, sums (running sums of a streamed mean) or progress (between fed rows).
    """

    name: str
    kind: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class ArenaMap:
    """Blocks of one inference. Time counts `unit`: layers, or steps where rows stream.

    `layers[t]` is the layer that runs at time t, −1 where input rows arrive; `peak` the time of the largest live set.
    """

    schema: int
    arena_bytes: int
    unit: str
    layers: tuple[int, ...]
    peak: int
    blocks: tuple[Block, ...]


def to_json(arena: ArenaMap) -> str:
    """The map as compact, stable JSON text."""
    from tinycompress.codec import encode

    return json.dumps(encode(arena), separators=(",", ":")) + "\n"


def from_json(text: str, where: str = "arena.json") -> ArenaMap:
    """The map that `to_json` wrote; ConfigError TC-C110 when the text is not one."""
    from tinycompress.codec import CodecError, decode

    try:
        document: Any = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise CodecError(f"its schema is not {SCHEMA}")
        arena: ArenaMap = decode(ArenaMap, document)
        times = len(arena.layers)
        if not (times and 0 <= arena.peak < times and arena.arena_bytes > 0):
            raise CodecError("it holds no time")
    except (json.JSONDecodeError, CodecError) as error:
        raise ConfigError("TC-C110", f"not a map of an arena: {error}", where=where, fix=AGAIN) from None
    return arena


def live_at_peak(arena: ArenaMap) -> list[tuple[str, int]]:
    """What is live at the peak, largest first; bytes that two tensors share count once."""
    spots: dict[int, Block] = {}
    for block in arena.blocks:
        if block.first <= arena.peak <= block.last:
            spots.setdefault(block.offset, block)
    sizes: dict[str, int] = {}
    for block in spots.values():
        sizes[label(block)] = sizes.get(label(block), 0) + block.bytes
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def label(block: Block) -> str:
    """How people call a block."""
    named = {"scratch": f"scratch of {block.name}", "sums": f"running sums of {block.name}"}
    return named.get(block.kind, block.name)


def svg(arena: ArenaMap, names: Mapping[int, str], lower_bound: int) -> str:
    """The map as one inline SVG: time to the right, arena bytes upwards; `names` are those of the layers.

    Whatever the pointer rests on says what it is; the peak is framed, the lower bound a dashed line.
    """
    return "\n".join(_Picture(arena, names, lower_bound).lines())


def colours(arena: ArenaMap) -> dict[str, str]:
    """A colour for each tensor, in the order in which they appear; work memory is grey."""
    found = {label(b): "#9aa0a6" for b in arena.blocks if b.kind != "tensor"}
    tensors = dict.fromkeys(b.name for b in arena.blocks if b.kind == "tensor")
    return {**found, **{n: f"hsl({i * _GOLDEN_ANGLE % 360:.0f} 55% 62%)" for i, n in enumerate(tensors)}}


def _markup(text: str) -> str:
    return escape(visible(text))


class _Picture:
    def __init__(self, arena: ArenaMap, names: Mapping[int, str], lower_bound: int) -> None:
        self.arena, self.names, self.lower_bound = arena, names, lower_bound
        self.colours = colours(arena)
        self.is_streamed = arena.unit == "steps"
        self.lanes = _LANE * (max(arena.layers) + 1) if self.is_streamed else 0
        self.bottom = _TOP + _HEIGHT

    def x(self, time: float) -> float:
        return _LEFT + max(time, 0) * (_WIDTH - _LEFT - _RIGHT) / len(self.arena.layers)

    def y(self, byte: float) -> float:
        return self.bottom - byte * _HEIGHT / self.arena.arena_bytes

    def lines(self) -> Iterator[str]:
        height = self.bottom + self.lanes + 40
        yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="arena over time">'
        yield f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT}"/>'
        for block in self.arena.blocks:
            yield from self._block(block)
        yield from self._axes()
        yield from self._strip()
        yield from self._peak()
        yield "</svg>"

    def _block(self, block: Block) -> Iterator[str]:
        last = min(block.last, len(self.arena.layers) - 1)
        left, right = self.x(block.first), self.x(last + 1)
        top, height = self.y(block.offset + block.bytes), block.bytes * _HEIGHT / self.arena.arena_bytes
        said = label(block)
        since = "the start" if block.first < 0 else f"{self.arena.unit[:-1]} {block.first}"
        life = f"{since} to {self.arena.unit[:-1]} {last}"
        tip = _markup(f"{said}: {block.bytes:,} B at {block.offset:,}, {life}")
        shape = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{max(height, 0.5):.1f}"'
        yield f'<rect {shape} fill="{self.colours[said]}"><title>{tip}</title></rect>'
        if height > 12 and right - left > 7 * len(said):
            yield f'<text x="{left + 4:.1f}" y="{top + min(height / 2 + 4, 14):.1f}">{_markup(said)}</text>'

    def _axes(self) -> Iterator[str]:
        size = self.arena.arena_bytes
        for byte in (0, size // 2, size):
            yield f'<text class="end" x="{_LEFT - 6}" y="{self.y(byte) + 4:.1f}">{byte:,} B</text>'
        if self.lower_bound < size:
            y = self.y(self.lower_bound)
            yield f'<line class="bound" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            said = f"lower bound {self.lower_bound:,} B"
            yield f'<text class="end" x="{_WIDTH - _RIGHT - 4}" y="{y - 4:.1f}">{said}</text>'
        times = len(self.arena.layers)
        every = max(1, -(-times // 24))
        below = self.bottom + self.lanes
        for time in range(0, times, every):
            yield f'<text class="middle" x="{self.x(time + 0.5):.1f}" y="{below + 16}">{time}</text>'
        yield f'<text class="middle" x="{self.x(times / 2):.1f}" y="{below + 34}">{self.arena.unit[:-1]}</text>'

    def _strip(self) -> Iterator[str]:
        """Which layer runs at each step, first layer on top; layer by layer it would be the diagonal."""
        if not self.is_streamed:
            return
        layers = self.arena.layers
        start = 0
        for time in range(1, len(layers) + 1):
            if time < len(layers) and layers[time] == layers[start]:
                continue
            if (layer := layers[start]) >= 0:
                tip = _markup(f"layer {layer} {self.names.get(layer, '')}, from step {start}")
                left, width = self.x(start), self.x(time) - self.x(start)
                top = self.bottom + 2 + _LANE * layer
                yield (
                    f'<rect class="runs" x="{left:.1f}" y="{top}" width="{max(width, 0.8):.1f}" height="{_LANE - 1}">'
                    f"<title>{tip}</title></rect>"
                )
            start = time

    def _peak(self) -> Iterator[str]:
        peak, layer = self.arena.peak, self.arena.layers[self.arena.peak]
        left, width = self.x(peak), max(self.x(peak + 1) - self.x(peak), 1.0)
        yield f'<rect class="peak" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{_HEIGHT}"/>'
        live = sum(size for _, size in live_at_peak(self.arena))
        place = f"layer {layer} {self.names.get(layer, '')}".strip() if layer >= 0 else "input rows"
        step = f"step {peak}, " if self.is_streamed else ""
        anchor = "middle" if 200 < left < _WIDTH - 200 else ("end" if left >= _WIDTH - 200 else "")
        at = _WIDTH - _RIGHT if anchor == "end" else left + width / 2 if anchor else _LEFT
        yield f'<text class="{anchor}" x="{at:.1f}" y="{_TOP - 8}">peak: {step}{_markup(place)}, {live:,} B live</text>'
