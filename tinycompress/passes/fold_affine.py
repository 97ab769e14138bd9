"""Batch norm, and constant scales and shifts per channel, fold into the linear operator before them.

W' = W · scale, b' = b · scale + shift per output channel; for batch norm scale = γ / sqrt(σ² + ε) and
shift = β − μ · scale (METHODS B4.1). Computed in double, stored as float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.passes.editor import Editor

Doubles = NDArray[np.float64]
LINEAR = (o.Conv2D, o.DepthwiseConv2D, o.FullyConnected)
_OUTPUT_AXIS: dict[type[o.Op], int] = {o.Conv2D: 0, o.DepthwiseConv2D: 2, o.FullyConnected: 0}


def fold_affine(graph: Graph) -> Graph:
    """The float graph with affine operators folded; a BatchNorm that has no linear producer becomes a 1x1 depthwise."""
    editor = Editor(graph)
    for op in editor.ops():
        affine = _affine(editor, op)
        if affine is None:
            continue
        scale, shift, name = affine
        maker = editor.producer(name)
        if isinstance(maker, LINEAR) and maker.activation.is_none and editor.feeds_only(name, op):
            _fold(editor, maker, op, scale, shift)
        elif isinstance(op, o.BatchNorm):
            _to_depthwise(editor, op, scale, shift)
    return editor.finish(graph)


def batch_norm_affine(op: o.BatchNorm, tensors: Any) -> tuple[Doubles, Doubles]:
    """(scale, shift) per channel of a batch norm."""
    gamma, beta, mean, variance = (
        tensors[name].constant.astype(np.float64) for name in (op.gamma, op.beta, op.mean, op.variance)
    )
    scale = gamma / np.sqrt(variance + op.epsilon)
    return scale, beta - mean * scale


def _affine(editor: Editor, op: o.Op) -> tuple[Doubles, Doubles, str] | None:
    """(scale, shift, input) of an operator that is affine per channel of its last axis."""
    if isinstance(op, o.BatchNorm):
        return *batch_norm_affine(op, editor.tensors), op.inputs[0]
    if not isinstance(op, (o.Add, o.Sub, o.Mul)):
        return None
    first, second = (editor.tensors[name] for name in op.inputs)
    if first.is_constant == second.is_constant:
        return None
    constant, value = (first, second) if first.is_constant else (second, first)
    channels = value.shape[-1] if value.shape else 0
    if constant.elements not in (1, channels) or constant.shape[-1] != constant.elements:
        return None
    numbers = np.broadcast_to(constant.constant.astype(np.float64).reshape(-1), (channels,))
    ones, zeros = np.ones(channels), np.zeros(channels)
    if isinstance(op, o.Mul):
        return numbers, zeros, value.name
    if isinstance(op, o.Add):
        return ones, numbers, value.name
    return (-ones, numbers, value.name) if first.is_constant else (ones, -numbers, value.name)


def _fold(editor: Editor, maker: Any, op: o.Op, scale: Doubles, shift: Doubles) -> None:
    weights = editor.tensors[maker.weights]
    view = [1] * len(weights.shape)
    view[_OUTPUT_AXIS[type(maker)]] = -1
    scaled = (weights.constant.astype(np.float64) * scale.reshape(view)).astype(np.float32)
    bias = editor.tensors[maker.bias].constant.astype(np.float64) if maker.bias else np.zeros(len(scale))
    moved = (bias * scale + shift).astype(np.float32)
    changes: dict[str, Any] = {
        "weights": editor.constant(f"{maker.name}.weight_folded", scaled),
        "bias": editor.constant(f"{maker.name}.bias_folded", moved),
    }
    activation = getattr(op, "activation", o.NO_ACTIVATION)
    for new, old in (("weights", maker.weights), ("bias", maker.bias)):
        if old is not None:
            editor.tensors[changes[new]] = replace(editor.tensors[changes[new]], source=editor.tensors[old].source)
    editor.absorb(maker, op, activation=activation, **changes)


def _to_depthwise(editor: Editor, op: o.BatchNorm, scale: Doubles, shift: Doubles) -> None:
    """A batch norm behind anything else: a 1x1 depthwise convolution, between Reshapes unless it is an image."""
    x = editor.tensors[op.inputs[0]]
    channels = x.shape[-1]
    weights = editor.constant(f"{op.name}.weight", scale.astype(np.float32).reshape(1, 1, channels))
    bias = editor.constant(f"{op.name}.bias", shift.astype(np.float32))
    depthwise = o.DepthwiseConv2D(
        name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, weights=weights, bias=bias
    )
    if len(x.shape) == 3:
        editor.update(op, depthwise)
        return
    image = (int(np.prod(x.shape[:-1])), 1, channels)
    before = editor.activation(f"{op.name}_image", x, image)
    after = editor.activation(f"{op.name}_scaled", x, image)
    last = editor.update(
        op,
        o.Reshape(
            name=editor.free_op_name(f"{op.name}_flat"),
            inputs=(after,),
            outputs=op.outputs,
            source=op.source,
            shape=x.shape,
        ),
    )
    first = o.Reshape(
        name=editor.free_op_name(f"{op.name}_image"), inputs=op.inputs, outputs=(before,), source=op.source, shape=image
    )
    editor.insert_before(last, first)
    editor.insert_before(last, replace(depthwise, inputs=(before,), outputs=(after,)))
