"""Converters of the TFLite operators with state: SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM."""

from __future__ import annotations

import numpy as np
import tflite

from tinycompress.errors import ModelError
from tinycompress.frontends.tflite_checks import (
    check_arity,
    check_pair,
    fused_activation,
    is_integer,
    required_options,
)
from tinycompress.frontends.tflite_file import FileOperator, TfliteFile
from tinycompress.frontends.tflite_graph import Converter, GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o
from tinycompress.ir.quant_params import log2_of_scale
from tinycompress.ir.tensor import Array, DType, QParams

LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
LSTM_INPUTS = 24
INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES = range(1, 5), range(5, 9), range(12, 16)
HIDDEN_STATE, CELL_STATE = 18, 19
LSTM_EXTRAS = {**dict.fromkeys((9, 10, 11), "peephole weights"), **dict.fromkeys((16, 17), "a projection"),
               **dict.fromkeys((20, 21, 22, 23), "layer normalization")}  # fmt: skip


def time_major_tensors(file: TfliteFile) -> frozenset[int]:
    """Inputs and outputs of the LSTMs that take `[time, batch, features]`."""
    found: set[int] = set()
    for op in file.operators:
        if op.kind == LSTM and op.inputs and op.outputs:
            options = op.read_options(tflite.UnidirectionalSequenceLSTMOptions)
            if options is not None and options.TimeMajor():
                found |= {op.inputs[0], op.outputs[0]}
    return frozenset(found)


def check_batch_axes(g: GraphBuilder, op: FileOperator) -> None:
    """UnsupportedOpError TC-M204 when an operator that counts axes from the batch meets a time-major sequence."""
    if op.kind in (LSTM, "TRANSPOSE", "RESHAPE") or not any(g.is_time_major(i) for i in (*op.inputs, *op.outputs)):
        return
    raise unsupported(op, "works on a time-major sequence", "transpose the sequence to batch, time, features first")


