"""Machine code of the DSP kernels, estimated: sizes read from the symbols of builds by zig at -O2.

Cores are assembly, so their sizes follow from their unrolling and form; a layer's own function is what the compiler
makes of the gather with the layer's constants, and differs between compilers by some tens of per cent.
"""

from __future__ import annotations

from tinycompress.ir.graph import Graph
from tinycompress.ir.ops import Conv2D, DepthwiseConv2D
from tinycompress.kernels.catalogue import Code
from tinycompress.kernels.conv2d_window import MAX_ROWS_AT_ONCE, Window, has_group_rows
from tinycompress.kernels.gemm_dsp import Depth
from tinycompress.kernels.requantize_dsp import form_instructions

Shared = tuple[tuple[str, int], ...]

_INSTRUCTION = 4
_STEP_BYTES = 38
_WIDE_RUN = 16


def _excess(form: int, outputs: int) -> int:
    """Bytes that a form takes for `outputs` outputs beyond the shortest."""
    return _INSTRUCTION * outputs * (form_instructions(form) - 2)


def _calls_vary(height: int) -> bool:
    """True where the last call of a layer makes fewer rows than the others."""
    return height > MAX_ROWS_AT_ONCE and height % MAX_ROWS_AT_ONCE > 0


def matrix_cores(form: int, depth: Depth, outputs: int) -> Shared:
    """The cores that tc_conv2d_pixels_dsp calls."""
    name = f"gemm_{form}_{depth.steps}"
    if depth.chunks > 1:
        return ((f"{name}_chunked", 98 + _STEP_BYTES * depth.steps + _excess(form, 4)),)
    one = (f"{name}_one", 86 + _STEP_BYTES * depth.steps + _excess(form, 4))
    two = (f"{name}_two", 146 + 2 * _STEP_BYTES * depth.steps + _excess(form, 8))
    even = outputs & ~1
    return (*((two,) if even % 4 == 0 and even else ()), *((one,) if even % 4 or outputs % 2 else ()))


def conv2d_code(op: Conv2D, graph: Graph, window: Window, form: int) -> Code:
    """conv2d_s8_dsp."""
    height = graph.tensors[op.output].shape[0]
    outputs, *kernel, inputs = graph.tensors[op.weights].shape
    shared = matrix_cores(form, window.depth, outputs)
    if kernel == [1, 1] and op.stride == (1, 1):
        if inputs >= _WIDE_RUN:
            shared = (*shared, ("conv2d_widen", 114))
        own = 660 if height > MAX_ROWS_AT_ONCE else 150 + (100 if inputs % _WIDE_RUN else 0)
        return Code(own + (150 if outputs % 2 else 0), shared)
    if has_group_rows(op, graph):
        return Code(890, shared)
    if window.is_dense and window.rows == 3 and window.run == 9:
        return Code(950 if op.padding[1] == 0 else 1330, (*shared, ("conv2d_gather27", 258)))
    if kernel == [1, 1]:
        return Code(430, shared)
    has_ends = graph.tensors[op.output].shape[1] % 2 and window.run % 8
    return Code(_gather_bytes(window) * (8 if has_ends else 5) // 5, shared)


def _gather_bytes(window: Window) -> int:
    """A layer's own gather: rows of few values are unrolled."""
    return 400 + 170 * min(window.rows, 10) if window.run < _WIDE_RUN else 1450


def conv2d_packed_code(window: Window, form: int, kernel: tuple[int, int]) -> Code:
    """conv2d_packed_s8_dsp."""
    depth = window.depth
    size = (130 if depth.chunks > 1 else 118) + _STEP_BYTES * depth.steps + _excess(form, 4)
    name = f"strip_{depth.chunks > 1}_{form}_{depth.steps}"
    return Code(1100 if kernel == (1, 1) else 300 + _gather_bytes(window), ((name, size),))


def depthwise_code(op: DepthwiseConv2D, graph: Graph, form: int, pairs: int, rounds: int) -> Code:
    """depthwise3x3_s8_dsp."""
    height, width, _ = graph.tensors[op.output].shape
    name, last = f"{form}_{pairs}_{rounds > 1}_{width % 2}", width % 2
    base = 84 if rounds > 1 else 70
    two = base + pairs * (174 + _excess(form, 4)) + last * (96 + _excess(form, 2))
    one = base + pairs * (100 + _excess(form, 2)) + last * (66 + _excess(form, 2))
    has_two, has_one = height > 1, height % 2 == 1 or _calls_vary(height)
    shared: Shared = (("depthwise_gather", 94), ("depthwise_slide", 56))
    shared += ((f"depthwise_two_{name}", two),) if has_two else ()
    shared += ((f"depthwise_one_{name}", one),) if has_one else ()
    return Code(680 if height > MAX_ROWS_AT_ONCE else 430, shared)


def depthwise_stride2_code(form: int, columns: int, rounds: int) -> Code:
    """depthwise3x3_stride2_s8_dsp."""
    size = (84 if rounds > 1 else 70) + columns * (94 + _excess(form, 2))
    return Code(540, (("depthwise2_gather", 220), (f"depthwise2_{form}_{columns}_{rounds > 1}", size)))


def fully_connected_code(form: int, unroll: int, is_packed: bool) -> Code:
    """fully_connected_s8_dsp and fully_connected_packed_s8_dsp."""
    size = (150 + 106 * unroll) if is_packed else 94 + 82 * unroll + _excess(form, 4)
    return Code(240, ((f"fc_{is_packed}_{form}_{unroll}", size),))


def winograd_code(channels: int, shift: int, is_signed: bool) -> Code:
    """conv2d_winograd_s8_dsp."""
    steps = channels // 4
    shared = (
        ("winograd_columns", 238),
        (f"winograd_rows_{steps}", 368),
        (f"winograd_sums_{steps}", 78 + 114 * steps),
        (f"winograd_output_{shift}_{is_signed}", 1514 if is_signed else 1242),
    )
    return Code(770, shared)


def polyphase_code(channels: int, shift: int, is_signed: bool) -> Code:
    """conv2d_polyphase_s8_dsp."""
    steps = channels // 4
    sums = tuple((f"polyphase_sums_{n}", 36 + _STEP_BYTES * n) for n in (steps, 2 * steps, 4 * steps))
    shared = (
        ("polyphase_even", 202),
        ("polyphase_odd", 166),
        (f"polyphase_last_{steps}", 502),
        (f"polyphase_rows_{steps}", 530),
        *sums,
        (f"polyphase_output_{shift}_{is_signed}", 1300 if is_signed else 1040),
    )
    return Code(950, shared)
