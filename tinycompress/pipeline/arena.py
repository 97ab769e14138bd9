"""The arena over time, as a plan lays it out: what the report draws."""

from __future__ import annotations

from collections.abc import Iterator

from tinycompress.pipeline.peak import Rows
from tinycompress.plan import Plan
from tinycompress.report import arena as a


def arena_map(plan: Plan) -> a.ArenaMap:
    """Every tensor's rows, scratch, running sums and progress with the time each of them holds its bytes.

    Rows of one tensor that lie side by side and live equally long are one block. Layer by layer, time counts layers;
    otherwise steps.
    """
    is_whole = plan.schedule == "layers"
    layers = tuple(layer.index for layer in plan.layers) if is_whole else tuple(step.layer for step in plan.steps)
    peak = plan.peak_layer if is_whole else max(range(len(layers)), key=lambda t: plan.live_bytes[t])
    end = len(layers) - 1
    blocks = [*_tensors(plan, end), *_work(plan, layers), *_lasting(plan, layers)]
    return a.ArenaMap(
        schema=a.SCHEMA,
        arena_bytes=plan.arena_bytes,
        unit="layers" if is_whole else "steps",
        layers=layers,
        peak=peak,
        blocks=tuple(blocks),
    )


def _tensors(plan: Plan, end: int) -> Iterator[a.Block]:
    rows = Rows(plan)
    open_block: a.Block | None = None
    for (name, row), born in sorted(rows.born.items(), key=lambda item: (rows.born[item[0][0], 0], *item[0])):
        placement = plan.placements[name]
        if placement.in_state:
            continue
        offset, last = placement.offsets[row], min(rows.last[name, row], end)
        b = open_block
        if b and (b.name, b.offset + b.bytes, b.first, b.last) == (name, offset, born, last):
            open_block = a.Block(name, "tensor", b.offset, b.bytes + placement.row_bytes, born, last)
            continue
        if b:
            yield b
        open_block = a.Block(name, "tensor", offset, placement.row_bytes, born, last)
    if open_block:
        yield open_block


def _work(plan: Plan, layers: tuple[int, ...]) -> Iterator[a.Block]:
    """Scratch of each run of one layer's steps."""
    start = 0
    for time in range(1, len(layers) + 1):
        if time < len(layers) and layers[time] == layers[start]:
            continue
        if layers[start] >= 0 and (layer := plan.layers[layers[start]]).scratch_bytes:
            name, size = layer.op.name, layer.scratch_bytes
            yield a.Block(name, "scratch", layer.scratch_offset, size, start, time - 1)
        start = time


def _lasting(plan: Plan, layers: tuple[int, ...]) -> Iterator[a.Block]:
    for layer in plan.layers:
        if layer.accumulator_bytes:
            when = [time for time, index in enumerate(layers) if index == layer.index]
            name, size = layer.op.name, layer.accumulator_bytes
            yield a.Block(name, "sums", layer.accumulator_offset, size, when[0], when[-1])
    if plan.progress_bytes:
        name = "progress between rows"
        yield a.Block(name, "progress", plan.progress_offset, plan.progress_bytes, 0, len(layers) - 1)
