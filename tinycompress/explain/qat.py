"""Diagnostics of quantization-aware training."""

EXPLAIN = {
    "TC-M420": (
        "The method of quantization-aware training is not known. `tflite` follows the ranges of activations with moving "
        "averages; `lsq` learns the scales by gradient."
    ),
    "TC-Q120": (
        "The loss of quantization-aware training became NaN or infinite. The learning rate is the usual cause: a tenth of the "
        "rate of float training is a good start. Check too that the float model and the calibration data are finite."
    ),
}
