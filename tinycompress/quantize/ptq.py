"""Post-training quantization: a float graph and calibration data become an integer graph (METHODS B4.1, B4.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import FLOAT_ONLY, to_quant_graph
from tinycompress.passes import prepare_for_quantization
from tinycompress.quantize import constants
from tinycompress.quantize.bias_correction import corrected_biases
from tinycompress.quantize.calibrate import Calibration, calibration_inputs, observe
from tinycompress.quantize.equalize import equalize
from tinycompress.quantize.ranges import WeightScales, weight_scales
from tinycompress.quantize.recurrent import cell_tensors, quantize_lstm
from tinycompress.quantize.sharing import activation_parameters


@dataclass(frozen=True)
class WeightSettings:
    """How weights are quantized: the method that finds scales, and whether each output channel has its own."""

    method: WeightScales
    per_channel: bool
    per_channel_fc: bool

    def is_per_channel(self, op: o.Op) -> bool:
        return self.per_channel_fc if isinstance(op, o.FullyConnected) else self.per_channel

    def method_for(self, op: o.Op) -> WeightScales:
        """How this operator's scales are found."""
        del op
        return self.method


def quantize(
    graph: Graph,
    calibration: Calibration,
    *,
    weights: str = "mse",
    activations: str = "percentile",
    rounding: Rounding = Rounding.DOUBLE,
    per_channel: bool = True,
    per_channel_fc: bool = True,
    bias_correction: bool = False,
    equalization: bool = False,
) -> QuantGraph:
    """`graph` in int8: activations asymmetric per tensor, weights symmetric per output channel, biases int32.

    `graph` is folded first (`passes.prepare_for_quantization`). `calibration` is real-valued, after the user's
    preprocessing, `(n, *shape)` per input, channels last; 100 to 500 training samples are enough. `weights` is "mse" or
    "minmax"; `activations` is "percentile" (99.99 %), "minmax", "ema", "mse" or "entropy"; graph inputs and outputs
    always use minmax. `bias_correction` shifts biases by the mean error that quantization brings to each channel;
    `equalization` balances the ranges of neighbouring layers first.

    Raises ModelError TC-M403 (operators that do not fold), TC-M410 (unknown method), TC-M411, M412 (calibration), M413
    (activations not finite), UnsupportedOpError TC-M414.
    """
    graph = prepare_for_quantization(graph)
    require_quantizable(graph)
    if equalization:
        graph = equalize(graph)
    settings = WeightSettings(weight_scales(weights), per_channel, per_channel_fc)
    inputs = calibration_inputs(graph, calibration)
    ranges = observe(graph, inputs, activations)
    parameters = activation_parameters(graph, ranges)
    quantized = with_parameters(graph, parameters, settings, rounding)
    if bias_correction:
        quantized = corrected_biases(graph, quantized, inputs)
    samples = len(next(iter(inputs.values())))
    note = f"quantized to int8 with {weights} weights and {activations} activations over {samples} samples"
    return replace(quantized, notes=(*quantized.notes, note))


def require_quantizable(graph: Graph) -> None:
    """ModelError TC-M403 for what folding left without an integer form or quantized.

    UnsupportedOpError TC-M414 for SVDF, and for an LSTM's int16 cell state where another operator reads it.
    """
    found = [op for op in graph.ops if isinstance(op, (*FLOAT_ONLY, o.Quantize))]
    if found:
        raise ModelError(
            "TC-M403",
            f"{len(found)} operators cannot be quantized: {', '.join(f'{op.name} ({op.kind})' for op in found)}",
            where=graph.name,
            fix="a BatchNorm must follow a convolution or a fully connected layer; bring quantized models as they are",
        )
    streaming = [f"{op.name} ({op.kind})" for op in graph.ops if isinstance(op, o.SVDF)]
    if streaming:
        raise UnsupportedOpError(
            "TC-M414",
            f"operators with a memory cannot be quantized here: {', '.join(streaming)}",
            fix="bring the model as an int8 .tflite file",
        )
    cells = cell_tensors(graph)
    readers = {
        op.name for op in graph.ops if cells.intersection(op.inputs[:2] if isinstance(op, o.LSTM) else op.inputs)
    }
    if readers:
        raise UnsupportedOpError(
            "TC-M414",
            "the cell state of an LSTM is int16 and no input of other operators",
            where=", ".join(sorted(readers)),
            fix="compute with the hidden state, or make the cell state an output of the network",
        )


