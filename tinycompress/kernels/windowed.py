"""Convolution, depthwise convolution and fully connected layer as one convolution with groups, for plain kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import Array
from tinycompress.kernels.packing import Scalars

Windowed = o.Conv2D | o.DepthwiseConv2D | o.FullyConnected


@dataclass(frozen=True)
class Window:
    """An operator's convolution: `weights` are `(outputs, kh, kw, channels / groups)`."""

    weights: Array
    groups: int
    scalars: Scalars


def as_convolution(op: Windowed, graph: Graph) -> Window:
    """`op` as a convolution: one group per channel where it is depthwise, 1x1 over a row's vectors where it is dense.

    `scalars` are the members input_width to groups that the kernels' params structs begin with.
    """
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    weights = graph.tensors[op.weights].constant
    stride, dilation, pad_left, groups = (1, 1), (1, 1), 0, 1
    width, output_width = row_elements(x.shape) // x.shape[-1], row_elements(y.shape) // y.shape[-1]
    if isinstance(op, o.FullyConnected):
        weights = weights[:, np.newaxis, np.newaxis, :]
    else:
        stride, dilation, pad_left = op.stride, op.dilation, op.padding[1]
        groups = x.shape[-1] if isinstance(op, o.DepthwiseConv2D) else op.groups
        if isinstance(op, o.DepthwiseConv2D):
            weights = np.ascontiguousarray(np.moveaxis(weights, 2, 0))[..., np.newaxis]
    return Window(
        weights,
        groups,
        (
            ("input_width", width),
            ("input_channels", x.shape[-1]),
            ("output_width", output_width),
            ("output_channels", y.shape[-1]),
            ("kernel_height", weights.shape[1]),
            ("kernel_width", weights.shape[2]),
            ("stride_height", stride[0]),
            ("stride_width", stride[1]),
            ("dilation_height", dilation[0]),
            ("dilation_width", dilation[1]),
            ("pad_left", pad_left),
            ("groups", groups),
        ),
    )
