"""A clamp (ReLU, ReLU6, clip) becomes the fused activation of the operator that makes its input."""

from __future__ import annotations

from dataclasses import replace

from tinycompress.ir import ops as o
from tinycompress.ir.ops import Activation
from tinycompress.ir.tensor import DType
from tinycompress.passes.editor import Editor, GraphT


def compose(first: Activation, second: Activation) -> Activation:
    """The clamp that equals `first` and then `second`."""
    lows = [v for v in (first.low, second.low) if v is not None]
    highs = [v for v in (first.high, second.high) if v is not None]
    low = max(lows) if lows else None
    high = min(highs) if highs else None
    if low is not None and second.high is not None:
        low = min(low, second.high)
    if high is not None and second.low is not None:
        high = max(high, second.low)
    return Activation(low, high)


def fuse_activation(graph: GraphT) -> GraphT:
    """Clamps move into the producing operator, also past a Reshape or Transpose in between.

    Quantized graphs: only where the clamp does not rescale (its input and output have one scale and zero point).
    """
    editor = Editor(graph)
    for clamp in editor.ops():
        if not isinstance(clamp, o.Clamp) or not _keeps_scale(editor, clamp):
            continue
        direct = editor.producer(clamp.inputs[0])
        if direct is None or not editor.feeds_only(clamp.inputs[0], clamp):
            continue
        target = direct
        while isinstance(target, (o.Reshape, o.Transpose)) and editor.feeds_only(target.inputs[0], target):
            found = editor.producer(target.inputs[0])
            if found is None:
                break
            target = found
        fused = getattr(target, "activation", None)
        if fused is None or not isinstance(fused, Activation):
            continue
        activation = compose(fused, clamp.activation)
        if target is direct:
            editor.absorb(direct, clamp, activation=activation)
        else:
            _set_activation(editor, target, activation)
            editor.bypass(clamp)
    return editor.finish(graph)


def _set_activation(editor: Editor, op: o.Op, activation: Activation) -> None:
    editor.update(op, replace(op, activation=activation))  # type: ignore[call-arg]


def _keeps_scale(editor: Editor, clamp: o.Clamp) -> bool:
    before, after = (editor.tensors[name] for name in (clamp.inputs[0], clamp.output))
    return before.dtype is DType.FLOAT32 or before.qparams == after.qparams
