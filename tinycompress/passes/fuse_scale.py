"""A factor in front of a Softmax becomes its beta, also one of a product of activations: the scaling of attention."""

from __future__ import annotations

from dataclasses import replace

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.passes.editor import Editor

_PASSING = (o.Reshape, o.Transpose, o.MatMul)
"""What a factor passes: s · (a b) is (s · a) b."""


def fuse_scale(graph: Graph) -> Graph:
    """Multiplications by one positive constant move into the beta of the Softmax that alone sees their result."""
    editor = Editor(graph)
    for softmax in editor.ops():
        if not isinstance(softmax, o.Softmax):
            continue
        while found := _scale(editor, softmax):
            scale, x, factor = found
            editor.bypass(editor.update(scale, replace(scale, inputs=(x, *(n for n in scale.inputs if n != x)))))
            now = editor.producer(softmax.output)
            assert isinstance(now, o.Softmax)
            source = tuple(dict.fromkeys((*scale.source, *now.source)))
            editor.update(now, replace(now, beta=now.beta * factor, source=source))
            softmax = now
    return editor.finish(graph)


def _scale(editor: Editor, reader: o.Op) -> tuple[o.Mul, str, float] | None:
    """A multiplication whose result only `reader` depends on, its activation, and its constant."""
    for name in reader.inputs:
        maker = editor.producer(name)
        if maker is None or not editor.feeds_only(name, reader):
            continue
        if isinstance(maker, o.Mul):
            for x, other in (maker.inputs, maker.inputs[::-1]):
                constant = editor.tensors[other]
                if constant.is_constant and constant.elements == 1 and maker.activation.is_none:
                    factor = float(constant.constant.reshape(()))
                    if factor > 0 and editor.tensors[x].shape == editor.tensors[name].shape:
                        return maker, x, factor
        elif isinstance(maker, _PASSING):
            found = _scale(editor, maker)
            if found:
                return found
    return None
