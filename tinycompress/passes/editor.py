"""Edits a graph operator by operator, keeping producer and consumer maps, and gives back a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Op
from tinycompress.ir.tensor import DType, Tensor

GraphT = TypeVar("GraphT", bound=Graph)


class Editor:
    """A mutable view of one graph; `finish` makes the result. Operators are addressed by name and may be replaced."""

    def __init__(self, graph: Graph) -> None:
        self.original = graph
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self._order: list[str] = [op.name for op in graph.ops]
        self._ops: dict[str, Op] = {op.name: op for op in graph.ops}
        self._producer: dict[str, str] = {t: op.name for op in graph.ops for t in op.outputs}
        self._readers: dict[str, list[str]] = {}
        for op in graph.ops:
            self._register(op)
        visible = {*graph.outputs, *graph.input_names}
        for state in graph.states:
            visible |= {state.read, state.write} | ({state.initial} if state.initial else set())
        self._visible = visible

    def _register(self, op: Op) -> None:
        for tensor in (*op.inputs, *op.constants()):
            self._readers.setdefault(tensor, []).append(op.name)

    def _unregister(self, op: Op) -> None:
        for tensor in (*op.inputs, *op.constants()):
            self._readers[tensor].remove(op.name)

    def ops(self) -> Iterator[Op]:
        """The operators in order, each as it is when its turn comes: edits while iterating are seen."""
        for name in list(self._order):
            if name in self._ops:
                yield self._ops[name]

    def producer(self, tensor: str) -> Op | None:
        """The operator that makes `tensor` now."""
        name = self._producer.get(tensor)
        return None if name is None else self._ops[name]

    def consumers(self, tensor: str) -> list[Op]:
        """The operators that read `tensor` now, each once, in order of registration."""
        return [self._ops[name] for name in dict.fromkeys(self._readers.get(tensor, ()))]

    def is_visible(self, tensor: str) -> bool:
        """True for graph inputs, outputs and state, whose names and values must stay."""
        return tensor in self._visible

    def feeds_only(self, tensor: str, op: Op) -> bool:
        """True when `op` reads `tensor` once and nothing else does."""
        return self._readers.get(tensor) == [op.name] and not self.is_visible(tensor)

    def constant(self, name: str, data: NDArray[Any], like: Tensor | None = None) -> str:
        """Adds a constant under a free name close to `name`; `like` lends its source and quantization."""
        free, n = name, 2
        while free in self.tensors:
            free, n = f"{name}_{n}", n + 1
        if like is None:
            self.tensors[free] = Tensor(free, tuple(data.shape), DType(str(data.dtype)), data=data)
        else:
            self.tensors[free] = replace(like.with_data(data), name=free)
        return free

    def activation(self, name: str, like: Tensor, shape: tuple[int, ...]) -> str:
        """Adds an activation tensor under a free name close to `name`, with the type and scale of `like`."""
        free, n = name, 2
        while free in self.tensors:
            free, n = f"{name}_{n}", n + 1
        self.tensors[free] = replace(like, name=free, shape=shape, data=None)
        return free

    def free_op_name(self, name: str) -> str:
        """`name`, or a numbered variant no operator has."""
        free, n = name, 2
        while free in self._ops:
            free, n = f"{name}_{n}", n + 1
        return free

    def update(self, old: Op, new: Op) -> Op:
        """`new` stands where `old` stood (the name may change); returns `new`."""
        self._unregister(old)
        for tensor in old.outputs:
            self._producer.pop(tensor, None)
        del self._ops[old.name]
        self._order[self._order.index(old.name)] = new.name
        self._ops[new.name] = new
        self._register(new)
        self._producer.update(dict.fromkeys(new.outputs, new.name))
        return new

    def insert_before(self, anchor: Op, op: Op) -> Op:
        """Adds `op` just before `anchor`."""
        self._order.insert(self._order.index(anchor.name), op.name)
        self._ops[op.name] = op
        self._register(op)
        self._producer.update(dict.fromkeys(op.outputs, op.name))
        return op

    def remove(self, op: Op) -> None:
        """Takes `op` out; its outputs have no producer afterwards."""
        self._unregister(op)
        for tensor in op.outputs:
            if self._producer.get(tensor) == op.name:
                del self._producer[tensor]
        del self._ops[op.name]
        self._order.remove(op.name)

    def absorb(self, producer: Op, consumer: Op, **changes: Any) -> Op:
        """`producer`, with `changes`, makes `consumer`'s output itself; `consumer` goes. Sources are joined."""
        self.remove(consumer)
        source = tuple(dict.fromkeys((*producer.source, *consumer.source)))
        return self.update(producer, replace(producer, outputs=consumer.outputs, source=source, **changes))

    def bypass(self, op: Op) -> bool:
        """Removes an operator whose output equals its first input; False when both names are visible."""
        before, after = op.inputs[0], op.output
        if not self.is_visible(after):
            self.remove(op)
            for reader in self.consumers(after):
                self.update(reader, reader.renamed({after: before}))
            return True
        maker = self.producer(before)
        if maker is None or self.is_visible(before):
            return False
        self.remove(op)
        self.update(maker, maker.renamed({before: after}))
        for reader in self.consumers(before):
            self.update(reader, reader.renamed({before: after}))
        return True

    def finish(self, graph: GraphT) -> GraphT:
        """The edited graph, of the type of the one given (the one this editor was made from)."""
        return graph.with_ops(self.ops(), self.tensors)
