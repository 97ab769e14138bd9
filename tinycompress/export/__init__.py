"""Ways out: a graph as an ONNX file, a quantized graph as QDQ ONNX or as an int8 TFLite file.

The writers keep every number: importing what was exported gives a graph that computes the same bytes.
"""
