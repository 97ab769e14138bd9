"""ATen operators that move elements or only see them differently: views, permutations, joins, slices."""

from __future__ import annotations

import math

import numpy as np

from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.torch_calls import Call, Handler, Result, batch_free_axis, batch_free_shape, entries
from tinycompress.frontends.values import Value, refuse


def _view(b: ChannelsFirstBuilder, call: Call) -> Result:
    """Any operator that only changes the source's shape: torch has already computed the new one."""
    name = "input" if "input" in call.args else "self"
    return b.reshape(call.value(name), batch_free_shape(call.result_shapes[0]))


def _expand(b: ChannelsFirstBuilder, call: Call) -> Result:
    shape = batch_free_shape(call.result_shapes[0])
    if math.prod(shape) != math.prod(call.value().shape):
        raise refuse("expanding a tensor", "leave expand out: +, - and * broadcast by themselves")
    return b.reshape(call.value(), shape)


def _permute(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    dims = [d % (len(x.shape) + 1) for d in call["dims"]]
    if dims[0] != 0:
        batch_free_axis(0, len(x.shape))
    return b.transpose(x, tuple(d - 1 for d in dims[1:]))


def _transpose(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    first, second = (batch_free_axis(call[name], len(x.shape)) for name in ("dim0", "dim1"))
    perm = list(range(len(x.shape)))
    perm[first], perm[second] = second, first
    return b.transpose(x, tuple(perm))


def _channel_shuffle(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    groups = int(call["groups"])
    split = b.reshape(x, (groups, x.shape[0] // groups, *x.shape[1:]))
    return b.reshape(b.transpose(split, (1, 0, *range(2, len(split.shape)))), x.shape)


def _pixel_shuffle(b: ChannelsFirstBuilder, call: Call) -> Result:
    c, h, w = call.value().shape
    r = int(call["upscale_factor"])
    split = b.reshape(call.value(), (c // (r * r), r, r, h, w))
    return b.reshape(b.transpose(split, (0, 3, 1, 4, 2)), (c // (r * r), h * r, w * r))


def _concat(b: ChannelsFirstBuilder, call: Call) -> Result:
    values = list(call["tensors"])
    if not all(isinstance(v, Value) for v in values):
        raise refuse("joining a constant to an activation", "append it with padding, or leave it out")
    return b.concat(values, batch_free_axis(call["dim"], len(values[0].shape)))


def _stack(b: ChannelsFirstBuilder, call: Call) -> Result:
    values = list(call["tensors"])
    axis = batch_free_axis(call["dim"], len(values[0].shape) + 1)
    expanded = [b.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return b.concat(expanded, axis)


def _pieces(b: ChannelsFirstBuilder, call: Call) -> Result:
    """chunk, split, split_with_sizes: the sizes are those of torch's results."""
    x = call.value()
    axis = batch_free_axis(call["dim"], len(x.shape))
    ends = np.cumsum([shape[axis + 1] for shape in call.result_shapes])
    return [
        b.slice(x, axis, int(end) - shape[axis + 1], int(end), 1)
        for end, shape in zip(ends, call.result_shapes, strict=True)
    ]


def _unbind(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axis = batch_free_axis(call["dim"], len(x.shape))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return [b.reshape(b.slice(x, axis, i, i + 1, 1), shape) for i in range(x.shape[axis])]


def _clip_index(index: int | None, size: int, default: int) -> int:
    if index is None:
        return default
    return min(max(index + size if index < 0 else index, 0), size)


def _slice(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    rank = len(x.shape)
    start, end = call["start"], call["end"]
    if call["dim"] % (rank + 1) == 0 and start in (None, 0) and (end is None or end >= 1) and call["step"] == 1:
        return x
    axis = batch_free_axis(call["dim"], rank)
    size = x.shape[axis]
    return b.slice(x, axis, _clip_index(start, size, 0), _clip_index(end, size, size), int(call["step"]))


def _select(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axis = batch_free_axis(call["dim"], len(x.shape))
    index = int(call["index"]) % x.shape[axis]
    return b.reshape(b.slice(x, axis, index, index + 1, 1), x.shape[:axis] + x.shape[axis + 1 :])


def _narrow(b: ChannelsFirstBuilder, call: Call) -> Result:
    x = call.value()
    axis = batch_free_axis(call["dim"], len(x.shape))
    return b.slice(x, axis, int(call["start"]), int(call["start"]) + int(call["length"]), 1)


def _cast(b: ChannelsFirstBuilder, call: Call) -> Result:
    dtype = call.args.get("dtype")
    if dtype is not None and "float" not in str(dtype):
        raise refuse(f"conversion to {dtype}", "keep activations in floating point")
    return call.value()


def _identity(b: ChannelsFirstBuilder, call: Call) -> Result:
    name = "input" if "input" in call.args else "self"
    return call.value(name)


MOVEMENT: dict[str, Handler] = {
    **entries("view.default reshape.default _unsafe_view.default flatten.using_ints unflatten.int", _view),
    **entries("squeeze.default squeeze.dim squeeze.dims unsqueeze.default", _view),
    **entries("expand.default expand_as.default", _expand),
    **entries("permute.default", _permute),
    **entries("transpose.int swapaxes.default", _transpose),
    **entries("channel_shuffle.default native_channel_shuffle.default", _channel_shuffle),
    **entries("pixel_shuffle.default", _pixel_shuffle),
    **entries("cat.default concat.default", _concat),
    **entries("stack.default", _stack),
    **entries("chunk.default split.Tensor split_with_sizes.default split.sizes", _pieces),
    **entries("unbind.int", _unbind),
    **entries("slice.Tensor", _slice),
    **entries("select.int", _select),
    **entries("narrow.default", _narrow),
    **entries("clone.default contiguous.default detach.default detach_.default alias.default", _identity),
    **entries("lift_fresh_copy.default type_as.default", _identity),
    **entries("to.dtype to.dtype_layout to.device _to_copy.default", _cast),
}
