"""Diagnostics of execution in numpy and of quantization."""

EXPLAIN = {
    "TC-M401": (
        "The arrays given to an executor don't fit the graph's inputs: a name is missing or unknown, a shape fits neither one "
        "sample nor a batch of samples, batch sizes differ, or real values were given to an integer graph. Shapes are channels "
        "last and without batch axis for one sample; `ir.inputs` turns a user's layout and real values into what a graph takes."
    ),
    "TC-M402": (
        "An operator of an integer graph has no int8 meaning: its activations are int16 or int32 where only int8 is supported, "
        "or it is a float operator. Quantize the model with 8-bit activations, or leave the operator out of the deployed part."
    ),
    "TC-M403": (
        "An operator that quantization needs gone is still there: a BatchNorm that follows neither a convolution nor a fully "
        "connected layer, or Quantize and Dequantize operators inside a float model. Put each BatchNorm right behind a layer "
        "with weights; a model that is quantized already is deployed as it is."
    ),
    "TC-M410": (
        "The quantization method named in the recipe or call does not exist. Activations: percentile, minmax, ema, mse, entropy. "
        "Weights: mse, minmax."
    ),
    "TC-M411": (
        "The calibration data does not fit the model: there is none, it has another shape, or inputs have different numbers of "
        "samples. Give one array per input with the samples along the first axis, preprocessed as in training; 100 to 500 "
        "training samples without augmentation are enough."
    ),
    "TC-M412": (
        "Calibration data contains NaN or infinity, so no range can be taken from it. A division by a zero standard deviation or "
        "a logarithm of 0 in the preprocessing is the usual cause."
    ),
    "TC-M413": (
        "The float model itself produces NaN or infinity on the calibration data, at the operator named. Either its weights are "
        "damaged or the data is preprocessed otherwise than in training (0 to 255 instead of 0 to 1, for example)."
    ),
    "TC-M414": (
        "Part of the model has no int8 form here: activations whose scale is fixed by their kernel (softmax, log-softmax) meet "
        "where one scale is needed, an SVDF is still float, or an operator other than an LSTM reads an LSTM's cell state, which "
        "is int16. The message names the operators and the way out."
    ),
    "TC-M415": (
        "Accuracy is the share of samples whose largest output is the label, so the graph needs exactly one output and the data "
        "one label per sample, at least one. Use another metric, or evaluate the outputs of `predict` yourself."
    ),
}
