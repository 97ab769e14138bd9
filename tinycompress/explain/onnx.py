"""Diagnostics of the ONNX front end."""

EXPLAIN = {
    "TC-M301": (
        "The file is not an ONNX model, its bytes do not follow the protobuf format, or its numbers contradict each other. A truncated "
        "download or another format under the name .onnx are the usual causes. Export it again."
    ),
    "TC-M302": (
        "The model declares an operator set outside the supported range. Older and newer sets define operators differently, so "
        "importing them could give wrong numbers. Export again with opset_version=17, or run onnx.version_converter."
    ),
    "TC-M303": (
        "Inference here is for one sample: dimension 0 of every input must be a batch of 1 (or symbolic), no operator may mix it with "
        "other dimensions, and all other dimensions must be fixed numbers. Export with a concrete input of batch size 1."
    ),
    "TC-M304": (
        "One or more operators cannot be expressed, or not in the form found; the message lists all of them by node name with the "
        "reason. `tinycompress ops` prints what is supported. Change the source model, or cut it before these nodes."
    ),
    "TC-M305": (
        "An element type or a quantization cannot be represented: activations are quantized per tensor to int8 or uint8, weights to "
        "int8 or uint8, with positive finite scales. Quantize the float model again with onnxruntime's static QDQ quantization, "
        "symmetric weights."
    ),
    "TC-M306": (
        "The model contradicts itself: a tensor is read before it is made, an operand is missing, or shapes do not fit. The file is "
        "damaged or was written by a faulty tool; export the source model again."
    ),
    "TC-M307": (
        "The graph holds something that ONNX has no operator for: a streaming state, a table of an unknown function, activations that are "
        "not int8, or a shape the exporter does not lay out. The message names each operator. An int8 TFLite file or the "
        "generated C can carry these."
    ),
}
