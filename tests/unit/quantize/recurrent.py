"""Float LSTM networks for tests of their quantization."""

from __future__ import annotations

import numpy as np

from tests.unit.quantize.small import Builder
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, State
from tinycompress.ir.tensor import DType, Tensor
from tinycompress.ir.verify import verify


def add_lstm(b: Builder, x: str, units: int, *, is_kept: bool = False, clip: float = 0.0) -> tuple[str, list[State]]:
    """An LSTM over `x`: (its output, its states). Without `is_kept` every inference starts from zeros."""
    name, c = f"lstm{len(b.ops)}", b.tensors[x].shape[-1]
    states = []
    for kind in ("h", "c"):
        if is_kept:
            b.tensors[f"{name}_{kind}"] = Tensor(f"{name}_{kind}", (units,), DType.FLOAT32)
            states.append(State(f"{name}_{kind}", f"{name}_{kind}_next"))
        else:
            b.constant(f"{name}_{kind}", np.zeros(units))
    y = f"{name}_out"
    b.tensors[y] = Tensor(y, (*b.tensors[x].shape[:-1], units), DType.FLOAT32)
    for kind in ("h", "c"):
        b.tensors[f"{name}_{kind}_next"] = Tensor(f"{name}_{kind}_next", (units,), DType.FLOAT32)
    b.ops.append(
        o.LSTM(
            name=name, inputs=(x, f"{name}_h", f"{name}_c"), outputs=(y, f"{name}_h_next", f"{name}_c_next"),
            input_weights=b.random(f"{name}_w", 4, units, c, scale=c**-0.5),
            recurrent_weights=b.random(f"{name}_r", 4, units, units, scale=units**-0.5),
            bias=b.random(f"{name}_b", 4, units, scale=0.3), cell_clip=clip,
        )
    )  # fmt: skip
    return y, states


def lstm_network(*, steps: int = 24, is_kept: bool = False, clip: float = 0.0) -> Graph:
    """Two LSTMs over a sequence of six features, the last step, a fully connected layer."""
    b = Builder()
    x = b.input("x", (steps, 6))
    first, kept = add_lstm(b, x, 12, is_kept=is_kept, clip=clip)
    second, more = add_lstm(b, first, 8, is_kept=is_kept)
    last = b.op(o.Slice, second, begin=(steps - 1, 0), end=(steps, 8), strides=(1, 1))
    y = b.fc(b.op(o.Reshape, last, shape=(8,)), 5)
    return verify(Graph("small", tuple(b.inputs), (y,), b.tensors, tuple(b.ops), (*kept, *more)))


def embedding_network() -> Graph:
    """Indices to vectors, an LSTM over them, a fully connected layer over every step."""
    b = Builder()
    b.input("x", (10,))
    b.tensors["x"] = Tensor("x", (10,), DType.INT32)
    found = b.op(o.Embedding, "x", table=b.random("table", 20, 6))
    y, _ = add_lstm(b, found, 7)
    return b.graph(b.fc(y, 3))


def sequences(graph: Graph, count: int = 48, seed: int = 3) -> np.ndarray:
    """Smooth random sequences, as sensors give them; indices for a network that takes those."""
    rng = np.random.default_rng(seed)
    tensor = graph.tensors[graph.input_names[0]]
    if tensor.dtype is DType.INT32:
        return rng.integers(0, 20, (count, *tensor.shape)).astype(np.int32)
    return (0.4 * rng.normal(size=(count, *tensor.shape)).cumsum(axis=1)).astype(np.float32)
