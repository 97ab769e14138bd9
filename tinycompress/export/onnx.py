"""Graph → float ONNX, QuantGraph → QDQ ONNX: channels-first, opset 20, float inputs and outputs.

A float graph imported again computes the same values. In a quantized file every activation passes through
QuantizeLinear and DequantizeLinear and weights are int8, so onnxruntime computes within one unit of our bytes; a table
is written as the function it stands for.
"""

from __future__ import annotations

from tinycompress.errors import UnsupportedOpError
from tinycompress.export.onnx_graph import OnnxGraph, impossible
from tinycompress.export.onnx_ops import EXPORTERS
from tinycompress.ir.graph import Graph


def export_onnx(graph: Graph) -> bytes:
    """The graph as the bytes of an ONNX file, batch 1; inputs and outputs keep the user's layout.

    Raises UnsupportedOpError TC-M307 naming every operator that has no ONNX form (and state, which ONNX lacks).
    """
    made = OnnxGraph(graph)
    inputs, problems = [], [f"state {s.read}" for s in graph.states]
    for entry in graph.inputs:
        try:
            inputs.append(made.add_input(entry))
        except UnsupportedOpError as problem:
            problems.append(problem.what)
            made.skip((entry.tensor,))
    made.skip(tuple(s.read for s in graph.states))
    for op in graph.ops:
        try:
            exporter = EXPORTERS.get(type(op))
            if exporter is None:
                raise impossible("no ONNX operator")
            exporter(made, op)
        except UnsupportedOpError as problem:
            problems.append(f"{op.name} ({op.kind}): {problem.what}")
            made.skip(op.outputs)
    if problems:
        raise UnsupportedOpError(
            "TC-M307",
            f"there is no ONNX form of {'; '.join(problems)}",
            where=graph.name,
            fix="export int8 TFLite instead, or deploy with the generated C",
        )
    outputs = [made.add_output(name, graph.output_layout(name)) for name in graph.outputs]
    return made.model(inputs, outputs)
