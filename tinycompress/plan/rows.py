"""Which rows of which operand a kernel call reads: the row meaning of operators under a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.errors import UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.rows import ROW_WINDOWS, reads_padding
from tinycompress.ir.shapes import row_count, row_elements, window_rows
from tinycompress.ir.tensor import Tensor
from tinycompress.kernels.catalogue import KernelVariant


@dataclass(frozen=True)
class RowSpan:
    """Rows [start, stop) of the activation input at position `index`; rows outside the tensor are padding."""

    index: int
    tensor: str
    start: int
    stop: int


@dataclass(frozen=True)
class RowWindow:
    """Row meaning of one input: output rows first … first+n−1 need rows first·stride + offset … , `reach` for the last.

    With `pads`, some of these rows lie outside the input. A `shared` input is the same single row for every output row
    (a broadcast operand); a `whole` one is read entirely.
    """

    index: int
    tensor: str
    stride: int = 1
    offset: int = 0
    reach: int = 1
    shared: bool = False
    whole: bool = False
    pads: bool = False

    def span(self, first: int, count: int, height: int) -> RowSpan:
        """The rows that output rows first … first+count−1 need, of an input with `height` rows."""
        if self.whole:
            return RowSpan(self.index, self.tensor, 0, height)
        if self.shared:
            return RowSpan(self.index, self.tensor, 0, 1)
        start, stop = window_rows(first, count, self.reach, self.stride, 1, -self.offset)
        return RowSpan(self.index, self.tensor, start, stop)


def row_bytes(tensor: Tensor) -> int:
    """Bytes of one row of an activation."""
    return row_elements(tensor.shape) * tensor.dtype.itemsize


def tensor_rows(tensor: Tensor) -> int:
    """Number of rows of an activation."""
    return row_count(tensor.shape)


BROADCASTING = (o.Add, o.Sub, o.Mul, o.Maximum, o.Minimum)


def row_windows(op: o.Op, graph: Graph, kernel: KernelVariant) -> tuple[RowWindow, ...]:
    """Row meaning of each activation input of `op` under `kernel`, in input order.

    Raises UnsupportedOpError TC-M501 when the kernel works row by row but the operator does not.
    """
    inputs = [(i, n) for i, n in enumerate(op.inputs) if not graph.tensors[n].is_constant]
    if kernel.whole_input:
        return tuple(RowWindow(i, n, whole=True) for i, n in inputs)
    if kernel.accumulator_bytes is not None:
        return tuple(RowWindow(i, n) for i, n in inputs)
    joins_rows = isinstance(op, o.Concat) and op.axis == 0 and len(graph.tensors[op.outputs[0]].shape) > 1
    if type(op) not in ROW_WINDOWS or joins_rows:
        raise UnsupportedOpError(
            "TC-M501", f"kernel {kernel.name} works row by row, which {op.kind} does not allow", where=op.name
        )
    stride, offset, reach = ROW_WINDOWS[type(op)](op, graph)
    height = tensor_rows(graph.tensors[op.outputs[0]])
    windows = []
    for index, name in inputs:
        shared = isinstance(op, BROADCASTING) and height > 1 and tensor_rows(graph.tensors[name]) == 1
        windows.append(RowWindow(index, name, stride, offset, reach, shared, pads=reads_padding(op, graph)))
    return tuple(windows)
