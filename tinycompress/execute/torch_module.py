"""A Graph as an ordinary trainable nn.Module, and back.

`GraphModule(graph)` trains as the user wrote the network: BatchNorm and Dropout are live in `train()` mode. Parameters
are named after operators (`layers.<op>.<field>`), output channels first as torch has them. `to_graph` writes the values
back; a module that was not trained gives the very same constants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tinycompress.execute.torch_functions import TORCH, Context
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array, DType

__all__ = ["TORCH", "Batch", "FakeQuantizer", "GraphModule", "parts", "take"]

Batch = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""One tensor whose first axis is the batch, or several: inputs and outputs in the graph's order, targets by name."""

_BUFFERS = {"mean", "variance"}
_TO_TORCH: dict[type[o.Op], tuple[int, ...]] = {
    o.Conv2D: (0, 3, 1, 2),
    o.DepthwiseConv2D: (2, 0, 1),
    o.TransposeConv2D: (3, 0, 1, 2),
}
"""How the axes of `weights` are permuted for torch; depthwise weights get an axis of 1 as their second."""


class FakeQuantizer(Protocol):
    """Simulates quantization inside a GraphModule; a Module, so that learned scales train and save with it."""

    def constant(self, op: o.Op, field: str, value: Tensor) -> Tensor:
        """An operator's constant, output channels first, as the deployed kernel sees it."""

    def activation(self, name: str, value: Tensor) -> Tensor:
        """An activation as the deployed tensor of that name holds it."""


