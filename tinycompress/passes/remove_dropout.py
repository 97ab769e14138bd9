"""Dropout is the identity at inference: take it out."""

from __future__ import annotations

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Dropout
from tinycompress.passes.editor import Editor


def remove_dropout(graph: Graph) -> Graph:
    """The graph without Dropout. One that joins an input straight to an output stays."""
    editor = Editor(graph)
    for op in editor.ops():
        if isinstance(op, Dropout):
            editor.bypass(op)
    return editor.finish(graph)
