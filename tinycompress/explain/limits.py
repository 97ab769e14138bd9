"""Diagnostics of the limits that every model file is held to before it is read."""

EXPLAIN = {
    "TC-M601": (
        "The model file (or the data it refers to) is larger than any network this tool could deploy. The cap exists so that a damaged or "
        "hostile file cannot exhaust memory. Export only the network, without optimizer state or other graphs."
    ),
    "TC-M602": (
        "The model file could not be read: it does not exist, is not readable by this user, or is a directory, device or pipe. "
        "Check the path and its permissions."
    ),
    "TC-M603": (
        "The file declares more tensors, operators, dimensions or values than any deployable network has (or a negative number of them). "
        "It is damaged, or it is not a network for a microcontroller."
    ),
    "TC-M604": (
        "A tensor has too many dimensions, a dimension of zero or an enormous one, or too many elements, or all constants together are "
        "larger than the file cap. Nothing of this kind fits a microcontroller; check the input shape the model was exported with."
    ),
    "TC-M605": (
        "The bytes stored for a constant are not as many as its shape and element type need, so its values cannot be trusted. The "
        "file is damaged or truncated; export it again."
    ),
    "TC-M606": (
        "The model contains loops, conditions or calls to other subgraphs. The schedule of generated code is fixed at build time, so the "
        "graph must be one straight list of operators. Export with loops unrolled and conditions resolved."
    ),
    "TC-M607": (
        "The file's name and first bytes match no supported format. Networks come as .onnx, .tflite, or a Python factory "
        "(pkg.mod:factory or file.py:factory)."
    ),
    "TC-M608": (
        "The ONNX file keeps weights in other files. That is refused unless asked for (external data), and then only regular files "
        "inside the model's own directory are read, never links or paths that lead elsewhere. Save the model with its weights embedded, or "
        "set external_data = true under [model] in the recipe (`load(..., external_data=True)` in Python)."
    ),
}
