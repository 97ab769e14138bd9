"""Operators whose results nobody reads go."""

from __future__ import annotations

from tinycompress.passes.editor import GraphT


def remove_dead_code(graph: GraphT) -> GraphT:
    """The graph without operators that reach neither an output nor a state."""
    wanted = {*graph.outputs, *(s.write for s in graph.states)}
    kept = []
    for op in reversed(graph.ops):
        if wanted.intersection(op.outputs):
            kept.append(op)
            wanted.update(op.inputs)
    return graph.with_ops(reversed(kept))
