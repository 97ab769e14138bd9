"""The float meaning of every operator in torch, differentiable: the TORCH table.

Activations are batched and channels-last, `[n, h, w, c]`, as in the IR; images are permuted views around torch's
channels-first operators, which run in the channels-last memory format without copies. Weights arrive in torch's own
layout (`(out, in/groups, kh, kw)`), see `torch_module`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinycompress.ir import ops as o
from tinycompress.ir.ops import Activation, Function


@dataclass(frozen=True)
class Context:
    """What a function may need beside its operands: the op's constants by field name, and the module's mode.

    `ranks` are the batch-free ranks of the inputs, -1 for constants; `output_shape` is batch-free.
    """

    constants: Mapping[str, Tensor]
    ranks: tuple[int, ...]
    output_shape: tuple[int, ...]
    is_training: bool
    momentum: float

    @property
    def bias(self) -> Tensor | None:
        return self.constants.get("bias")


Operation = Callable[[Any, list[Tensor], Context], list[Tensor]]


def activate(x: Tensor, activation: Activation) -> Tensor:
    """min(max(x, low), high) with whichever bounds there are."""
    if activation.is_none:
        return x
    if activation == o.RELU:
        return F.relu(x)
    return torch.clamp(x, activation.low, activation.high)


def to_channels_first(x: Tensor) -> Tensor:
    """`[n,h,w,c]` as a `[n,c,h,w]` view."""
    return x.permute(0, 3, 1, 2)


def to_channels_last(x: Tensor) -> Tensor:
    """`[n,c,h,w]` as a `[n,h,w,c]` view."""
    return x.permute(0, 2, 3, 1)


def _padded(x: Tensor, padding: o.Padding, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """The image with asymmetric padding applied, and the symmetric rest for torch's own argument."""
    top, left, bottom, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _convolution(op: Any, x: Tensor, context: Context, groups: int) -> list[Tensor]:
    image, padding = _padded(to_channels_first(x), op.padding)
    weights = context.constants["weights"]
    y = F.conv2d(image, weights, context.bias, op.stride, padding, op.dilation, groups)
    return [activate(to_channels_last(y), op.activation)]


def _conv2d(op: o.Conv2D, inputs: list[Tensor], context: Context) -> list[Tensor]:
    return _convolution(op, inputs[0], context, op.groups)


def _depthwise(op: o.DepthwiseConv2D, inputs: list[Tensor], context: Context) -> list[Tensor]:
    return _convolution(op, inputs[0], context, inputs[0].shape[-1])


def _transpose_conv(op: o.TransposeConv2D, inputs: list[Tensor], context: Context) -> list[Tensor]:
    weights = context.constants["weights"]
    full = F.conv_transpose2d(to_channels_first(inputs[0]), weights, context.bias, op.stride, output_padding=0)
    top, left, bottom, right = op.padding
    grow = (-left, op.output_padding[1] - right, -top, op.output_padding[0] - bottom)
    if grow[1] > 0 or grow[3] > 0:
        outside = torch.zeros(()) if context.bias is None else context.bias
        edge = outside.reshape(1, -1, 1, 1).to(full)
        extended = F.pad(full - edge, (0, max(0, grow[1]), 0, max(0, grow[3]))) + edge
        full, grow = extended, (grow[0], min(0, grow[1]), grow[2], min(0, grow[3]))
    return [activate(to_channels_last(F.pad(full, grow)), op.activation)]


def _fully_connected(op: o.FullyConnected, inputs: list[Tensor], context: Context) -> list[Tensor]:
    return [activate(F.linear(inputs[0], context.constants["weights"], context.bias), op.activation)]


def _aligned(x: Tensor, rank: int, wanted: int) -> Tensor:
    """A batched operand of smaller rank with axes of 1 after its batch axis."""
    if rank < 0 or rank == wanted:
        return x
    return x.reshape(x.shape[0], *(1,) * (wanted - rank), *x.shape[1:])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def run(op: Any, inputs: list[Tensor], context: Context) -> list[Tensor]:
        wanted = len(context.output_shape)
        a, b = (_aligned(x, rank, wanted) for x, rank in zip(inputs, context.ranks, strict=True))
        return [activate(function(a, b), getattr(op, "activation", o.NO_ACTIVATION))]

    return run


