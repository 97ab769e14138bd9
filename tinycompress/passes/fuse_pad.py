"""Pad in front of a window operator becomes its padding, where that computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tinycompress.ir import ops as o
from tinycompress.ir.tensor import DType
from tinycompress.passes.editor import Editor, GraphT

_WINDOWS = (o.Conv2D, o.DepthwiseConv2D, o.MaxPool2D)


def fuse_pad(graph: GraphT) -> GraphT:
    """Pads of h and w move into convolutions (zeros) and into max pools (a value no larger than any real tap).

    Average pools keep their Pad: its taps are counted, padding taps are not.
    """
    editor = Editor(graph)
    for pad in editor.ops():
        if isinstance(pad, o.Pad) and len(pad.amounts) == 3 and pad.amounts[2] == (0, 0):
            for reader in editor.consumers(pad.output):
                if isinstance(reader, _WINDOWS) and _is_exact(editor, pad, reader):
                    editor.update(reader, _padded(reader, pad))
            if not editor.consumers(pad.output) and not editor.is_visible(pad.output):
                editor.remove(pad)
    return editor.finish(graph)


def _is_exact(editor: Editor, pad: o.Pad, reader: Any) -> bool:
    before, after = (editor.tensors[name] for name in (pad.inputs[0], pad.output))
    if before.dtype is not DType.FLOAT32 and before.qparams != after.qparams:
        return False
    if not isinstance(reader, o.MaxPool2D):
        return pad.value == 0.0
    (top, bottom), (left, right), _ = pad.amounts
    if reader.padding != (0, 0, 0, 0) or max(top, bottom) >= reader.kernel[0] or max(left, right) >= reader.kernel[1]:
        return False
    maker = editor.producer(pad.inputs[0])
    low = getattr(maker, "activation", o.NO_ACTIVATION).low
    return low is not None and pad.value <= low


def _padded(reader: Any, pad: o.Pad) -> Any:
    (top, bottom), (left, right), _ = pad.amounts
    t, left_before, b, right_before = reader.padding
    return replace(
        reader.renamed({pad.output: pad.inputs[0]}),
        padding=(t + top, left_before + left, b + bottom, right_before + right),
        source=(*pad.source, *reader.source),
    )
