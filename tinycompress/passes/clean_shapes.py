"""Reshapes, transposes, slices, joins and rescales that do nothing, or that one operator could do."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tinycompress.ir import ops as o
from tinycompress.ir.tensor import Tensor
from tinycompress.passes.editor import Editor, GraphT

OpT = TypeVar("OpT", bound=o.Op)
_MAY_BE_IDLE = (o.Reshape, o.Transpose, o.Slice, o.Concat, o.Pad, o.Quantize)


def clean_shapes(graph: GraphT) -> GraphT:
    """Chains of Reshape and of Transpose become one; those that change nothing go; so do others that are idle."""
    editor = Editor(graph)
    for op in editor.ops():
        merged = _merged(editor, op)
        if _is_idle(editor, merged):
            editor.bypass(merged)
    return editor.finish(graph)


def _merged(editor: Editor, op: o.Op) -> o.Op:
    """`op` joined with a producer of its kind, and a Transpose that only moves axes of 1 as a Reshape."""
    maker = editor.producer(op.inputs[0]) if op.inputs else None
    is_chain = editor.feeds_only(op.inputs[0], op) if op.inputs else False
    if isinstance(op, o.Reshape) and isinstance(maker, o.Reshape) and is_chain:
        return _join(editor, maker, op, op)
    if isinstance(op, o.Transpose):
        if isinstance(maker, o.Transpose) and is_chain:
            op = _join(editor, maker, op, replace(op, perm=tuple(maker.perm[p] for p in op.perm)))
        shape = editor.tensors[op.inputs[0]].shape
        moved = [p for p in op.perm if shape[p] > 1]
        if moved == sorted(moved):
            target = editor.tensors[op.output].shape
            plain = o.Reshape(name=op.name, inputs=op.inputs, outputs=op.outputs, source=op.source, shape=target)
            return editor.update(op, plain)
    return op


def _join(editor: Editor, maker: o.Op, op: o.Op, result: OpT) -> OpT:
    """`result` stands for `maker` and `op` together."""
    joined = replace(result, inputs=maker.inputs, source=(*maker.source, *op.source))
    editor.update(op, joined)
    editor.remove(maker)
    return joined


def _is_idle(editor: Editor, op: o.Op) -> bool:
    if not isinstance(op, _MAY_BE_IDLE) or len(op.inputs) != 1:
        return False
    before, after = editor.tensors[op.inputs[0]], editor.tensors[op.output]
    if not _is_same_kind(before, after) or before.is_constant:
        return False
    if isinstance(op, o.Transpose):
        return op.perm == tuple(range(len(op.perm)))
    return before.shape == after.shape


def _is_same_kind(before: Tensor, after: Tensor) -> bool:
    return before.dtype is after.dtype and before.qparams == after.qparams