def _average_pool(op: o.AveragePool2D, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    x = to_channels_first(inputs[0])
    image, padding = _padded(x, op.padding)
    if image is x:
        y = F.avg_pool2d(x, op.kernel, op.stride, padding, count_include_pad=False)
    else:
        real, _ = _padded(torch.ones_like(x[:1, :1]), op.padding)
        taps = F.avg_pool2d(real, op.kernel, op.stride, divisor_override=1)
        y = F.avg_pool2d(image, op.kernel, op.stride, divisor_override=1) / taps
    return [activate(to_channels_last(y), op.activation)]


def _max_pool(op: o.MaxPool2D, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    image, padding = _padded(to_channels_first(inputs[0]), op.padding, -torch.inf)
    if padding[0] * 2 > op.kernel[0] or padding[1] * 2 > op.kernel[1]:
        image, padding = F.pad(image, (padding[1], padding[1], padding[0], padding[0]), value=-torch.inf), (0, 0)
    return [activate(to_channels_last(F.max_pool2d(image, op.kernel, op.stride, padding)), op.activation)]


def _mean(op: o.Mean, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [inputs[0].mean(dim=[axis + 1 for axis in op.axes], keepdim=op.keepdims)]


def _pad(op: o.Pad, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    sides = [side for pair in reversed(op.amounts) for side in pair]
    return [F.pad(inputs[0], sides, value=op.value)]


def _concat(op: o.Concat, inputs: list[Tensor], context: Context) -> list[Tensor]:
    batch = max(x.shape[0] for x, rank in zip(inputs, context.ranks, strict=True) if rank >= 0)
    parts = [x if r >= 0 else x.expand(batch, *x.shape) for x, r in zip(inputs, context.ranks, strict=True)]
    return [torch.cat(parts, dim=op.axis + 1)]


def _reshape(op: o.Reshape, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [inputs[0].reshape(inputs[0].shape[0], *op.shape)]


def _transpose(op: o.Transpose, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [inputs[0].permute(0, *(p + 1 for p in op.perm))]


def _slice(op: o.Slice, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    ranges = [slice(b, e, s) for b, e, s in zip(op.begin, op.end, op.strides, strict=True)]
    return [inputs[0][(slice(None), *ranges)]]


def _softmax(op: o.Softmax, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [F.softmax(inputs[0] * op.beta, dim=-1)]


def _log_softmax(op: o.LogSoftmax, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del op, context
    return [F.log_softmax(inputs[0], dim=-1)]


def _clamp(op: o.Clamp, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [activate(inputs[0], op.activation)]


def _prelu(op: o.PReLU, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del op
    return [torch.where(inputs[0] >= 0, inputs[0], inputs[0] * context.constants["alpha"])]


def _matmul(op: o.MatMul, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [inputs[0] @ (inputs[1].transpose(-1, -2) if op.is_transposed else inputs[1])]


def _layer_norm(op: o.LayerNorm, inputs: list[Tensor], context: Context) -> list[Tensor]:
    gamma, beta = context.constants["gamma"], context.constants["beta"]
    return [F.layer_norm(inputs[0], gamma.shape, gamma, beta, op.epsilon)]


def _batch_norm(op: o.BatchNorm, inputs: list[Tensor], context: Context) -> list[Tensor]:
    x, c = inputs[0], context.constants
    channels_first = x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))
    y = F.batch_norm(
        channels_first,
        c["mean"],
        c["variance"],
        c["gamma"],
        c["beta"],
        training=context.is_training,
        momentum=context.momentum,
        eps=op.epsilon,
    )
    return [y.permute(0, *range(2, x.ndim), 1)]


def _dropout(op: o.Dropout, inputs: list[Tensor], context: Context) -> list[Tensor]:
    return [F.dropout(inputs[0], op.rate, context.is_training)]


def _identity(op: o.Op, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del op, context
    return [inputs[0]]


def _hard_sigmoid(x: Tensor, alpha: float) -> Tensor:
    return torch.clamp(x * (alpha or 1 / 6) + 0.5, 0.0, 1.0)


FUNCTIONS: dict[Function, Callable[[Tensor, float], Tensor]] = {
    Function.SIGMOID: lambda x, alpha: torch.sigmoid(x),
    Function.TANH: lambda x, alpha: torch.tanh(x),
    Function.HARD_SIGMOID: _hard_sigmoid,
    Function.HARD_SWISH: lambda x, alpha: F.hardswish(x),
    Function.SILU: lambda x, alpha: F.silu(x),
    Function.GELU: lambda x, alpha: F.gelu(x),
    Function.GELU_TANH: lambda x, alpha: F.gelu(x, approximate="tanh"),
    Function.LEAKY_RELU: lambda x, alpha: F.leaky_relu(x, alpha),
    Function.ELU: lambda x, alpha: F.elu(x, alpha),
    Function.EXP: lambda x, alpha: torch.exp(x),
    Function.LOG: lambda x, alpha: torch.log(x),
    Function.SQRT: lambda x, alpha: torch.sqrt(x),
    Function.RSQRT: lambda x, alpha: torch.rsqrt(x),
    Function.SQUARE: lambda x, alpha: torch.square(x),
    Function.ABS: lambda x, alpha: torch.abs(x),
    Function.NEG: lambda x, alpha: torch.neg(x),
    Function.SOFTPLUS: lambda x, alpha: F.softplus(x),
    Function.MISH: lambda x, alpha: F.mish(x),
}
"""torch's form of `execute.functions.FUNCTIONS`."""


def _table(op: o.Table, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    return [FUNCTIONS[op.function](inputs[0], op.alpha)]


def _positions(size: int, output: int, align_corners: bool, half_pixel: bool, like: Tensor) -> Tensor:
    """Real-valued input position of every output position along one resized axis."""
    places = torch.arange(output, dtype=like.dtype, device=like.device)
    if align_corners and output > 1:
        return places * ((size - 1) / (output - 1))
    return (places + 0.5) * (size / output) - 0.5 if half_pixel else places * (size / output)


def _resize_nearest(op: o.ResizeNearest, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    x = inputs[0]
    for axis in (1, 2):
        size, output = x.shape[axis], op.size[axis - 1]
        places = torch.arange(output, dtype=torch.float32, device=x.device) + (0.5 if op.half_pixel_centers else 0.0)
        if op.align_corners and output > 1:
            index = torch.floor(places * ((size - 1) / (output - 1)) + 0.5)
        else:
            index = torch.floor(places * (size / output))
        x = x.index_select(axis, index.clamp(0, size - 1).long())
    return [x]


def _resize_bilinear(op: o.ResizeBilinear, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del context
    x = inputs[0]
    for axis in (1, 2):
        size = x.shape[axis]
        places = _positions(size, op.size[axis - 1], op.align_corners, op.half_pixel_centers, x).clamp(0, size - 1)
        low = places.floor()
        weight = (places - low).reshape([-1 if i == axis else 1 for i in range(4)])
        high = (low + 1).clamp(max=size - 1)
        x = x.index_select(axis, low.long()) * (1 - weight) + x.index_select(axis, high.long()) * weight
    return [x]


def _svdf(op: o.SVDF, inputs: list[Tensor], context: Context) -> list[Tensor]:
    newest = F.linear(inputs[0], context.constants["feature_weights"])
    memory = torch.cat([inputs[1][:, :, 1:], newest.unsqueeze(2)], dim=2)
    filtered = (memory * context.constants["time_weights"]).sum(dim=2)
    sums = filtered.reshape(filtered.shape[0], -1, op.rank).sum(dim=2)
    biased = sums if context.bias is None else sums + context.bias
    return [activate(biased, op.activation), memory]


def _lstm(op: o.LSTM, inputs: list[Tensor], context: Context) -> list[Tensor]:
    x = inputs[0]
    hidden, cell = (state.expand(len(x), -1) for state in inputs[1:])
    kernels, recurrent = context.constants["input_weights"], context.constants["recurrent_weights"]
    steps = x.reshape(x.shape[0], -1, x.shape[-1])
    made = []
    for t in range(steps.shape[1])[:: -1 if op.is_reversed else 1]:
        gates = torch.einsum("ni,gui->ngu", steps[:, t], kernels) + torch.einsum("nh,guh->ngu", hidden, recurrent)
        if context.bias is not None:
            gates = gates + context.bias
        enter, forget, leave = (torch.sigmoid(gates[:, i]) for i in (0, 1, 3))
        cell = forget * cell + enter * torch.tanh(gates[:, 2])
        if op.cell_clip > 0:
            cell = cell.clamp(-op.cell_clip, op.cell_clip)
        hidden = leave * torch.tanh(cell)
        made.append(hidden)
    made = made[:: -1 if op.is_reversed else 1]
    return [torch.stack(made, dim=1).reshape(*x.shape[:-1], -1), hidden, cell]


def _embedding(op: o.Embedding, inputs: list[Tensor], context: Context) -> list[Tensor]:
    del op
    table = context.constants["table"]
    return [table[inputs[0].long().clamp(0, len(table) - 1)]]


TORCH: dict[type[o.Op], Operation] = {
    o.Conv2D: _conv2d,
    o.DepthwiseConv2D: _depthwise,
    o.TransposeConv2D: _transpose_conv,
    o.FullyConnected: _fully_connected,
    o.MatMul: _matmul,
    o.Add: _binary(torch.add),
    o.Sub: _binary(torch.sub),
    o.Mul: _binary(torch.mul),
    o.Maximum: _binary(torch.maximum),
    o.Minimum: _binary(torch.minimum),
    o.AveragePool2D: _average_pool,
    o.MaxPool2D: _max_pool,
    o.Mean: _mean,
    o.Pad: _pad,
    o.Concat: _concat,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Slice: _slice,
    o.Softmax: _softmax,
    o.LogSoftmax: _log_softmax,
    o.Clamp: _clamp,
    o.PReLU: _prelu,
    o.Table: _table,
    o.BatchNorm: _batch_norm,
    o.LayerNorm: _layer_norm,
    o.Dropout: _dropout,
    o.Quantize: _identity,
    o.Dequantize: _identity,
    o.ResizeNearest: _resize_nearest,
    o.ResizeBilinear: _resize_bilinear,
    o.SVDF: _svdf,
    o.LSTM: _lstm,
    o.Embedding: _embedding,
}
"""The trainable meaning of every operator."""
