"""PyTorch's own 2:4 path (`torch.sparse` semi-structured), found by trying: the peer that our kernels stand beside.

    python -m tinycompress.gpu.peer int8|fp16 SIZE…     squares, one JSON object a line

A layer is its matrix product: weights `(rows, columns)` times `(columns, pixels · batch)`. A convolution is timed as
the product of its patches, which are made beforehand, so the peer's times leave the gathering out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from tinycompress.gpu.masks import GROUP, Layer
from tinycompress.gpu.packing import rounded_up
from tinycompress.gpu.report import LayerTime

WARMUP, REPEAT = 50, 200
CALLS = 10
"""Products between two events: what Python needs to launch one is not in the time."""
CHECKED_ROWS = 256
"""Rows of a product that are compared with the masked dense one."""
WIDTH_UNIT = 32
"""Right-hand columns are padded to whole ones; both backends want it."""

_CLASSES = {"cusparselt": "SparseSemiStructuredTensorCUSPARSELT", "cutlass": "SparseSemiStructuredTensorCUTLASS"}
_UNITS = {
    "cusparselt": {"fp16": (16, 16), "int8": (32, 32)},
    "cutlass": {"fp16": (32, 64), "int8": (16, 128)},
}
"""(rows, columns) whose multiples a backend holds; what PyTorch itself says comes before it."""
_DTYPES = {"fp16": torch.float16, "int8": torch.int8}
_FAILURES = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, AssertionError)
"""How PyTorch says that something is not there or not possible."""


@dataclass(frozen=True)
class Features:
    """What this PyTorch can do here; `reason` says why there are no times."""

    torch: str
    cuda: str | None
    cusparselt: int | None
    device: str | None
    backends: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class PeerTime:
    """One product by one backend: median µs, and the largest error relative to the masked dense result.

    `algorithm` is cuSPARSELt's, the best one it found for the shape. `reason` says why something is missing.
    """

    backend: str
    dense_us: float | None
    sparse_us: float | None
    error: float | None
    algorithm: int | None = None
    reason: str = ""


def features() -> Features:
    """Detected, not assumed: CUDA, and the backends of semi-structured sparse tensors."""
    found = tuple(name for name, cls in _CLASSES.items() if hasattr(torch.sparse, cls))
    device, reason = None, ""
    if not torch.cuda.is_available():
        reason = "PyTorch sees no GPU"
    else:
        device = torch.cuda.get_device_name()
        if torch.cuda.get_device_capability() < (8, 0):
            reason = f"{device} is older than compute capability 8.0"
        elif not found:
            reason = f"torch {torch.__version__} has no semi-structured sparse tensors"
    version = None
    with suppress(*_FAILURES):
        version = torch.backends.cusparselt.version() if torch.backends.cusparselt.is_available() else None
    return Features(torch.__version__, torch.version.cuda, version, device, found, reason)


@cache
def units(backend: str, dtype: str) -> tuple[int, int]:
    """Rows and columns must be multiples of these."""
    table = getattr(getattr(torch.sparse, _CLASSES[backend], None), "_DTYPE_SHAPE_CONSTRAINTS", {})
    found = table.get(_DTYPES[dtype])
    return (found.sparse_min_rows, found.sparse_min_cols) if found else _UNITS[backend][dtype]


def shape_obstacle(rows: int, columns: int, dtype: str, backend: str = "") -> str:
    """Why PyTorch cannot hold `(rows, columns)` as 2:4; empty when `backend`, by default any of them, can."""
    found = ""
    for name in (backend,) if backend else _CLASSES:
        row_unit, column_unit = units(name, dtype)
        wrong = [
            f"{size} {what} are not a multiple of {unit}"
            for size, unit, what in ((rows, row_unit, "rows"), (columns, column_unit, "columns"))
            if size % unit
        ]
        if not wrong:
            return ""
        found = found or wrong[0]
    return found


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
    """Median µs of a call, by CUDA events around CALLS of them, as a CUDA graph where PyTorch can record one."""
    for _ in range(warmup):
        work()
    torch.cuda.synchronize()
    several = _recorded(work) or partial(_calls, work)
    several()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeat):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        several()
        end.record()
        end.synchronize()
        times.append(1000.0 * begin.elapsed_time(end) / CALLS)
    return float(statistics.median(times))


def _calls(work: Callable[[], object]) -> None:
    for _ in range(CALLS):
        work()


def _recorded(work: Callable[[], object]) -> Callable[[], None] | None:
    """CALLS calls as one graph; None where they cannot be recorded."""
    graph = torch.cuda.CUDAGraph()
    try:
        # A recording that fails leaves its stream the current one; the outer context brings back ours.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            _calls(work)
    except _FAILURES:
        torch.cuda.synchronize()
        return None
    replay: Callable[[], None] = graph.replay
    return replay


@contextmanager
def _prototype_warnings_ignored() -> Iterator[None]:
    """PyTorch warns that its sparse tensors are a prototype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def time_product(
    rows: int, columns: int, pixels: int, dtype: str, *, warmup: int = WARMUP, repeat: int = REPEAT
) -> tuple[PeerTime, ...]:
    """Dense against 2:4 in PyTorch, one entry per backend. What it cannot run is said in its own words."""
    found = features()
    if found.reason:
        return (PeerTime("", None, None, None, reason=found.reason),)
    width = rounded_up(pixels, WIDTH_UNIT)
    dense_us: float | None = None
    results = []
    for backend in found.backends:
        why = shape_obstacle(rows, columns, dtype, backend)
        if why:
            results.append(PeerTime(backend, None, None, None, reason=why))
            continue
        try:
            weights = masked(rows, columns, dtype)
            right = random_matrix(width, columns, dtype, torch.Generator("cuda").manual_seed(1)).t()
            if dense_us is None:
                multiply = torch._int_mm if dtype == "int8" else torch.mm
                dense_us = time_us(partial(multiply, weights, right), warmup, repeat)
            with _prototype_warnings_ignored():
                work, algorithm = _sparse_product(backend, weights, right)
                error = _error(work(), weights, right)
                sparse_us = time_us(work, warmup, repeat)
            note = "PyTorch gives int8 sums here: not comparable" if error is None else ""
            results.append(PeerTime(backend, dense_us, sparse_us, error, algorithm, note))
        except _FAILURES as failure:
            lines = str(failure).splitlines() or [type(failure).__name__]
            results.append(PeerTime(backend, dense_us, None, None, reason=f"PyTorch: {lines[0]}"))
    return tuple(results)


