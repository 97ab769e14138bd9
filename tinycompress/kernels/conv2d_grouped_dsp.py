"""Grouped Conv2D and depthwise convolutions with several outputs a channel on Armv7E-M: the matrix core by groups."""

from __future__ import annotations

from tinycompress.ir.graph import Graph, Rounding
from tinycompress.ir.ops import Conv2D, DepthwiseConv2D
from tinycompress.ir.tensor import Array
from tinycompress.kernels import conv2d_dsp, depthwise_dsp
from tinycompress.kernels import gemm_dsp as gemm
from tinycompress.kernels.catalogue import Code, KernelVariant, PackedKernel
from tinycompress.kernels.code_dsp import matrix_cores
from tinycompress.kernels.conv2d_dsp import groups_of, packed_params, rounding_of
from tinycompress.kernels.conv2d_window import Window, run_rows
from tinycompress.kernels.packing import folded_bias, has_plain_weights
from tinycompress.kernels.requantize_dsp import Requantization

Grouped = Conv2D | DepthwiseConv2D


def _weights(op: Grouped, graph: Graph) -> Array:
    """Weights `(outputs, kernel height, kernel width, channels of a group)`."""
    weights = graph.tensors[op.weights].constant
    return weights if isinstance(op, Conv2D) else weights.transpose(2, 0, 1)[..., None]


def _window(op: Grouped, graph: Graph) -> Window:
    _, height, width, channels = _weights(op, graph).shape
    run = width * channels
    return Window(run, height, False, gemm.depth_for(height * -(-run // 4)))


def _requantization(op: Grouped, graph: Graph, rounding: Rounding) -> Requantization | None:
    if isinstance(op, Conv2D):
        return conv2d_dsp.requantization_of(op, graph, rounding)
    return depthwise_dsp.requantization_of(op, graph, rounding)


def _outputs(op: Grouped, graph: Graph) -> int:
    """Output channels of a group."""
    return graph.tensors[op.output].shape[2] // groups_of(op, graph)


def _supports(op: Grouped, graph: Graph) -> bool:
    """Several groups or a multiplier, an even number of outputs a group, and an exact requantization."""
    return (
        (isinstance(op, DepthwiseConv2D) or op.groups > 1)
        and _outputs(op, graph) % 2 == 0
        and has_plain_weights(op, graph)
        and _requantization(op, graph, rounding_of(graph)) is not None
    )


def _pack(op: Grouped, graph: Graph, rounding: Rounding) -> PackedKernel:
    requantization = _requantization(op, graph, rounding)
    if requantization is None:
        raise ValueError(f"{op.name} has no exact form on this kernel: ask supports() first")
    window = _window(op, graph)
    rows = run_rows(_weights(op, graph), window)
    stream = gemm.pack_stream(rows, folded_bias(op, graph), requantization, window.depth)
    return packed_params(op, graph, window, requantization, stream, "group by group, as 16-bit lanes")


def _scratch(op: Grouped, graph: Graph, rows: int) -> int:
    window = _window(op, graph)
    return -(-(16 * window.depth.groups + window.staging_bytes) // 8) * 8


def _instructions(op: Grouped, graph: Graph) -> int:
    """Core exactly as counted, and the gather, fitted."""
    height, width, _ = graph.tensors[op.output].shape
    window, requantization = _window(op, graph), _requantization(op, graph, rounding_of(graph))
    form = requantization.form if requantization else 0
    core = gemm.core_instructions(form, window.depth, _outputs(op, graph))
    _, _, kernel_width, channels = _weights(op, graph).shape
    copied = kernel_width if channels % 4 else 0
    pixel = window.rows * (19 + 3.6 * copied + 0.85 * window.run)
    return round(height * -(-width // 2) * groups_of(op, graph) * (core + 2 * pixel))


def _code(op: Grouped, graph: Graph) -> Code:
    requantization = _requantization(op, graph, rounding_of(graph))
    form = requantization.form if requantization else 0
    return Code(700, matrix_cores(form, _window(op, graph).depth, _outputs(op, graph)))


GROUPED = (
    KernelVariant(
        name="conv2d_grouped_s8_dsp",
        header="tc_conv2d_grouped_dsp.h",
        tier="dsp",
        pack=_pack,
        supports=_supports,
        scratch_bytes=_scratch,
        code=_code,
        instructions=_instructions,
        needs_zero_row=True,
    ),
)
