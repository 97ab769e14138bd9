"""Diagnostics of the TFLite front end."""

EXPLAIN = {
    "TC-M201": (
        "The file is not a TFLite model, or its bytes do not follow the flatbuffer format. A truncated download, a Git LFS pointer "
        "file or another format under the name .tflite are the usual causes. Export or download it again."
    ),
    "TC-M202": (
        "The model uses operators that cannot be imported; the message lists all of them with their index in the file. "
        "`tinycompress ops` prints what is supported. Replace the operators in the source model (for example a Gather by a Slice) "
        "or cut the model before them and convert again."
    ),
    "TC-M203": (
        "Inference here is for one sample, so the first dimension of every activation must be a batch of 1 that no operator mixes, "
        "and the other dimensions must be fixed. Convert the model with an input signature of batch size 1 and static shapes."
    ),
    "TC-M204": (
        "The operator is supported in general, but not in the form found here: an option, an operand type or a shape has no "
        "equivalent. The message names the option. Operators without an int16 form, LSTMs with peepholes, projections or coupled gates, "
        "shuffled weights and negative slice strides end here; convert with the plain int8 scheme and plain layers."
    ),
    "TC-M205": (
        "A tensor's element type or quantization cannot be represented: activations are int8 (uint8 files are shifted), int16 or int32 "
        "with one scale; weights are int8 with one scale or one per output channel, their zero point 0 except in uint8 files and fully "
        "connected layers. Convert with "
        "full-integer int8 quantization."
    ),
    "TC-M206": (
        "The file contradicts itself: an index points outside its table, an operator has the wrong number of operands, or shapes do not "
        "fit. The file is damaged or was written by a faulty tool; convert the source model again."
    ),
    "TC-M207": (
        "The quantized graph holds operators that TFLite has no int8 form of: a table of a function it does not know (or computes "
        "differently), a fused clamp to unusual bounds, an average pool with asymmetric padding. The message names each one. Export QDQ "
        "ONNX instead, or deploy with the generated C."
    ),
    "TC-M208": (
        "The file takes or gives quantized values, but everything between is computed in float: there is nothing to deploy as it is, and "
        "nothing says what the float network's own inputs would be. Convert the source model in float and let `quantize` or `deploy` "
        "calibrate it, or convert it with all its operators quantized."
    ),
}