class GraphModule(nn.Module):
    """`graph` as a module: batched channels-last inputs `[n, *shape]` in, one tensor or a tuple out.

    Constants that operators own (weights, biases, batch-norm factors, slopes) are parameters; batch-norm statistics and
    constant operands of element-wise operators are buffers. State starts at its initial value (zeros) in every call.
    """

    def __init__(self, graph: Graph, quant: FakeQuantizer | None = None, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.graph = graph
        self.momentum = momentum
        self.layers = nn.ModuleDict()
        self._keys: dict[str, str] = {}
        for op in graph.ops:
            self._add_layer(op)
        for name in dict.fromkeys(n for op in graph.ops for n in op.inputs if graph.tensors[n].is_constant):
            self.register_buffer(self._operand_key(name), _tensor(graph.tensors[name].constant))
        self.quant = quant

    def _add_layer(self, op: o.Op) -> None:
        fields = {f: getattr(op, f) for f in _constant_fields(op)}
        if not fields:
            return
        layer = nn.Module()
        for field, name in fields.items():
            value = _tensor(_to_torch(op, field, self.graph.tensors[name].constant))
            if field in _BUFFERS:
                layer.register_buffer(field, value)
            else:
                layer.register_parameter(field, nn.Parameter(value))
        key = f"{op.name}_" if hasattr(nn.ModuleDict, op.name) else op.name
        self._keys[op.name] = key
        self.layers[key] = layer

    @staticmethod
    def _operand_key(name: str) -> str:
        return "constant_" + "".join(c if c.isalnum() else "_" for c in name)

    def parameter(self, op_name: str, field: str = "weights") -> nn.Parameter:
        """The parameter behind an operator's constant; output channels are axis 0. KeyError when there is none."""
        found: nn.Parameter = self.layers[self._keys[op_name]].get_parameter(field)
        return found

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Outputs for batched inputs in the graph's order."""
        values = self._run(inputs, None)
        outputs = tuple(values[name] for name in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def tensors(self, *inputs: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Every activation (or those in `names`) by name, as fake quantization leaves it."""
        values = self._run(inputs, None if names is None else frozenset(names))
        return {n: v for n, v in values.items() if names is None or n in names}

    def _run(self, inputs: tuple[Tensor, ...], only: frozenset[str] | None) -> dict[str, Tensor]:
        graph = self.graph
        values = {
            name: self._finished(name, x) for name, x in zip(graph.input_names, inputs, strict=True)
        } | self._initial_state(inputs[0])
        missing = None if only is None else set(only) - set(values)
        for op in graph.ops:
            operands = [self._operand(name, values) for name in op.inputs]
            for name, result in zip(op.outputs, TORCH[type(op)](op, operands, self._context(op)), strict=True):
                values[name] = self._finished(name, result)
                if missing is not None:
                    missing.discard(name)
            if missing is not None and not missing:
                break
        return values

    def _operand(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return values[name] if name in values else self.get_buffer(self._operand_key(name))

    def _finished(self, name: str, value: Tensor) -> Tensor:
        return value if self.quant is None else self.quant.activation(name, value)

    def _initial_state(self, like: Tensor) -> dict[str, Tensor]:
        states: dict[str, Tensor] = {}
        for state in self.graph.states:
            shape = self.graph.tensors[state.read].shape
            value = torch.zeros(shape, device=like.device)
            if state.initial is not None:
                value = _tensor(self.graph.tensors[state.initial].constant).to(like.device)
            states[state.read] = value.expand(len(like), *shape)
        return states

    def _context(self, op: o.Op) -> Context:
        constants: dict[str, Tensor] = {}
        if op.name in self._keys:
            layer = self.layers[self._keys[op.name]]
            for field in _constant_fields(op):
                value = getattr(layer, field)
                constants[field] = value if self.quant is None else self.quant.constant(op, field, value)
        tensors = self.graph.tensors
        return Context(
            constants=constants,
            ranks=tuple(-1 if tensors[n].is_constant else len(tensors[n].shape) for n in op.inputs),
            output_shape=tensors[op.outputs[0]].shape,
            is_training=self.training,
            momentum=self.momentum,
        )

    def to_graph(self) -> Graph:
        """The graph with the module's present values. Exact: float32 in, float32 out."""
        changed = dict(self.graph.tensors)
        for op in self.graph.ops:
            if op.name not in self._keys:
                continue
            layer = self.layers[self._keys[op.name]]
            for field in _constant_fields(op):
                name = getattr(op, field)
                value = getattr(layer, field).detach().cpu().numpy().astype(np.float32)
                changed[name] = changed[name].with_data(_to_ir(op, field, value))
        return replace(self.graph, tensors=changed)


def _constant_fields(op: o.Op) -> list[str]:
    """Fields of float constants (a quantized function's table is not one)."""
    if isinstance(op, o.Table):
        return []
    names = set(op.constants())
    return [f.name for f in fields(op) if f.metadata.get("constant") and getattr(op, f.name) in names]


def _to_torch(op: o.Op, field: str, value: Array) -> Array:
    if value.dtype != DType.FLOAT32.numpy:
        raise ValueError(f"operator {op.name} has {value.dtype} {field}: only float graphs train")
    perm = _TO_TORCH.get(type(op)) if field == "weights" else None
    if perm is None:
        return value
    moved: Array = value.transpose(perm)
    return np.expand_dims(moved, 1) if isinstance(op, o.DepthwiseConv2D) else moved


def _to_ir(op: o.Op, field: str, value: Array) -> Array:
    perm = _TO_TORCH.get(type(op)) if field == "weights" else None
    if perm is None:
        return np.ascontiguousarray(value)
    plain = value[:, 0] if isinstance(op, o.DepthwiseConv2D) else value
    return np.ascontiguousarray(plain.transpose(tuple(np.argsort(perm))))


def _tensor(value: Array) -> Tensor:
    return torch.tensor(np.ascontiguousarray(value))


def parts(batch: Batch) -> tuple[Tensor, ...]:
    """Every tensor of a batch, in order."""
    if isinstance(batch, Tensor):
        return (batch,)
    return tuple(batch.values()) if isinstance(batch, dict) else batch


def take(batch: Batch, index: Tensor | slice) -> Batch:
    """The samples at `index`."""
    if isinstance(batch, Tensor):
        return batch[index]
    if isinstance(batch, dict):
        return {name: tensor[index] for name, tensor in batch.items()}
    return tuple(tensor[index] for tensor in batch)
