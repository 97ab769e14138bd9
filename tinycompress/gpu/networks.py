"""Networks to time where the user brings none: 3x3 convolutions of several widths and the zoo's; random 2:4 weights."""

from __future__ import annotations

import numpy as np

from tinycompress.gpu.masks import apply_masks, magnitude_masks
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph

IMAGE, CLASSES, DEPTH = 14, 10, 4
CALIBRATION_SAMPLES = 4


def convolutional(width: int, seed: int = 0) -> QuantGraph:
    """DEPTH 3x3 convolutions of `width` channels on a square image, mean and classifier; random 2:4 int8 weights."""
    rng = np.random.default_rng(seed)
    scale = 0.05
    tensors = {"x": Tensor("x", (IMAGE, IMAGE, 16), DType.INT8, QParams.per_tensor(scale, -3))}
    ops: list[o.Op] = []

    def constant(name: str, data: Array, qparams: QParams | None = None) -> str:
        tensors[name] = Tensor(name, data.shape, DType(str(data.dtype)), qparams, data)
        return name

    def append(op: o.Op, out_scale: float, zero_point: int) -> str:
        (shape,) = infer(op, tensors)
        tensors[op.output] = Tensor(op.output, shape, DType.INT8, QParams.per_tensor(out_scale, zero_point))
        ops.append(op)
        return op.output

    def weighted(name: str, shape: tuple[int, ...]) -> tuple[str, str]:
        # Sums of k products of standard deviation 73 * 73 fill the output's range at the same scale.
        w_scale = 1.2 / (73.0 * float(np.sqrt(np.prod(shape[1:]) / 2)))
        weights = rng.integers(-127, 128, shape, dtype=np.int8)
        bias = rng.integers(-2000, 2000, shape[0], dtype=np.int32)
        qparams = QParams((w_scale,) * shape[0], (0,) * shape[0], 0)
        return constant(f"{name}_w", weights, qparams), constant(f"{name}_b", bias)

    at, channels = "x", 16
    for i in range(DEPTH):
        name = f"conv{i}"
        w, b = weighted(name, (width, 3, 3, channels))
        conv = o.Conv2D(
            name=name, inputs=(at,), outputs=(f"{name}_y",), weights=w, bias=b, padding=(1, 1, 1, 1), activation=o.RELU
        )
        at, channels = append(conv, scale, -128), width
    at = append(o.Mean(name="mean", inputs=(at,), outputs=("mean_y",), axes=(0, 1)), scale, -128)
    w, b = weighted("fc", (CLASSES, channels))
    at = append(o.FullyConnected(name="fc", inputs=(at,), outputs=("y",), weights=w, bias=b), scale, 0)
    graph = to_quant_graph(Graph(f"conv{width}", (GraphInput("x"),), (at,), tensors, tuple(ops)))
    pruned = apply_masks(graph, magnitude_masks(graph))
    assert isinstance(pruned, QuantGraph)
    return pruned


def from_zoo(name: str, seed: int = 0) -> QuantGraph:
    """A network of the zoo with fresh weights, pruned to 2:4 by magnitude and quantized on random samples.

    Its times are those of any trained network of this architecture. Imports torch.
    """
    from tinycompress.compress.network import initialise
    from tinycompress.frontends.torch_export import import_module
    from tinycompress.passes import prepare_for_training
    from tinycompress.quantize.ptq import quantize
    from tinycompress.zoo import ZOO

    about = ZOO[name]
    graph = import_module(about.build(), about.input_shape, name, about.preprocess)
    graph = initialise(prepare_for_training(graph), seed)
    shape = (CALIBRATION_SAMPLES, *graph.tensors[graph.input_names[0]].shape)
    samples = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return quantize(apply_masks(graph, magnitude_masks(graph)), (samples,), weights="minmax")