def _svdf(g: GraphBuilder, op: FileOperator) -> None:
    """Inputs: x, feature weights, time weights, optional bias, the variable state `[1, filters · memory]`."""
    check_arity(op, (5,))
    options = required_options(op, tflite.SVDFOptions)
    integer = is_integer(g, op, op.inputs[0], op.outputs[0])
    feature, feature_qparams = g.weights(op, op.inputs[1], integer)
    if integer:
        time, time_qparams = g.constant(op, op.inputs[2]), g.qparams(op.inputs[2])
    else:
        time, time_qparams = g.weights(op, op.inputs[2], False)
    rank, _ = check_pair(op, "rank", options.Rank(), 1)
    if time.ndim != 2 or feature.ndim != 2 or time.shape[0] != feature.shape[0] or time.shape[0] % rank:
        raise ModelError("TC-M206", "its weights do not fit together", where=op.label())
    before, after = g.state(op, op.inputs[4], "state", (time.shape[0], time.shape[1]))
    g.add(
        op,
        o.SVDF,
        (g.activation(op.inputs[0]), before),
        (g.output(op), after),
        feature_weights=g.add_constant(op, op.inputs[1], "feature_weights", feature, feature_qparams),
        time_weights=g.add_constant(op, op.inputs[2], "time_weights", time, time_qparams),
        bias=g.bias(op, op.inputs[3], integer, time.shape[0] // rank),
        rank=rank,
        # TFLM and LiteRT clamp integer results to the type's range only, whatever the file says.
        activation=o.NO_ACTIVATION if integer else fused_activation(op, options),
    )


def _lstm(g: GraphBuilder, op: FileOperator) -> None:
    """The LSTM that TFLM runs: input and recurrent weights, biases and two variables, tanh inside."""
    if len(op.inputs) != LSTM_INPUTS or len(op.outputs) != 1:
        raise unsupported(op, f"has {len(op.inputs)} inputs, not {LSTM_INPUTS}", "convert with a recent TensorFlow")
    options = required_options(op, tflite.UnidirectionalSequenceLSTMOptions)
    if {g.is_time_major(op.inputs[0]), g.is_time_major(op.outputs[0])} != {bool(options.TimeMajor())}:
        raise unsupported(op, "reads a sequence that another LSTM has as time-major")
    extras = dict.fromkeys(what for i, what in LSTM_EXTRAS.items() if op.inputs[i] >= 0)
    if op.inputs[1] < 0:
        extras["coupled input and forget gates"] = None
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.TANH:
        extras["another function than tanh"] = None
    if extras:
        raise unsupported(op, f"uses {' and '.join(extras)}", "use a plain LSTM layer with its default activations")
    needed = (0, *INPUT_WEIGHTS, *RECURRENT_WEIGHTS, *BIASES, HIDDEN_STATE, CELL_STATE)
    if any(op.inputs[i] < 0 for i in needed):
        raise ModelError("TC-M206", "a required input is absent", where=op.label())
    integer = is_integer(g, op, op.inputs[0], op.outputs[0])
    shape = g.shape(op.inputs[0])
    weights, weights_qparams = _gates(g, op, INPUT_WEIGHTS, integer)
    recurrent, recurrent_qparams = _gates(g, op, RECURRENT_WEIGHTS, integer)
    units = weights.shape[1]
    if len(shape) != 2 or weights.shape != (4, units, shape[1]) or recurrent.shape != (4, units, units):
        raise unsupported(op, f"weights {list(weights.shape)}, {list(recurrent.shape)} do not fit {list(shape)}")
    biases = [g.constant(op, op.inputs[i]) for i in BIASES]
    if any(b.shape != (units,) or b.dtype != (np.int32 if integer else np.float32) for b in biases):
        raise unsupported(op, f"biases of type {biases[0].dtype} and shape {list(biases[0].shape)}")
    hidden, next_hidden = g.state(op, op.inputs[HIDDEN_STATE], "hidden", (units,))
    cell, next_cell = g.state(op, op.inputs[CELL_STATE], "cell", (units,))
    y = g.output(op)
    if integer:
        _check_integer_states(g, op, y, hidden, cell)
    g.add(
        op,
        o.LSTM,
        (g.activation(op.inputs[0]), hidden, cell),
        (y, next_hidden, next_cell),
        input_weights=g.add_constant(op, op.inputs[1], "input_weights", weights, weights_qparams),
        recurrent_weights=g.add_constant(op, op.inputs[5], "recurrent_weights", recurrent, recurrent_qparams),
        bias=g.add_constant(op, op.inputs[12], "bias", np.stack(biases)),
        cell_clip=float(options.CellClip()),
    )


def _gates(g: GraphBuilder, op: FileOperator, positions: range, integer: bool) -> tuple[Array, QParams | None]:
    """The four gates' weights as one constant, one scale for each."""
    found = [g.weights(op, op.inputs[i], integer) for i in positions]
    arrays, qparams = [a for a, _ in found], [q for _, q in found if q is not None]
    if any(a.ndim != 2 or a.shape != arrays[0].shape for a in arrays):
        raise unsupported(op, f"its gates have weights {[list(a.shape) for a in arrays]}")
    if any(not q.is_per_tensor for q in qparams):
        raise unsupported(op, "weights with a scale for each unit", "quantize LSTM weights with one scale a tensor")
    scales = tuple(q.tensor_scale for q in qparams)
    return np.stack(arrays), QParams(scales, (0,) * len(scales), 0) if scales else None


def _check_integer_states(g: GraphBuilder, op: FileOperator, y: str, hidden: str, cell: str) -> None:
    """The hidden state is the output, the cell state int16 with a power of two as its scale."""
    made, kept, inner = g.tensors[y], g.tensors[hidden], g.tensors[cell]
    if kept.dtype is not DType.INT8 or kept.qparams != made.qparams:
        raise unsupported(op, "its hidden state is not quantized as its output")
    if inner.dtype is not DType.INT16 or inner.qparams is None or inner.quantization.tensor_zero_point:
        raise unsupported(op, "its cell state is not int16 with zero point 0")
    if log2_of_scale(inner.quantization.tensor_scale) is None:
        raise unsupported(op, f"its cell state's scale {inner.quantization.tensor_scale:g} is not a power of two")


RECURRENT_CONVERTERS: dict[str, Converter] = {"SVDF": _svdf, LSTM: _lstm}
