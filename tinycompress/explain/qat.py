"""Diagnostics of quantization-aware training."""

EXPLAIN = {
    "TC-M420": (
        "The method of quantization-aware training is not known. `tflite` follows the ranges of activations with moving "
        "averages; `lsq` learns the scales by gradient."
    ),
    "TC-M421": (
        "Quantization-aware training simulates int8 between operators, which an LSTM's int16 gates and cell state and an "
        "embedding's shared table are not. Train in float and quantize afterwards; an LSTM's hidden state keeps enough of its "
        "accuracy in int8."
    ),
    "TC-Q120": (
        "The loss of quantization-aware training became NaN or infinite. The learning rate is the usual cause: a tenth of the "
        "rate of float training is a good start. Check too that the float model and the calibration data are finite."
    ),
}
