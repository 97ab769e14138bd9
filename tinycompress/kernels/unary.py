"""Table, Clamp and Quantize (rescaling): packing and predicates."""

from __future__ import annotations

from tinycompress.ir.fixedpoint import activation_range, integer_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Clamp, Op, Quantize, Table
from tinycompress.ir.quant_params import rescale_multiplier, same_quantization
from tinycompress.ir.shapes import row_elements
from tinycompress.ir.tensor import DType
from tinycompress.kernels.catalogue import KernelVariant, PackedArray, PackedKernel
from tinycompress.kernels.packing import Scalars, are_activations, describe, estimate, is_int8, no_taps


def elements(op: Op, graph: Graph) -> int:
    """Elements of one row."""
    return row_elements(graph.tensors[op.output].shape)


def supports_table(op: Table, graph: Graph) -> bool:
    """int8 with a table."""
    return op.table is not None and is_int8(op, graph) and are_activations(op, graph)


def pack_table(op: Table, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The 256 entries as they are."""
    if op.table is None:
        raise ValueError(f"{op.name} has no table")
    table = graph.tensors[op.table]
    comment = describe(table, f"table of {op.function.value}", "output for input q at q + 128")
    return PackedKernel(
        "tc_table_s8_params",
        (("elements", elements(op, graph)),),
        (PackedArray("table", table.constant, comment, 1),),
    )


def _has_one_scale(op: Op, graph: Graph) -> bool:
    return same_quantization(graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]])


def supports_clamp(op: Clamp, graph: Graph) -> bool:
    """int8, input and output of one scale and zero point."""
    return is_int8(op, graph) and are_activations(op, graph) and _has_one_scale(op, graph)


def pack_clamp(op: Clamp, graph: Graph, rounding: Rounding) -> PackedKernel:
    """The clamp in quantized values."""
    low, high = activation_range(op.activation, graph.tensors[op.output])
    return PackedKernel(
        "tc_clamp_s8_params",
        (("elements", elements(op, graph)), ("activation_min", low), ("activation_max", high)),
    )


def supports_rescale(op: Clamp | Quantize, graph: Graph) -> bool:
    """int8 or int16 to int8 or int16; a Quantize also to int32 with zero point 0."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    narrow = (DType.INT8, DType.INT16)
    is_int32 = isinstance(op, Quantize) and y.dtype is DType.INT32
    if x.dtype not in narrow or not (y.dtype in narrow or is_int32) or not are_activations(op, graph):
        return False
    return y.qparams is not None and (not is_int32 or y.quantization.tensor_zero_point == 0)


def pack_rescale(op: Clamp | Quantize, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Scale ratio, zero points and the range to clamp to."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    multiplier, shift = rescale_multiplier(x, y, rounding)
    low, high = activation_range(op.activation, y) if isinstance(op, Clamp) else integer_range(y.dtype)
    scalars: Scalars = (
        ("elements", elements(op, graph)),
        ("input_bytes", x.dtype.itemsize),
        ("output_bytes", y.dtype.itemsize),
        ("input_zero_point", x.quantization.tensor_zero_point),
        ("output_zero_point", y.quantization.tensor_zero_point),
        ("multiplier", multiplier),
        ("shift", shift),
        ("activation_min", low),
        ("activation_max", high),
    )
    return PackedKernel("tc_rescale_params", scalars)


TABLE = (
    KernelVariant(
        name="table_s8",
        header="tc_unary.h",
        tier="portable",
        pack=pack_table,
        supports=supports_table,
        in_place=(0,),
        instructions=estimate(7, 0, no_taps),
    ),
)
RESCALE = (
    KernelVariant(
        name="rescale",
        header="tc_rescale.h",
        tier="portable",
        pack=pack_rescale,
        supports=supports_rescale,
        in_place=(0,),
        instructions=estimate(15, 0, no_taps),
    ),
)
CLAMP = (
    KernelVariant(
        name="clamp_s8",
        header="tc_unary.h",
        tier="portable",
        pack=pack_clamp,
        supports=supports_clamp,
        in_place=(0,),
        instructions=estimate(8, 0, no_taps),
    ),
    *RESCALE,
)
