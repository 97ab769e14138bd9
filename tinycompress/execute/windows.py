"""Sliding-window arithmetic on batches of HWC images, shared by the float and the integer executor.

Letters: n batch, h w input rows and columns, c input channels, kh kw kernel, oh ow output rows and columns, o output
channels. All functions compute in the dtype of their arguments; on integers held in floats they are exact while every
partial sum is below 2^24 (float32) or 2^53 (float64).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinycompress.ir.ops import Padding, Pair
from tinycompress.ir.shapes import window_output
from tinycompress.ir.tensor import Array

PATCH_BYTES = 32 << 20
"""Largest patch matrix that `convolve` builds at once; larger batches are cut along n."""


def pad_image(x: Array, padding: Padding, value: float = 0) -> Array:
    """`[n,h,w,c]` with (top, left, bottom, right) borders of `value`; `x` itself when there are none."""
    top, left, bottom, right = padding
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Array:
    """A view `[n,oh,ow,kh,kw,c]` of the windows of an already padded `[n,h,w,c]`."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, reach, axis=(1, 2))
    view = view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(view, 3, 5)


def convolve(x: Array, weights: Array, stride: Pair, dilation: Pair, padding: Padding, groups: int) -> Array:
    """Correlation of `[n,h,w,c]` with OHWI `(o, kh, kw, c/groups)`, zero padding: `[n,oh,ow,o]`."""
    o, kh, kw, per_group = weights.shape
    x = pad_image(x, padding)
    view = windows(x, (kh, kw), stride, dilation)
    n, oh, ow = view.shape[:3]
    out = np.empty((n, oh, ow, o), dtype=x.dtype)
    matrix = weights.reshape(groups, o // groups, kh * kw * per_group)
    sample_bytes = oh * ow * kh * kw * per_group * x.itemsize
    step = max(1, PATCH_BYTES // max(1, sample_bytes))
    for first in range(0, n, step):
        part = view[first : first + step]
        for g in range(groups):
            patches = part[..., g * per_group : (g + 1) * per_group].reshape(-1, kh * kw * per_group)
            channels = slice(g * (o // groups), (g + 1) * (o // groups))
            out[first : first + step, ..., channels] = (patches @ matrix[g].T).reshape(-1, oh, ow, o // groups)
    return out


def convolve_depthwise(
    x: Array, weights: Array, multiplier: int, stride: Pair, dilation: Pair, padding: Padding
) -> Array:
    """Each channel with `multiplier` kernels of its own `(kh, kw, c·multiplier)`, zero padding: `[n,oh,ow,c·m]`."""
    kh, kw, o = weights.shape
    top, left, bottom, right = padding
    oh = window_output(x.shape[1], kh, stride[0], dilation[0], top, bottom)
    ow = window_output(x.shape[2], kw, stride[1], dilation[1], left, right)
    x = pad_image(x, padding)
    if multiplier > 1:
        x = np.repeat(x, multiplier, axis=3)
    out = np.zeros((x.shape[0], oh, ow, o), dtype=x.dtype)
    product = np.empty_like(out)
    for i in range(kh):
        for j in range(kw):
            top_row, left_column = i * dilation[0], j * dilation[1]
            rows = slice(top_row, top_row + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(left_column, left_column + (ow - 1) * stride[1] + 1, stride[1])
            np.multiply(x[:, rows, columns, :], weights[i, j], out=product)
            out += product
    return out


def convolve_transposed(x: Array, weights: Array, stride: Pair, padding: Padding, output: Pair) -> Array:
    """Scatters `[n,h,w,c]` through OHWI weights, cuts (top, left) of `padding` and keeps `output` = (oh, ow)."""
    o, kh, kw, _ = weights.shape
    n, h, w, _ = x.shape
    top, left = padding[0], padding[1]
    full_h = max((h - 1) * stride[0] + kh, top + output[0])
    full_w = max((w - 1) * stride[1] + kw, left + output[1])
    full = np.zeros((n, full_h, full_w, o), dtype=x.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + (h - 1) * stride[0] + 1, stride[0])
            columns = slice(j, j + (w - 1) * stride[1] + 1, stride[1])
            full[:, rows, columns, :] += x @ weights[:, i, j, :].T
    return full[:, top : top + output[0], left : left + output[1], :]


def window_sum(x: Array, kernel: Pair, stride: Pair, padding: Padding) -> tuple[Array, Array]:
    """Sum over each window's valid taps `[n,oh,ow,c]`, and the number of valid taps `[1,oh,ow,1]` as int64."""
    total = windows(pad_image(x, padding), kernel, stride).sum(axis=(3, 4))
    ones = np.ones((1, x.shape[1], x.shape[2], 1), dtype=np.int64)
    count = windows(pad_image(ones, padding), kernel, stride).sum(axis=(3, 4))
    return total, np.maximum(count, 1)


def window_maximum(x: Array, kernel: Pair, stride: Pair, padding: Padding, lowest: float) -> Array:
    """Maximum over each window, padding taken as `lowest`: `[n,oh,ow,c]`."""
    view = windows(pad_image(x, padding, lowest), kernel, stride)
    out = view[:, :, :, 0, 0].copy()
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            np.maximum(out, view[:, :, :, i, j], out=out)
    return out