def with_parameters(
    graph: Graph, parameters: dict[str, QParams], settings: WeightSettings, rounding: Rounding = Rounding.DOUBLE
) -> QuantGraph:
    """The integer graph, given the parameters of every activation and constant operand."""
    tensors = {n: t for n, t in graph.tensors.items() if t.dtype is DType.INT32 and not t.is_constant}
    for name, qparams in parameters.items():
        tensor = graph.tensors[name]
        if tensor.is_constant:
            tensors[name] = constants.quantize_operand(tensor, qparams)
        else:
            tensors[name] = replace(tensor, dtype=constants.activation_dtype(qparams), qparams=qparams)
    ops: list[o.Op] = []
    notes = list(graph.notes)
    for op in graph.ops:
        made = _quantize_op(_with_own_constants(op, graph, tensors), op, graph, tensors, settings)
        ops.append(made[0])
        notes.extend(made[1])
    converted = graph.with_ops(ops, tensors)
    return to_quant_graph(replace(converted, notes=tuple(notes)), rounding)


def _with_own_constants(op: o.Op, graph: Graph, tensors: dict[str, Tensor]) -> o.Op:
    """The operator with constants that others also own renamed: their scales differ between users."""
    if isinstance(op, o.Embedding):
        return op
    shared = [n for n in op.constants() if n in tensors or len(graph.consumers(n)) > 1]
    return op.renamed({n: f"{n}_of_{op.name}" for n in shared}) if shared else op


def _quantize_op(
    op: o.Op, original: o.Op, graph: Graph, tensors: dict[str, Tensor], settings: WeightSettings
) -> tuple[o.Op, list[str]]:
    """The integer operator, its constants put into `tensors`, and notes. `original` names the float constants."""
    if isinstance(op, constants.WEIGHTED):
        assert isinstance(original, constants.WEIGHTED)
        weights = constants.renamed(graph.tensors[original.weights], op.weights)
        bias = None
        if op.bias is not None and original.bias is not None:
            bias = constants.renamed(graph.tensors[original.bias], op.bias)
        scale = tensors[op.inputs[0]].quantization.tensor_scale
        made = constants.quantize_weights(
            op, weights, bias, scale, settings.method_for(op), settings.is_per_channel(op)
        )
        tensors[op.weights] = made.weights
        if op.bias is not None and made.bias is not None:
            tensors[op.bias] = made.bias
        if made.coarser_channels:
            return op, [f"{op.name}: large biases coarsen the weights of {made.coarser_channels} channels"]
    elif isinstance(op, o.PReLU) and isinstance(original, o.PReLU):
        tensors[op.alpha] = constants.quantize_operand(constants.renamed(graph.tensors[original.alpha], op.alpha))
    elif isinstance(op, o.LayerNorm) and isinstance(original, o.LayerNorm):
        gamma = constants.renamed(graph.tensors[original.gamma], op.gamma)
        beta = constants.renamed(graph.tensors[original.beta], op.beta)
        tensors[op.gamma], tensors[op.beta] = constants.quantize_norm(gamma, beta)
    elif isinstance(op, o.LSTM) and isinstance(original, o.LSTM):
        x = tensors[op.inputs[0]].quantization
        tensors.update(quantize_lstm(op, original, graph.tensors, x, settings.method_for(op)))
    elif isinstance(op, o.Table):
        name = f"{op.name}_table"
        x, y = tensors[op.inputs[0]].quantization, tensors[op.output].quantization
        tensors[name] = constants.function_table(op, x, y, name)
        return replace(op, table=name), []
    return op, []
