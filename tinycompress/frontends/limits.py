"""What a model file may ask for before anything in it is believed: sizes, counts, ranks, and where its bytes come from.

Every front end checks these before it allocates or loops, so that a damaged or hostile file costs no more than its own
size in memory and a bounded time. The limits are far above anything that fits a microcontroller.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tinycompress.errors import ModelError, UnsafeModelError
from tinycompress.ir.graph import Graph

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TENSORS = 20_000
MAX_OPERATORS = 10_000
MAX_RANK = 6
MAX_DIMENSION = 1 << 24
MAX_ELEMENTS = 1 << 26
MAX_COMPUTED_ELEMENTS = 1 << 22
MAX_NAME_CHARACTERS = 4096
MAX_ACTIVATION_ELEMENTS = 1 << 22
MAX_ACTIVATION_ROWS = 1 << 17


def read_model_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_FILE_BYTES.

    Raises ModelError TC-M601 (too big), TC-M602 (missing, unreadable or not a regular file).
    """
    try:
        # A pipe must not block the open; whatever it is, it is looked at before it is read.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError("TC-M602", f"{path} is not a regular file", where=str(path))
            check_file_bytes(status.st_size, str(path))
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(
            "TC-M602",
            f"cannot read {path}: {error.strerror}",
            where=str(path),
            fix="check the path and its permissions",
        ) from error


def check_file_bytes(size: int, where: str) -> None:
    """ModelError TC-M601 when a file of `size` bytes is above the cap."""
    if size > MAX_FILE_BYTES:
        raise ModelError(
            "TC-M601",
            f"the file has {size} B, the limit is {MAX_FILE_BYTES} B",
            where=where,
            fix="models for microcontrollers are far smaller; export without optimizer state or other networks",
        )


def check_count(what: str, count: int, limit: int, where: str) -> None:
    """ModelError TC-M603 when a file declares more of `what` than `limit` (or a negative number of them)."""
    if not 0 <= count <= limit:
        raise ModelError("TC-M603", f"the file declares {count} {what}, the limit is {limit}", where=where)


def check_shape(shape: Sequence[int], where: str) -> tuple[int, ...]:
    """`shape` as ints, once its rank, each dimension and their product are within limits.

    Zero-sized dimensions are refused too: no tensor of a deployable network is empty. Raises ModelError TC-M604.
    """
    dims = tuple(int(d) for d in shape)
    if len(dims) > MAX_RANK:
        raise ModelError("TC-M604", f"rank {len(dims)} is above the limit of {MAX_RANK}", where=where)
    if any(not 1 <= d <= MAX_DIMENSION for d in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise ModelError(
            "TC-M604",
            f"shape {list(dims)} has a dimension outside 1..{MAX_DIMENSION} or more than {MAX_ELEMENTS} elements",
            where=where,
            fix="export with fixed shapes, none of them empty",
        )
    return dims


def check_computed(shape: Sequence[int], where: str) -> None:
    """ModelError TC-M604 when a constant that would be computed on import has more than MAX_COMPUTED_ELEMENTS."""
    if math.prod(shape) > MAX_COMPUTED_ELEMENTS:
        what = f"a constant of shape {list(shape)} would be computed, the limit is {MAX_COMPUTED_ELEMENTS} elements"
        raise ModelError("TC-M604", what, where=where)


def check_activations(graph: Graph) -> None:
    """ModelError TC-M604 naming an activation that no microcontroller holds, before anybody plans its rows."""
    for tensor in graph.tensors.values():
        rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
        if not tensor.is_constant and (tensor.elements > MAX_ACTIVATION_ELEMENTS or rows > MAX_ACTIVATION_ROWS):
            producer = graph.producer(tensor.name)
            raise ModelError(
                "TC-M604",
                f"an activation of shape {list(tensor.shape)} is above the limit of {MAX_ACTIVATION_ELEMENTS} elements "
                f"and {MAX_ACTIVATION_ROWS} rows",
                where=f"{producer.name} ({producer.kind})" if producer else f"input {tensor.name!r}",
                fix="export for a smaller input",
            )


def check_bytes(declared: int, expected: int, where: str) -> None:
    """ModelError TC-M605 when a constant's byte count is not what its shape and type need."""
    if declared != expected:
        raise ModelError(
            "TC-M605",
            f"holds {declared} B of data, its shape and type need {expected} B",
            where=where,
            fix="the file is damaged or was truncated; export it again",
        )


def check_constant_bytes(total: int, where: str) -> None:
    """ModelError TC-M604 when all constants together exceed MAX_FILE_BYTES (many tensors may share one buffer)."""
    if total > MAX_FILE_BYTES:
        raise ModelError("TC-M604", f"constants take {total} B, the limit is {MAX_FILE_BYTES} B", where=where)


def refuse_control_flow(nodes: Sequence[str], where: str) -> None:
    """UnsafeModelError TC-M606 naming the nodes, when there are any."""
    if nodes:
        raise UnsafeModelError(
            "TC-M606",
            f"control flow is not supported: {', '.join(nodes)}",
            where=where,
            fix="export the network with loops unrolled and conditions resolved",
        )
