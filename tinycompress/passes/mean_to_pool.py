"""A mean over the whole image is a global average pool.

int8 average pooling keeps its input's scale and needs no requantization; Mean may rescale (METHODS B4.3), so the pool
is both exacter and cheaper.
"""

from __future__ import annotations

from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.passes.editor import Editor


def mean_to_pool(graph: Graph) -> Graph:
    """Float Mean over h and w of `[h,w,c]`, or over t of `[t,c]`, becomes AveragePool2D (and Reshape as needed)."""
    editor = Editor(graph)
    for op in editor.ops():
        if isinstance(op, o.Mean):
            _replace(editor, op)
    return editor.finish(graph)


def _replace(editor: Editor, op: o.Mean) -> None:
    x, y = editor.tensors[op.inputs[0]], editor.tensors[op.output]
    if len(x.shape) == 3 and op.axes == (0, 1):
        kernel = (x.shape[0], x.shape[1])
    elif len(x.shape) == 2 and op.axes == (0,):
        kernel = (x.shape[0], 1)
    else:
        return
    source, name, image = op.source, op.inputs[0], (*kernel, x.shape[-1])
    if x.shape != image:
        name = editor.activation(f"{op.name}_image", x, image)
        reshaped = editor.free_op_name(f"{op.name}_image")
        editor.insert_before(
            op, o.Reshape(name=reshaped, inputs=op.inputs, outputs=(name,), source=source, shape=image)
        )
    pooled = (1, 1, x.shape[-1])
    output = op.output if y.shape == pooled else editor.activation(f"{op.name}_pool", y, pooled)
    pool = o.AveragePool2D(name=op.name, inputs=(name,), outputs=(output,), source=source, kernel=kernel, stride=kernel)
    if y.shape == pooled:
        editor.update(op, pool)
        return
    flat = o.Reshape(
        name=editor.free_op_name(f"{op.name}_flat"), inputs=(output,), outputs=op.outputs, source=source, shape=y.shape
    )
    editor.update(op, flat)
    editor.insert_before(flat, pool)
