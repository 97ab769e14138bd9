"""A graph under training: its module, channel groups, gates on weights, and physical cuts with optimiser state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from tinycompress.compress.coupling import INPUT
from tinycompress.compress.groups import Groups, Slot, find_groups
from tinycompress.compress.shrink import Keep, kept_mask, shrink
from tinycompress.execute.torch_module import Batch, GraphModule, parts, take
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import real_batches, source_axes
from tinycompress.ir.tensor import Array

_TORCH_AXIS: dict[type[o.Op], dict[int, int]] = {
    o.Conv2D: {0: 0, 3: 1},
    o.TransposeConv2D: {0: 1, 3: 0},
    o.DepthwiseConv2D: {2: 0},
}
"""Where an axis of `weights` stands in the module's parameter; axes of all other constants stay."""
EVALUATION_BATCH = 512
OptimizerState = dict[str, dict[str, Tensor]]
"""State of each parameter, by ``op.field``."""


@dataclass(eq=False)
class WeightFactors:
    """Factors on weights inside a GraphModule: gates of channels, masks of single weights. Stands in for a quantizer.

    A gate multiplies the input slices that read a channel, which is what zeroing the channel at its consumers means: a
    gate of 0 computes what the physically smaller network computes.
    """

    factors: dict[str, Tensor] = field(default_factory=dict)

    def constant(self, op: o.Op, field: str, value: Tensor) -> Tensor:
        factor = self.factors.get(op.name) if field == "weights" else None
        return value if factor is None else value * factor

    def activation(self, name: str, value: Tensor) -> Tensor:
        return value


