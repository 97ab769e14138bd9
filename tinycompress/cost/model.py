"""The cost model: memory, flash, MACs and instructions of a network at any channel counts, as the planner sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinycompress.cost.code import code_bytes
from tinycompress.cost.layer_facts import LayerCosts, LayerFacts
from tinycompress.cost.macs import op_macs
from tinycompress.cost.order import best_order
from tinycompress.cost.scalar import Scalar, largest, plain, total
from tinycompress.cost.soft_shapes import ShapeMap, product, soft_shapes
from tinycompress.cost.working_set import Workload, buffers, is_view, live_bytes, workload
from tinycompress.ir.graph import Graph
from tinycompress.ir.rows import reads_padding
from tinycompress.kernels.catalogue import KernelTable

CYCLES_PER_INSTRUCTION = 0.87
"""Cortex-M7, one network measured both ways (CMSIS-NN on an STM32F7): an estimate."""
LATENCY_ERROR = 0.4
"""Relative error of a latency estimated from instructions until a board has calibrated it."""


@dataclass(frozen=True)
class LayerCost:
    """One operator that needs code. `live_bytes` is the live set while it runs."""

    name: str
    op: str
    kernel: str
    macs: Scalar
    weights_bytes: Scalar
    scratch_bytes: Scalar
    instructions: Scalar
    live_bytes: Scalar


@dataclass(frozen=True)
class Resources:
    """What a network needs. On integer counts everything is an int.

    `arena_bytes` is the lower bound of the layer-by-layer plan (inputs, outputs and scratch included), `ram_bytes` adds
    the state; `weights_bytes` is exact, `flash_bytes` adds an estimate of the code; `instructions` is an estimate.
    """

    arena_bytes: Scalar
    ram_bytes: Scalar
    weights_bytes: Scalar
    flash_bytes: Scalar
    macs: Scalar
    instructions: Scalar
    layers: tuple[LayerCost, ...]

    @property
    def live_bytes(self) -> tuple[Scalar, ...]:
        """Live set of each layer in execution order; `arena_bytes` is the largest."""
        return tuple(layer.live_bytes for layer in self.layers) or (self.arena_bytes,)

    @property
    def peak_layer(self) -> str:
        """Name of the operator at the peak."""
        return max(self.layers, key=lambda layer: plain(layer.live_bytes)).name if self.layers else ""


def latency_ms(instructions: Scalar, clock_hz: float) -> Scalar:
    """Estimated milliseconds of one inference, ± LATENCY_ERROR."""
    return instructions * (CYCLES_PER_INSTRUCTION * 1e3 / clock_hz)


class CostModel:
    """Prices one graph at any channel counts; kernel facts are cached between calls.

    Give it the graph as it will be quantized: batch norms folded, activations fused. A float graph is priced as int8.
    """

    def __init__(self, graph: Graph, *, kernels: KernelTable | None = None, has_dsp: bool = True) -> None:
        if kernels is None:
            from tinycompress.kernels import KERNELS

            kernels = KERNELS
        self.graph = graph
        self._costs = LayerCosts(graph, kernels, has_dsp=has_dsp)
        self._ops = tuple(op for op in graph.ops if not is_view(op, graph))

    def resources(self, channels: Mapping[str, Scalar] | None = None) -> Resources:
        """Resources when the activations named in `channels` have that many channels, ints or torch scalars.

        Name the outputs of convolutions and fully connected layers; the other activations follow. Memory, MACs and
        (between integers) kernel facts carry gradients to the counts.
        """
        shapes = soft_shapes(self.graph, channels or {})
        facts = {op.name: self._costs.facts(op, shapes) for op in self._ops}
        work = self._workload(shapes, facts)
        order = best_order(work).indices
        live = live_bytes(buffers(work, order), len(order))
        layers = tuple(
            LayerCost(
                name=op.name,
                op=op.kind,
                kernel=facts[op.name].kernel,
                macs=op_macs(op, shapes),
                weights_bytes=facts[op.name].weights_bytes,
                scratch_bytes=facts[op.name].scratch_bytes,
                instructions=facts[op.name].instructions,
                live_bytes=live[position],
            )
            for position, op in enumerate(self._ops[i] for i in order)
        )
        arena = largest(live)
        weights = total(layer.weights_bytes for layer in layers) + self._padding_bytes(shapes, facts)
        return Resources(
            arena_bytes=arena,
            ram_bytes=arena + sum(self.graph.tensors[s.read].bytes for s in self.graph.states),
            weights_bytes=weights,
            flash_bytes=weights + code_bytes(fact.code for fact in facts.values()),
            macs=total(layer.macs for layer in layers),
            instructions=total(layer.instructions for layer in layers),
            layers=layers,
        )

    def _padding_bytes(self, shapes: ShapeMap, facts: Mapping[str, LayerFacts]) -> Scalar:
        """Constant rows that stand for vertical padding: the longest per distinct zero point."""
        rows: dict[int, list[Scalar]] = {}
        for op in self._ops:
            if facts[op.name].needs_zero_row and reads_padding(op, self.graph):
                row = product(shapes[op.inputs[0]][1:]) * self._itemsize(op.inputs[0])
                rows.setdefault(self._costs.zero_point(op.inputs[0]), []).append(row)
        return total(largest(found) for found in rows.values())

    def _itemsize(self, tensor: str) -> int:
        return self.graph.tensors[tensor].dtype.itemsize if self.graph.tensors[tensor].qparams is not None else 1

    def _workload(self, shapes: ShapeMap, facts: Mapping[str, LayerFacts]) -> Workload:
        sizes = {name: product(shapes[name]) * self._itemsize(name) for name in self.graph.tensors}
        scratch = {name: fact.scratch_bytes for name, fact in facts.items()}
        return workload(self.graph, scratch, {name: fact.in_place for name, fact in facts.items()}, sizes)
