"""PyTorch's own 2:4 path (`torch.sparse` semi-structured), found by trying: the peer that our kernels stand beside.

A layer is its matrix product: weights `(rows, columns)` times `(columns, pixels · batch)`. A convolution is timed as
the product of its patches, which are made beforehand, so the peer's times leave the gathering out.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tinycompress.gpu.masks import GROUP

WARMUP, REPEAT = 50, 200
_ROW_UNIT = {"fp16": 32, "int8": 32}
_COLUMN_UNIT = {"fp16": 64, "int8": 128}


@dataclass(frozen=True)
class Features:
    """What this PyTorch can do here; `reason` says why there are no times."""

    has_cuda: bool
    has_sparse: bool
    device: str | None
    torch: str
    cuda: str | None
    reason: str


@dataclass(frozen=True)
class PeerTime:
    """One product: median µs, and the largest error relative to the masked dense result; `reason` where missing."""

    dense_us: float | None
    sparse_us: float | None
    error: float | None
    reason: str


def features() -> Features:
    """Detected, not assumed: CUDA, and the conversion to semi-structured sparse tensors."""
    has_cuda = torch.cuda.is_available()
    has_sparse = hasattr(torch.sparse, "to_sparse_semi_structured")
    device, reason = None, ""
    if not has_cuda:
        reason = "PyTorch sees no GPU"
    else:
        device = torch.cuda.get_device_name()
        if torch.cuda.get_device_capability() < (8, 0):
            reason = f"{device} is older than compute capability 8.0"
        elif not has_sparse:
            reason = f"torch {torch.__version__} has no to_sparse_semi_structured"
    return Features(has_cuda, has_sparse, device, torch.__version__, torch.version.cuda, reason)


def shape_obstacle(rows: int, columns: int, dtype: str) -> str:
    """Why PyTorch cannot hold `(rows, columns)` as 2:4; empty when it can."""
    for size, unit, what in ((rows, _ROW_UNIT[dtype], "rows"), (columns, _COLUMN_UNIT[dtype], "columns")):
        if size % unit:
            return f"{size} {what} are not a multiple of {unit}"
    return ""


def masked(rows: int, columns: int, dtype: str, seed: int = 0) -> Tensor:
    """Random 2:4 weights on the GPU: two of every four at random places."""
    generator = torch.Generator("cuda").manual_seed(seed)
    order = torch.rand(rows, columns // GROUP, GROUP, generator=generator, device="cuda").argsort(-1)
    keep = (order < 2).view(rows, columns)
    return random_matrix(rows, columns, dtype, generator) * keep


def random_matrix(rows: int, columns: int, dtype: str, generator: torch.Generator) -> Tensor:
    if dtype == "int8":
        return torch.randint(-127, 128, (rows, columns), generator=generator, device="cuda", dtype=torch.int8)
    return torch.randn(rows, columns, generator=generator, device="cuda", dtype=torch.float16)


def time_us(work: Callable[[], object], warmup: int = WARMUP, repeat: int = REPEAT) -> float:
    """Median µs between CUDA events around one call."""
    for _ in range(warmup):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeat):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(1000.0 * begin.elapsed_time(end))
    return float(statistics.median(times))


@contextmanager
def _prototype_warnings_ignored() -> Iterator[None]:
    """PyTorch warns that its sparse tensors are a prototype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def time_product(
    rows: int, columns: int, pixels: int, dtype: str, *, warmup: int = WARMUP, repeat: int = REPEAT
) -> PeerTime:
    """Dense against 2:4 in PyTorch. What it cannot run is said in `reason`, with PyTorch's own words."""
    found = features()
    why = found.reason or shape_obstacle(rows, columns, dtype)
    if why:
        return PeerTime(None, None, None, why)
    width = -(-pixels // 32) * 32  # both backends want a padded right side; said in the results
    weights = masked(rows, columns, dtype)
    dense = random_matrix(width, columns, dtype, torch.Generator("cuda").manual_seed(1)).t()
    expected = weights.double() @ dense.double()
    multiply = torch._int_mm if dtype == "int8" else torch.mm
    dense_us = sparse_us = error = None
    try:
        dense_us = time_us(partial(multiply, weights, dense), warmup, repeat)
        with _prototype_warnings_ignored():
            packed = torch.sparse.to_sparse_semi_structured(weights)
            product = torch.mm(packed, dense)
            sparse_us = time_us(partial(torch.mm, packed, dense), warmup, repeat)
        scale = float(expected.abs().max())
        if product.dtype is torch.int8:
            return PeerTime(dense_us, sparse_us, None, "PyTorch gives int8 sums here: not comparable")
        error = float((product.double() - expected).abs().max()) / max(scale, 1e-30)
    except (RuntimeError, NotImplementedError, TypeError) as failure:
        return PeerTime(dense_us, sparse_us, error, f"PyTorch: {str(failure).splitlines()[0]}")
    return PeerTime(dense_us, sparse_us, error, "")
