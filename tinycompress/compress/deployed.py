"""The deployment's own resources at any group widths: the planner's memory, packed weights, counted work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from tinycompress.compress.groups import Groups
from tinycompress.cost.model import CostModel, Resources, latency_ms
from tinycompress.cost.scalar import Scalar, is_integral
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.kernels import KERNELS
from tinycompress.kernels.catalogue import KernelTable, KernelVariant
from tinycompress.passes import prepare_for_quantization


def smallest(table: KernelTable) -> KernelTable:
    """The table with every operator's variants ordered by the flash of their packed weights."""

    def packed_bytes(variant: KernelVariant) -> Callable[[Any, Graph], int]:
        return lambda op, graph: variant.pack(op, graph, Rounding.DOUBLE).weights_bytes

    return {op: tuple(replace(v, instructions=packed_bytes(v)) for v in variants) for op, variants in table.items()}


class Deployed:
    """Prices `graph` (batch norms and all) as the integer network that will be deployed; see `cost.CostModel`.

    At integer widths `ram_bytes` is the layer-by-layer plan's lower bound and state; `weights_bytes` is exact;
    `flash_bytes` adds estimated code; `instructions` and `latency_ms` (at `clock_hz`) are estimates of the fastest
    kernels. Memory is that of the smallest kernels, to which the planner resorts where a budget binds, or of the
    fastest ones with `prefer` "speed". Without `has_work` there are no instructions and no latency, in half the time.
    """

    def __init__(
        self,
        graph: Graph,
        groups: Groups,
        *,
        has_dsp: bool = True,
        clock_hz: float = 216e6,
        prefer: Literal["size", "speed"] = "size",
        has_work: bool = True,
    ) -> None:
        self.groups = groups
        self.clock_hz = clock_hz
        self._has_work = has_work
        view = prepare_for_quantization(graph)
        self._fast = CostModel(view, has_dsp=has_dsp)
        self._cost = self._fast
        if prefer == "size":
            self._cost = CostModel(view, kernels=smallest(KERNELS), has_dsp=has_dsp)
        self._made = tuple(name for op in view.ops for name in op.outputs)
        self._known: dict[tuple[int, ...], dict[str, Scalar]] = {}

    def evaluate(self, counts: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every resource by name when group g has `counts[g]` channels."""
        key = tuple(counts.get(g.name, g.size) for g in self.groups.all)
        if not all(is_integral(n) for n in key):
            return self.with_steps(counts)[0]
        if key not in self._known:
            self._known[key] = self.with_steps(counts)[0]
        return self._known[key]

    def with_steps(self, counts: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], tuple[Scalar, ...]]:
        """`evaluate`, and the live bytes of every step, from one pass over the network."""
        found = self.resources(counts)
        named = {
            "ram_bytes": found.ram_bytes,
            "arena_bytes": found.arena_bytes,
            "flash_bytes": found.flash_bytes,
            "weights_bytes": found.weights_bytes,
            "macs": found.macs,
        }
        if self._has_work:
            instructions = self._resources(self._fast, counts).instructions
            named |= {"instructions": instructions, "latency_ms": latency_ms(instructions, self.clock_hz)}
        return named, found.live_bytes

    def resources(self, counts: Mapping[str, Scalar]) -> Resources:
        """The cost model's own answer, layer by layer."""
        return self._resources(self._cost, counts)

    def _resources(self, cost: CostModel, counts: Mapping[str, Scalar]) -> Resources:
        widths = self.groups.tensor_widths(counts)
        return cost.resources({name: widths[name] for name in self._made if name in widths})
