"""Portable kernels on layers of ordinary size, for the target: two shapes of each, to see that estimates scale."""

from __future__ import annotations

import numpy as np

from tests.kernels import harness as h
from tests.kernels.attention_graphs import layer_norm_graph, matmul_graph
from tests.kernels.dsp_image import Case
from tests.kernels.recurrent_graphs import recurrent
from tests.oracle.wide_graphs import WIDE_STEPS, wide_graph
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams
from tinycompress.kernels import PORTABLE

SIZES = ((8, 8, 8), (12, 10, 32))


def _case(name: str, graph: QuantGraph, rng: np.random.Generator) -> Case:
    (op,) = graph.ops
    variant = next(v for v in PORTABLE[type(op)] if v.supports(op, graph))
    return Case(f"{variant.name}.{name}", variant, graph, {n: h.fill(rng, graph.tensors[n]) for n in graph.input_names})


def _unary(op: o.Op, shape: tuple[int, ...], y: QParams, *constants: h.Tensor) -> QuantGraph:
    return h.one_op_graph(op, [h.quantized("x", shape, 0.05, -3), *constants], [y], Rounding.DOUBLE)


def _weighted(rng: np.random.Generator) -> list[tuple[str, QuantGraph]]:
    graphs: list[tuple[str, QuantGraph]] = []
    for shape in SIZES:
        c = shape[2]
        pad = (1, 1, 1, 1)
        graphs += [
            (f"1x1c{c}", h.conv_graph(rng, shape=shape, out_channels=c, kernel=(1, 1))),
            (f"3x3c{c}", h.conv_graph(rng, shape=shape, out_channels=c, padding=pad)),
            (f"groups{c}", h.conv_graph(rng, shape=shape, out_channels=c, padding=pad, groups=4)),
            (f"3x3c{c}", h.depthwise_graph(rng, shape=shape, padding=pad)),
            (f"5x3c{c}", h.depthwise_graph(rng, shape=shape, kernel=(5, 3), stride=(2, 2))),
            (f"i{16 * c}", h.fully_connected_graph(rng, shape=(16 * c,), outputs=c)),
        ]
        up = o.TransposeConv2D(name="up", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=(2, 2))
        weights = rng.integers(-127, 128, (c // 2, 3, 3, c)).astype(np.int8)
        graphs.append((f"s2c{c}", h.weighted_graph(rng, up, shape, weights, 0, c // 2, True, Rounding.DOUBLE)))
    return graphs


def _binary(rng: np.random.Generator) -> list[tuple[str, QuantGraph]]:
    graphs: list[tuple[str, QuantGraph]] = []
    for shape in SIZES:
        a, b = h.quantized("a", shape, 0.05, 3), h.quantized("b", shape, 0.05, 3)
        for kind in (o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum):
            op = kind(name="op", inputs=("a", "b"), outputs=("y",))
            graphs.append((f"c{shape[2]}", h.one_op_graph(op, [a, b], [a.quantization], Rounding.DOUBLE)))
        graphs += [(f"c{shape[2]}{'t' * t}", matmul_graph(rng, shape, 9, is_transposed=t)) for t in (False, True)]
        join = o.Concat(name="op", inputs=("a", "b"), outputs=("y",), axis=2)
        graphs.append((f"c{shape[2]}", h.one_op_graph(join, [a, b], [a.quantization], Rounding.DOUBLE)))
        graphs.append((f"c{shape[2]}", h.one_op_graph(join, [a, b], [QParams.per_tensor(0.07, 0)], Rounding.DOUBLE)))
        rows = o.Concat(name="op", inputs=("a", "b"), outputs=("y",), axis=0)
        graphs.append((f"c{shape[2]}", h.one_op_graph(rows, [a, b], [a.quantization], Rounding.DOUBLE)))
        graphs.append((f"c{shape[2]}", h.one_op_graph(rows, [a, b], [QParams.per_tensor(0.07, 0)], Rounding.DOUBLE)))
    return graphs


def _others(rng: np.random.Generator) -> list[tuple[str, QuantGraph]]:
    graphs: list[tuple[str, QuantGraph]] = [(f"c{c}", layer_norm_graph(rng, (12, c))) for c in (16, 64)]
    same, other = QParams.per_tensor(0.05, -3), QParams.per_tensor(0.07, 5)
    names = {"name": "op", "inputs": ("x",), "outputs": ("y",)}
    table = h.constant("t", rng.integers(-128, 128, 256).astype(np.int8))
    for shape in SIZES:
        height, width, c = shape
        alpha = h.constant("a", rng.integers(-128, 128, (c,)).astype(np.int8), 0.007)
        vectors = (height * width // 4, c)
        cases: list[tuple[o.Op, tuple[int, ...], QParams, tuple[h.Tensor, ...]]] = [
            (o.AveragePool2D(**names, kernel=(2, 2), stride=(2, 2)), shape, same, ()),
            (o.AveragePool2D(**names, kernel=(height, width), stride=(1, 1)), shape, same, ()),
            (o.MaxPool2D(**names, kernel=(3, 3), stride=(2, 2)), shape, same, ()),
            (o.Mean(**names, axes=(0, 1)), shape, other, ()),
            (o.Pad(**names, amounts=((1, 1), (1, 1), (0, 0))), shape, same, ()),
            (o.Reshape(**names, shape=(width, height * c)), shape, same, ()),
            (o.Transpose(**names, perm=(1, 0, 2)), shape, same, ()),
            (o.Slice(**names, begin=(1, 1, 0), end=shape, strides=(1, 1, 1)), shape, same, ()),
            (o.Softmax(**names), vectors, QParams.per_tensor(1 / 256, -128), ()),
            (o.LogSoftmax(**names), vectors, QParams.per_tensor(1 / 16, 127), ()),
            (o.Clamp(**names, activation=o.RELU), shape, same, ()),
            (o.Clamp(**names, activation=o.RELU), shape, other, ()),
            (o.PReLU(**names, alpha="a"), shape, other, (alpha,)),
            (o.Table(**names, function=o.Function.GELU, table="t"), shape, other, (table,)),
            (o.Quantize(**names), shape, other, ()),
            (o.ResizeNearest(**names, size=(2 * height, 2 * width)), shape, same, ()),
            (o.ResizeBilinear(**names, size=(2 * height, 2 * width)), shape, same, ()),
        ]
        for i, (op, input_shape, y, constants) in enumerate(cases):
            graphs.append((f"{op.kind}{i}c{c}", _unary(op, input_shape, y, *constants)))
    return graphs


def _asymmetric(rng: np.random.Generator) -> list[tuple[str, QuantGraph]]:
    graphs: list[tuple[str, QuantGraph]] = []
    for shape in SIZES:
        c = shape[2]
        graphs += [
            (f"3x3c{c}", h.conv_graph(rng, shape=shape, out_channels=c, padding=(1, 1, 1, 1), per_channel=False)),
            (f"3x3c{c}", h.depthwise_graph(rng, shape=shape, padding=(1, 1, 1, 1), per_channel=False)),
            (f"i{16 * c}", h.fully_connected_graph(rng, shape=(16 * c,), outputs=c)),
        ]
    return [(name, h.with_weights_zero_point(graph, 9)) for name, graph in graphs]


def all_cases() -> list[Case]:
    """Every portable variant from int8 to one int8 output, on two sizes."""
    rng = np.random.default_rng(41)
    graphs = (*_weighted(rng), *_asymmetric(rng), *_binary(rng), *_others(rng), *recurrent())
    return [_case(name, graph, rng) for name, graph in graphs]


def copies() -> list[Case]:
    """Joined blocks of 1 to 40 bytes: at any address, and where all are words."""
    rng = np.random.default_rng(44)
    made = []
    for total, lengths in ((41, range(1, 41)), (44, range(4, 44, 4))):
        for n in lengths:
            tensors = [h.quantized(name, (2, 3, c), 0.05, 3) for name, c in (("a", n), ("b", total - n))]
            op = o.Concat(name="op", inputs=("a", "b"), outputs=("y",), axis=2)
            graph = h.one_op_graph(op, tensors, [tensors[0].quantization], Rounding.DOUBLE)
            made.append(_case(f"{n}of{total}", graph, rng))
    return made


def other_types() -> list[Case]:
    """Every portable variant of int16 activations on small random graphs, and lookups by int32 indices."""
    rng = np.random.default_rng(43)
    graphs = [
        (f"{kind.lower()}{seed}", wide_graph(seed, (kind,), 1)) for kind in sorted(WIDE_STEPS) for seed in range(4)
    ]
    x = h.quantized("x", (7,), 1.0, 0, DType.INT32)
    table = h.constant("t", rng.integers(-128, 128, (5, 6)).astype(np.int8), 0.1, 3)
    op = o.Embedding(name="op", inputs=("x",), outputs=("y",), table="t")
    graphs.append(("indices", h.one_op_graph(op, [x, table], [table.quantization], Rounding.DOUBLE)))
    return [_case(name, graph, rng) for name, graph in graphs]
