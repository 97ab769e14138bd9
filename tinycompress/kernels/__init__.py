"""The kernel catalogue: every C kernel there is, per operator, preferred first.

Each family module exports its portable variants; a `<family>_dsp` module exports those for Armv7E-M. Row conventions
are those of `catalogue` and `plan.rows`.
"""

from __future__ import annotations

from tinycompress.ir import ops as o
from tinycompress.kernels import (
    add_dsp,
    asymmetric,
    attention,
    attention_dsp,
    concat,
    conv2d,
    conv2d_dsp,
    conv2d_grouped_dsp,
    conv2d_int16_dsp,
    conv2d_packed_dsp,
    depthwise,
    depthwise_dsp,
    depthwise_int16_dsp,
    depthwise_taps_dsp,
    elementwise,
    elementwise_int16_dsp,
    fully_connected,
    fully_connected_dsp,
    fully_connected_int16_dsp,
    int16,
    layout,
    lstm,
    mean,
    mean_dsp,
    mul_dsp,
    polyphase_dsp,
    pool,
    pool_dsp,
    resize,
    softmax,
    svdf,
    svdf_dsp,
    transpose_conv2d,
    transpose_conv2d_dsp,
    unary,
    winograd_dsp,
)
from tinycompress.kernels.catalogue import KernelTable

PORTABLE: KernelTable = {
    o.Conv2D: (*conv2d.CONV2D, *asymmetric.CONV2D, *int16.CONV2D),
    o.DepthwiseConv2D: (*depthwise.DEPTHWISE, *asymmetric.DEPTHWISE, *int16.DEPTHWISE),
    o.TransposeConv2D: transpose_conv2d.TRANSPOSE_CONV2D,
    o.FullyConnected: (*fully_connected.FULLY_CONNECTED, *asymmetric.FULLY_CONNECTED, *int16.FULLY_CONNECTED),
    o.MatMul: attention.MATMUL,
    o.Add: (*elementwise.ADD, *int16.ADD),
    o.Sub: (*elementwise.SUB, *int16.SUB),
    o.Mul: (*elementwise.MUL, *int16.MUL),
    o.Maximum: elementwise.MAXIMUM,
    o.Minimum: elementwise.MINIMUM,
    o.AveragePool2D: (*pool.AVERAGE_POOL, *int16.AVERAGE_POOL),
    o.MaxPool2D: (*pool.MAX_POOL, *int16.MAX_POOL),
    o.Mean: (*mean.MEAN, *int16.MEAN),
    o.Pad: layout.PAD,
    o.Concat: concat.CONCAT,
    o.Reshape: layout.RESHAPE,
    o.Transpose: layout.TRANSPOSE,
    o.Slice: layout.SLICE,
    o.Softmax: (*softmax.SOFTMAX, *int16.SOFTMAX),
    o.LogSoftmax: softmax.LOG_SOFTMAX,
    o.LayerNorm: attention.LAYER_NORM,
    o.Clamp: unary.CLAMP,
    o.PReLU: elementwise.PRELU,
    o.Table: (*unary.TABLE, *int16.TABLE),
    o.Quantize: unary.RESCALE,
    o.ResizeNearest: resize.RESIZE_NEAREST,
    o.ResizeBilinear: resize.RESIZE_BILINEAR,
    o.SVDF: svdf.SVDF_S8,
    o.LSTM: lstm.LSTM_S8,
    o.Embedding: layout.EMBEDDING,
}
"""Kernels in portable C."""

DSP: KernelTable = {
    o.Conv2D: (
        *winograd_dsp.WINOGRAD,
        *polyphase_dsp.POLYPHASE,
        *conv2d_dsp.CONV2D,
        *conv2d_packed_dsp.CONV2D_PACKED,
        *conv2d_grouped_dsp.GROUPED,
        *conv2d_int16_dsp.CONV2D,
    ),
    o.DepthwiseConv2D: (
        *depthwise_dsp.DEPTHWISE,
        *depthwise_taps_dsp.DEPTHWISE_TAPS,
        *conv2d_grouped_dsp.GROUPED,
        *depthwise_int16_dsp.DEPTHWISE,
    ),
    o.TransposeConv2D: transpose_conv2d_dsp.TRANSPOSE_CONV2D,
    o.FullyConnected: (*fully_connected_dsp.FULLY_CONNECTED, *fully_connected_int16_dsp.FULLY_CONNECTED),
    o.MatMul: attention_dsp.MATMUL,
    o.LayerNorm: attention_dsp.LAYER_NORM,
    o.Add: (*add_dsp.ADD, *elementwise_int16_dsp.ADD),
    o.Sub: (*add_dsp.ADD, *elementwise_int16_dsp.SUB),
    o.Mul: (*mul_dsp.MUL, *elementwise_int16_dsp.MUL),
    o.AveragePool2D: pool_dsp.AVERAGE_POOL,
    o.MaxPool2D: pool_dsp.MAX_POOL,
    o.LSTM: lstm.LSTM_S8_DSP,
    o.Mean: mean_dsp.MEAN,
    o.SVDF: svdf_dsp.SVDF_S8,
}
"""Kernels for cores with the DSP extension, with C twins for others."""

KERNELS: KernelTable = {op: (*DSP.get(op, ()), *PORTABLE.get(op, ())) for op in {**PORTABLE, **DSP}}
"""All kernels of each operator: DSP variants first, then portable ones."""
