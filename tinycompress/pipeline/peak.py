"""What is in the arena at a plan's peak: the rows of which tensors, scratch, running sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinycompress.plan import Plan, Step
from tinycompress.plan.model import INPUT_ROWS, LayerPlan
from tinycompress.plan.rows import row_windows

Row = tuple[str, int]
"""(tensor that owns the bytes, row)."""


@dataclass(frozen=True)
class LiveTensor:
    """One buffer of the live set at the peak; of a streamed tensor the `bytes` of the rows that live then."""

    name: str
    bytes: int
    source: str


def live_at_peak(plan: Plan) -> tuple[LiveTensor, ...]:
    """The live set of the peak layer, largest first; bytes that two tensors share count once.

    Streamed, it is that of the layer's largest step; layer by layer, of all its steps: whole tensors.
    """
    if not plan.steps:
        return ()
    steps = [t for t, step in enumerate(plan.steps) if step.layer == plan.peak_layer]
    peak = max(steps, key=lambda t: plan.live_bytes[t]) if plan.schedule == "streamed" else plan.peak_layer
    rows = Rows(plan)
    sizes: dict[str, int] = {}
    spots: set[int] = set()
    for (name, row), born in rows.born.items():
        placement = plan.placements[name]
        if born <= peak <= rows.last[name, row] and placement.offsets[row] not in spots:
            spots.add(placement.offsets[row])
            sizes[name] = sizes.get(name, 0) + placement.row_bytes
    live = [LiveTensor(name, size, plan.graph.tensors[name].source) for name, size in sizes.items()]
    layer = plan.layers[plan.peak_layer]
    if layer.scratch_bytes:
        live.append(LiveTensor(f"scratch of {layer.op.name}", layer.scratch_bytes, ""))
    for other in plan.layers:
        when = [t for t, step in enumerate(plan.steps) if step.layer == other.index]
        if other.accumulator_bytes and when[0] <= peak <= when[-1]:
            live.append(LiveTensor(f"running sums of {other.op.name}", other.accumulator_bytes, ""))
    if plan.progress_bytes:
        live.append(LiveTensor("progress between rows", plan.progress_bytes, ""))
    return tuple(sorted(live, key=lambda t: (-t.bytes, t.name)))


class Rows:
    """When each row is made and last needed, in steps, or in layers where whole ones run; −1 is before the first."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.owner = {view.output: view.inputs[0] for view in plan.views}
        self.born: dict[Row, int] = {}
        self.last: dict[Row, int] = {}
        for name in plan.graph.input_names:
            if name != plan.fed_input:
                self._make(name, range(self._height(name)), -1)
        whole = plan.schedule == "layers"
        for number, step in enumerate(plan.steps):
            time = step.layer if whole else number
            for name, made in self._made(step):
                self._make(name, range(self._height(name)) if whole else made, time)
            for name, read in self._read(step):
                self._need(name, range(self._height(name)) if whole else read, time)
        for name in (*plan.graph.outputs, *(s.write for s in plan.graph.states)):
            self._need(name, range(self._height(name)), len(plan.steps))

    def _height(self, name: str) -> int:
        return len(self.plan.placements[name].offsets)

    def _make(self, name: str, rows: range, time: int) -> None:
        for row in rows:
            self.born[name, row] = self.last[name, row] = time

    def _need(self, name: str, rows: range, time: int) -> None:
        """Rows of a view are the rows of its owner that hold their bytes."""
        own = self.plan.placements[name].row_bytes
        while name in self.owner:
            name = self.owner[name]
        placement = self.plan.placements[name]
        if placement.in_state or not rows:
            return
        for row in range(rows.start * own // placement.row_bytes, -(-rows.stop * own // placement.row_bytes)):
            self.last[name, row] = time

    def _made(self, step: Step) -> Iterator[tuple[str, range]]:
        if step.layer == INPUT_ROWS:
            assert self.plan.fed_input is not None
            yield self.plan.fed_input, range(step.first_row, step.first_row + step.rows)
            return
        layer = self.plan.layers[step.layer]
        for name in layer.op.outputs:
            height = self._height(name)
            if layer.accumulator_bytes:
                yield name, range(height if self._is_last_sum(layer, step) else 0)
            elif layer.kernel.whole_input:
                yield name, range(height)
            else:
                yield name, range(step.first_row, step.first_row + step.rows)

    def _is_last_sum(self, layer: LayerPlan, step: Step) -> bool:
        return step.first_row + step.rows == self._height(layer.op.inputs[0])

    def _read(self, step: Step) -> Iterator[tuple[str, range]]:
        if step.layer == INPUT_ROWS:
            return
        layer = self.plan.layers[step.layer]
        for window in row_windows(layer.op, self.plan.graph, layer.kernel):
            height = self._height(window.tensor)
            span = window.span(step.first_row, step.rows, height)
            yield window.tensor, range(max(0, span.start), min(height, span.stop))
