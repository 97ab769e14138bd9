"""AveragePool2D and MaxPool2D: packing and predicates."""

from __future__ import annotations

from tinycompress.ir.fixedpoint import activation_range
from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import AveragePool2D, MaxPool2D
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel
from tinycompress.kernels.packing import are_activations, estimate, is_int8

Pool = AveragePool2D | MaxPool2D


def taps(op: Pool, graph: Graph) -> int:
    """Elements under one window."""
    return op.kernel[0] * op.kernel[1]


def _has_valid_tap(size: int, output: int, kernel: int, stride: int, before: int) -> bool:
    """True when each window along one axis covers an element that is not padding."""
    starts = (i * stride - before for i in range(output))
    return all(start < size and start + kernel > 0 for start in starts)


def supports_max(op: Pool, graph: Graph) -> bool:
    """int8 input and output."""
    return is_int8(op, graph) and are_activations(op, graph)


def has_valid_taps(op: Pool, graph: Graph) -> bool:
    """True when no window lies in padding altogether: a mean would divide by zero."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    return all(_has_valid_tap(x.shape[i], y.shape[i], op.kernel[i], op.stride[i], op.padding[i]) for i in range(2))


def supports_average(op: Pool, graph: Graph) -> bool:
    """As for the maximum, and every window has a valid tap."""
    return supports_max(op, graph) and has_valid_taps(op, graph)


def pack(op: Pool, graph: Graph, rounding: Rounding) -> PackedKernel:
    """Both pools have the same params and no arrays."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    low, high = activation_range(op.activation, y)
    return PackedKernel(
        f"tc_{'average' if isinstance(op, AveragePool2D) else 'max'}_pool_s8_params",
        (
            ("input_width", x.shape[1]),
            ("output_width", y.shape[1]),
            ("channels", y.shape[2]),
            ("kernel_height", op.kernel[0]),
            ("kernel_width", op.kernel[1]),
            ("stride_height", op.stride[0]),
            ("stride_width", op.stride[1]),
            ("pad_left", op.padding[1]),
            ("activation_min", low),
            ("activation_max", high),
        ),
    )


AVERAGE_POOL = (
    KernelVariant(
        name="average_pool_s8",
        header="tc_pool.h",
        tier="portable",
        pack=pack,
        supports=supports_average,
        instructions=estimate(15, 4, taps),
    ),
)
MAX_POOL = (
    KernelVariant(
        name="max_pool_s8",
        header="tc_pool.h",
        tier="portable",
        pack=pack,
        supports=supports_max,
        instructions=estimate(10, 6, taps),
    ),
)
