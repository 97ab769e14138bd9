"""Averages over a whole image that take its rows as they come; for streamed schedules."""

from __future__ import annotations

from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import activation_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.quant_params import mean_params
from tinycompress.kernels.catalogue import KernelTable, KernelVariant, PackedKernel
from tinycompress.kernels.packing import are_activations, is_int8

MAX_COUNT = 2**22


def _is_image(op: o.AveragePool2D | o.Mean, graph: Graph) -> bool:
    """int8, one value per channel out of an [h,w,c] image whose sums fit int32."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    averages_all = len(x.shape) == 3 and y.elements == x.shape[2] and x.shape[0] * x.shape[1] < MAX_COUNT
    return is_int8(op, graph) and are_activations(op, graph) and averages_all


def supports_pool(op: o.AveragePool2D, graph: Graph) -> bool:
    """One window, exactly the image; equal scale and zero point."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    covers = op.kernel == x.shape[:2] and not any(op.padding) and y.shape[:2] == (1, 1)
    return _is_image(op, graph) and covers and x.qparams == y.qparams


def supports_mean(op: o.Mean, graph: Graph) -> bool:
    """Over both spatial axes."""
    return _is_image(op, graph) and tuple(sorted(op.axes)) == (0, 1)


def pack(op: o.AveragePool2D | o.Mean, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Both have one params type; the pool ignores the mean's rescaling."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    height, width, channels = x.shape
    is_pool = isinstance(op, o.AveragePool2D)
    low, high = activation_range(op.activation, y) if isinstance(op, o.AveragePool2D) else (-128, 127)
    params = mean_params(x, y, height * width, rounding)
    return PackedKernel(
        f"tc_running_{'average_pool' if is_pool else 'mean'}_s8_params",
        (
            ("width", width),
            ("channels", channels),
            ("count", height * width),
            ("output_zero_point", y.quantization.tensor_zero_point),
            ("input_sum", x.quantization.tensor_zero_point * height * width),
            ("output_multiplier", params.multiplier),
            ("output_shift", params.shift),
            ("activation_min", low),
            ("activation_max", high),
        ),
    )


def sums_bytes(op: o.AveragePool2D | o.Mean, graph: Graph) -> int:
    """One int32 per channel."""
    return 4 * graph.tensors[op.inputs[0]].shape[2]


def instructions(op: o.AveragePool2D | o.Mean, graph: Graph) -> int:
    """About five per element summed and forty per average."""
    x = graph.tensors[op.inputs[0]]
    return 5 * x.elements + 40 * x.shape[2]


def _variant(name: str, supports: object) -> KernelVariant:
    return KernelVariant(
        name=name,
        header="tc_running_mean.h",
        tier="portable",
        pack=pack,
        supports=supports,  # type: ignore[arg-type]
        instructions=instructions,
        accumulator_bytes=sums_bytes,
    )


ACCUMULATING: KernelTable = {
    o.AveragePool2D: (_variant("running_average_pool_s8", supports_pool),),
    o.Mean: (_variant("running_mean_s8", supports_mean),),
}
"""Kernels that keep running sums instead of needing all rows at once."""
