"""Ways out: a graph as an ONNX file (float, or QDQ when quantized), a quantized graph as an int8 TFLite file.

The writers keep every weight and scale, so a file imported again is the same network.
"""

from __future__ import annotations

from tinycompress.ir.graph import Graph, QuantGraph


def to_onnx(graph: Graph) -> bytes:
    """The graph as an ONNX file: QDQ for a QuantGraph, float otherwise. UnsupportedOpError TC-M307."""
    from tinycompress.export.onnx import export_onnx

    return export_onnx(graph)


def to_tflite(graph: QuantGraph) -> bytes:
    """The integer graph as a TFLite file. UnsupportedOpError TC-M207."""
    from tinycompress.export.tflite import export_tflite

    return export_tflite(graph)