def _sparse_product(backend: str, weights: Tensor, right: Tensor) -> tuple[Callable[[], Tensor], int | None]:
    """`weights` packed, times `right`: with cuSPARSELt by the algorithm that its own search finds the fastest, and with
    whole sums; where that call is not as it was, by the public one."""
    packed: Any = getattr(torch.sparse, _CLASSES[backend]).from_dense(weights)
    if backend == "cusparselt":
        options: dict[str, Any] = {"out_dtype": torch.int32} if weights.dtype is torch.int8 else {}
        with suppress(*_FAILURES):
            algorithm = int(torch._cslt_sparse_mm_search(packed.packed, right, **options))
            work = partial(torch._cslt_sparse_mm, packed.packed, right, alg_id=algorithm, **options)
            work()
            return work, algorithm
    return partial(torch.mm, packed, right), None


def _error(product: Tensor, weights: Tensor, right: Tensor) -> float | None:
    """Of the first CHECKED_ROWS rows, relative to their largest value; None where sums were cut to int8."""
    if product.dtype is torch.int8:
        return None
    expected = weights[:CHECKED_ROWS].double() @ right.double()
    scale = max(float(expected.abs().max()), 1e-30)
    return float((product[:CHECKED_ROWS].double() - expected).abs().max()) / scale


def layer_times(layer: Layer, dtypes: Sequence[str], batches: Sequence[int]) -> tuple[LayerTime, ...]:
    """PyTorch's times of one layer as a plain product."""
    times = []
    for dtype in dtypes:
        for batch in batches:
            for t in time_product(layer.rows, layer.columns, layer.pixels * batch, dtype):
                engine = f"torch {t.backend}".strip()
                times.append(LayerTime(engine, dtype, batch, t.dense_us, t.sparse_us, t.error, t.reason))
    return tuple(times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Features first, then one line for every size and backend, each written as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m tinycompress.gpu.peer", description="Squares by PyTorch.")
    parser.add_argument("dtype", choices=sorted(_DTYPES))
    parser.add_argument("sizes", nargs="+", type=int)
    given = parser.parse_args(arguments)
    print(json.dumps({"features": asdict(features())}), flush=True)
    for size in given.sizes:
        for found in time_product(size, size, size, given.dtype):
            print(json.dumps({"dtype": given.dtype, "size": size, **asdict(found)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
