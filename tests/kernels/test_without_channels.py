"""Costs of layers whose channels are all pruned."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels import harness as h
from tinycompress.cost.variants import usable
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Rounding
from tinycompress.ir.tensor import QParams
from tinycompress.kernels import KERNELS


@pytest.mark.parametrize(
    "op",
    [
        o.Slice(name="op", inputs=("x",), outputs=("y",), begin=(1, 1, 0), end=(5, 6, 0), strides=(1, 1, 1)),
        o.Transpose(name="op", inputs=("x",), outputs=("y",), perm=(1, 0, 2)),
        o.Pad(name="op", inputs=("x",), outputs=("y",), amounts=((1, 1), (1, 1), (0, 0))),
        o.Concat(name="op", inputs=("x", "x"), outputs=("y",), axis=2),
        o.Mul(name="op", inputs=("x", "row"), outputs=("y",)),
        o.Mul(name="op", inputs=("x", "x"), outputs=("y",)),
        o.TransposeConv2D(name="op", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=(2, 2)),
    ],
    ids=lambda op: op.kind,
)
def test_layers_without_channels_have_a_cost(op: o.Op) -> None:
    """Pruning prices a layer between its widths, down to none."""
    x, row = h.quantized("x", (6, 7, 0), 0.05, 3), h.quantized("row", (1, 1, 0), 0.05, 3)
    tensors = [x, row]
    tensors.append(h.constant("w", np.zeros((4, 3, 3, 0), np.int8), 0.01))
    tensors.append(h.constant("b", np.zeros(4, np.int32), 0.0005))
    graph = h.one_op_graph(
        op, tensors, [QParams.per_tensor(0.5 if isinstance(op, o.Mul) else 0.05, 3)], Rounding.DOUBLE
    )
    for variant in usable(op, graph, KERNELS, has_dsp=True):
        assert variant.instructions is not None
        assert variant.instructions(op, graph) >= 0
        assert variant.scratch_bytes(op, graph, 2) >= 0
        assert variant.pack(op, graph, graph.rounding).weights_bytes >= 0
        assert variant.code_of(op, graph).own_bytes > 0
