"""Diagnostics of the IR."""

EXPLAIN = {
    "TC-M001": (
        "The graph is not well formed: a tensor is missing, read before it is made, or made twice. A front end or a pass "
        "produced it, so this is a bug unless the graph was edited by hand; the message names the node."
    ),
    "TC-M002": (
        "A shape does not follow from the operator's inputs and attributes. The message shows the declared and the computed "
        "shape. Check the model's input shape (--input-shape) first: an export for another resolution is the usual cause."
    ),
    "TC-M003": (
        "Two inputs of an element-wise operator have shapes that do not broadcast. Shapes are batch-free and channels come "
        "last; a tensor that still carries a batch or channels-first axis shows up here."
    ),
    "TC-M004": (
        "Weights hold NaN or infinity, so no quantization of them exists. Training diverged or the file is damaged: restore "
        "an earlier checkpoint."
    ),
    "TC-M005": (
        "Some operators still compute in float, and the generated code is integer only. Quantize the model with calibration "
        "data; an operator that has no integer form is listed by `tinycompress ops`."
    ),
    "TC-M006": (
        "An activation has no per-tensor scale and zero point. Models that were quantized per axis on activations, or only "
        "partly, cannot be deployed; quantize the float model instead."
    ),
    "TC-M007": (
        "A stored graph (graph.json with tensors.npz) is incomplete, damaged, or was written by another format version. Stages "
        "write by rename, so an interrupted run never leaves one half-written; delete the directory and run the stage again."
    ),
}