class Network:
    """`graph` on a device, ready to train. `groups` number its channels; `factors` act on its weights."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.device = device
        self.groups: Groups = find_groups(graph)
        self.factors = WeightFactors()
        self.module = GraphModule(graph, self.factors).to(device)
        self._ops = {op.name: op for op in graph.ops}

    def graph(self) -> Graph:
        """The graph with present weights."""
        return self.module.to_graph()

    def parameters(self) -> Iterator[tuple[str, str, nn.Parameter]]:
        """(operator, field, parameter) in operator order."""
        for op in self.module.graph.ops:
            for name in ("weights", "bias", "gamma", "beta", "alpha"):
                if isinstance(getattr(op, name, None), str):
                    yield op.name, name, self.module.parameter(op.name, name)

    def set_gates(self, gates: Mapping[str, Tensor]) -> None:
        """Puts a factor per channel on every consumer's input slices; groups left out get none."""
        rows = [gates.get(g.name, torch.ones(g.size, device=self.device)) for g in self.groups.all]
        flat = torch.cat([row.to(self.device) for row in rows])
        factors: dict[str, Tensor] = {}
        for slot, pieces in zip(self.groups.slots, self.groups.slot_parts, strict=True):
            if slot.role == INPUT and any(g in gates for g, _ in pieces):
                axis = self._axis(slot)
                weights = self.module.parameter(slot.op, "weights")
                shape = [1] * weights.ndim
                shape[axis] = -1
                factors[slot.op] = flat[torch.from_numpy(slot.channels).to(self.device)].view(shape)
        self.factors.factors = factors

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Puts a 0/1 mask on the weights of operators, by operator name, in the module's layout."""
        self.factors.factors = dict(masks)

    def _axis(self, slot: Slot) -> int:
        op = self._ops[slot.op]
        if slot.constant != _weights(op):
            return slot.axis
        return _TORCH_AXIS.get(type(op), {}).get(slot.axis, slot.axis)

    def smaller(self, keep: Keep, optimizer: torch.optim.Optimizer | None) -> tuple[Network, OptimizerState]:
        """The network with only the kept channels, and the optimiser's state cut alike, keyed ``op.field``."""
        graph = self.graph()
        mask = kept_mask(self.groups, keep)
        states: dict[str, dict[str, Tensor]] = {}
        for op, name, parameter in self.parameters():
            if optimizer is not None and parameter in optimizer.state:
                state = optimizer.state[parameter]
                states[f"{op}.{name}"] = {k: self._cut(op, name, parameter, v, mask) for k, v in state.items()}
        return Network(shrink(graph, keep, self.groups), self.device), states

    def _cut(self, op: str, name: str, parameter: nn.Parameter, value: Tensor, mask: Array) -> Tensor:
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            return value
        constant = getattr(self._ops[op], name)
        for slot in self.groups.slots:
            if slot.constant == constant and slot.op == op:
                stays = torch.from_numpy(np.flatnonzero(mask[slot.channels])).to(value.device)
                value = value.index_select(self._axis(slot), stays)
        return value.clone()

    def inputs(self, samples: Array | Mapping[str, Array]) -> Batch:
        """User samples as the batch of real values that the module takes, on the device."""
        batches = real_batches(samples, self.module.graph).values()
        found = tuple(torch.from_numpy(np.ascontiguousarray(batch)).to(self.device) for batch in batches)
        return found[0] if len(found) == 1 else found

    def run(self, inputs: Batch) -> Batch:
        """The module's output, or a tuple of several, as training needs them."""
        found: Batch = self.module(*parts(inputs))
        return found

    @torch.no_grad()
    def outputs(self, inputs: Batch) -> Batch:
        """Outputs in evaluation mode, in batches; gates and masks apply."""
        was_training = self.module.training
        self.module.eval()
        count = len(parts(inputs)[0])
        starts = range(0, count, EVALUATION_BATCH)
        found = [parts(self.run(take(inputs, slice(i, i + EVALUATION_BATCH)))) for i in starts]
        self.module.train(was_training)
        whole = tuple(torch.cat(pieces) for pieces in zip(*found, strict=True))
        return whole[0] if len(whole) == 1 else whole

    @torch.no_grad()
    def recalibrate(self, inputs: Batch, batches: int, size: int) -> None:
        """Recomputes batch-norm statistics as plain averages over `batches` batches: essential after channels went."""
        usual = self.module.momentum
        self.module.train()
        for index in range(min(batches, len(parts(inputs)[0]) // size)):
            self.module.momentum = 1.0 / (index + 1)
            self.run(take(inputs, slice(index * size, (index + 1) * size)))
        self.module.momentum = usual


def source_outputs(outputs: Batch, graph: Graph) -> Batch:
    """A module's outputs in the axis order of the user's own model, as the user's targets are."""
    found = []
    for name, values in zip(graph.outputs, parts(outputs), strict=True):
        layout = graph.output_layout(name)
        if len(layout) == 2 and values.ndim == 4:
            values = values.flatten(1, 2)
        found.append(values.permute(0, *(1 + axis for axis in source_axes(layout))) if layout else values)
    return found[0] if len(found) == 1 else tuple(found)


def _weights(op: o.Op) -> str | None:
    return getattr(op, "weights", None)


def initialise(graph: Graph, seed: int) -> Graph:
    """Fresh weights: Kaiming normal for filters, zeros for biases, identity batch norms; the structure is unchanged."""
    rng = np.random.default_rng(seed)
    tensors = dict(graph.tensors)

    def put(name: str | None, value: Array) -> None:
        if name is not None:
            tensors[name] = tensors[name].with_data(value.astype(np.float32))

    for op in graph.ops:
        weights = _weights(op)
        if weights is not None:
            shape = graph.tensors[weights].shape
            fan_in = int(np.prod(shape[:2])) if isinstance(op, o.DepthwiseConv2D) else int(np.prod(shape[1:]))
            gain = 1.0 if isinstance(op, o.FullyConnected) else 2.0
            put(weights, rng.standard_normal(shape) * np.sqrt(gain / fan_in))
            bias = getattr(op, "bias", None)
            if bias is not None:
                put(bias, np.zeros(graph.tensors[bias].shape))
        if isinstance(op, o.BatchNorm):
            width = graph.tensors[op.gamma].shape
            put(op.gamma, np.ones(width))
            put(op.beta, np.zeros(width))
            put(op.mean, np.zeros(width))
            put(op.variance, np.ones(width))
    return replace(graph, tensors=tensors)
