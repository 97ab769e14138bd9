"""The graph: tensors by name, operators in topological order, inputs, outputs and state. Immutable."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from tinycompress.ir.ops import Op
from tinycompress.ir.tensor import Tensor


@dataclass(frozen=True)
class Preprocess:
    """How user data becomes the input's real values: real = (user · scale − mean) / std, per channel or scalar.

    `value_range` is the documented range of the user's data, e.g. (0, 255) for uint8 images.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    value_range: tuple[float, float] | None = None

    @property
    def is_identity(self) -> bool:
        return self.scale == 1.0 and set(self.mean) == {0.0} and set(self.std) == {1.0}


@dataclass(frozen=True)
class GraphInput:
    """An input as the user knows it: layout and dtype of their data, and the preprocessing that travels along.

    `source_layout` is the user's axis order without batch ("CHW", "HWC", "CT", "TC", "C" …); tensors inside are HWC.
    """

    tensor: str
    source_layout: str = ""
    source_dtype: str = "float32"
    preprocess: Preprocess = Preprocess()


@dataclass(frozen=True)
class State:
    """A tensor kept between inferences: `read` is its value at the start, `write` the one to keep; starts as `initial`.

    `initial` names a constant tensor, or is None for "all zero point".
    """

    read: str
    write: str
    initial: str | None = None


class Rounding(enum.Enum):
    """Requantization rounding (METHODS B4.2): `double` is TFLM's and CMSIS-NN's default, `single` is LiteRT's."""

    DOUBLE = "double"
    SINGLE = "single"


@dataclass(frozen=True)
class Graph:
    """A network. `ops` are in a valid execution order; every tensor an op names is in `tensors`.

    Construct, then check with `ir.verify.verify`; passes return new graphs. `notes` are sentences for the report
    (e.g. that a float softmax tail was cut). `output_layouts` is the user's axis order of each output, as
    `GraphInput.source_layout` is an input's; empty when every output has the order of its tensor.
    """

    name: str
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    states: tuple[State, ...] = ()
    notes: tuple[str, ...] = ()
    output_layouts: tuple[str, ...] = ()
    _producer: Mapping[str, Op] = field(init=False, repr=False, compare=False, default_factory=dict)
    _consumers: Mapping[str, tuple[Op, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        producer: dict[str, Op] = {}
        consumers: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in op.outputs:
                producer[name] = op
            for name in (*dict.fromkeys(op.inputs), *op.constants()):
                consumers.setdefault(name, []).append(op)
        object.__setattr__(self, "_producer", producer)
        object.__setattr__(self, "_consumers", {k: tuple(v) for k, v in consumers.items()})

    def __reduce__(self) -> tuple[object, ...]:
        state = {"tensors": dict(self.tensors)}
        fields = {n: getattr(self, n) for n in self._init_fields() if n != "tensors"}
        return _rebuild, (type(self), {**fields, **state})

    @classmethod
    def _init_fields(cls) -> tuple[str, ...]:
        return tuple(n for n, f in cls.__dataclass_fields__.items() if f.init)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name (KeyError when absent)."""
        return self.tensors[name]

    def producer(self, tensor: str) -> Op | None:
        """The op that makes `tensor`; None for inputs, constants and state."""
        return self._producer.get(tensor)

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        """Ops that read `tensor` (as input or constant), in execution order, each once."""
        return self._consumers.get(tensor, ())

    def output_layout(self, tensor: str) -> str:
        """The user's axis order of an output; empty when it is the tensor's own."""
        return dict(zip(self.outputs, self.output_layouts, strict=False)).get(tensor, "")

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(i.tensor for i in self.inputs)

    @property
    def parameters(self) -> int:
        """Number of constant elements that operators own (weights and biases; tables and scales not counted)."""
        names = {n for op in self.ops for n in op.constants()}
        return sum(self.tensors[n].elements for n in names)

    def with_ops(self, ops: Iterable[Op], tensors: Mapping[str, Tensor] | None = None) -> Self:
        """The same graph with other ops (and tensors); tensors nobody names any more are dropped."""
        ops = tuple(ops)
        pool = self.tensors if tensors is None else tensors
        used = {*self.input_names, *self.outputs}
        for op in ops:
            used.update(op.inputs, op.outputs, op.constants())
        for state in self.states:
            used.update({state.read, state.write} | ({state.initial} if state.initial else set()))
        return replace(self, ops=ops, tensors={n: t for n, t in pool.items() if n in used})


def _rebuild(cls: type[Graph], values: dict[str, object]) -> Graph:
    return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class QuantGraph(Graph):
    """A Graph verified to be integer-only, with its rounding; what the numpy reference executes: the oracle.

    Make one with `ir.verify.to_quant_graph`, which raises ModelError where a float tensor or a missing quantization
    remains.
    """

    rounding: Rounding = Rounding.DOUBLE
