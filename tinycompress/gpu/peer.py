"""PyTorch's own 2:4 path (`torch.sparse` semi-structured), found by trying: the peer that our kernels stand beside.

    python -m tinycompress.gpu.peer int8|fp16 SHAPE…     one JSON object a line

A shape is M = N = K, such as 4096, or ROWSxCOLUMNSxPIXELS: weights `(rows, columns)` times `(columns, pixels)`. A layer
is its product with pixels · batch columns. A convolution is timed as the product of its patches, which are made
beforehand, so the peer's times leave the gathering out. Dense and 2:4 are each asked for the product and for its
transpose, and the faster one counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from tinycompress.gpu.masks import GROUP, Layer
from tinycompress.gpu.packing import rounded_up
from tinycompress.gpu.report import LayerTime

DEVICE = "cuda"
WARMUP, REPEAT = 50, 200
CALLS, SAMPLE_US = 10, 1000.0
"""Products between two events: CALLS, so that what Python needs to launch one is not in the time; fewer where they take
longer than SAMPLE_US. Operands stay where the last product left them, in L2 if they fit."""
CHECKED_ROWS, CHECKED_PIXELS = 256, 4096
"""Rows and columns of a product that are compared with the masked dense one."""
WIDTH_UNIT = 32
"""Right-hand columns are padded to whole ones; both backends want it."""
MAX_ERROR = 1e-2
"""Of a result, relative to the masked dense one's largest value; beyond it a product is wrong and not timed."""

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

    `form` is how the 2:4 product was the fastest: cuSPARSELt's algorithm, and whether it made the transpose. `reason`
    says why something is missing.
    """

    backend: str
    dense_us: float | None
    sparse_us: float | None
    error: float | None
    form: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Form:
    """One way to multiply; `is_transposed` when `work` makes `(pixels, rows)`."""

    name: str
    work: Callable[[], Tensor]
    is_transposed: bool = False


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
    generator = torch.Generator(DEVICE).manual_seed(seed)
    order = torch.rand(rows, columns // GROUP, GROUP, generator=generator, device=DEVICE).argsort(-1)
    keep = (order < 2).view(rows, columns)
    return random_matrix(rows, columns, dtype, generator) * keep


def random_matrix(rows: int, columns: int, dtype: str, generator: torch.Generator) -> Tensor:
    if dtype == "int8":
        return torch.randint(-127, 128, (rows, columns), generator=generator, device=DEVICE, dtype=torch.int8)
    return torch.randn(rows, columns, generator=generator, device=DEVICE, dtype=torch.float16)


def time_us(work: Callable[[], object], warmup: int = WARMUP, repeat: int = REPEAT) -> float:
    """Median µs of a call, by CUDA events around up to CALLS of them, as a CUDA graph where PyTorch can record one."""
    for _ in range(warmup):
        work()
    torch.cuda.synchronize()
    calls = min(max(int(SAMPLE_US / max(_between_events(work), 1.0)), 1), CALLS)
    several = _recorded(work, calls) or partial(_calls, work, calls)
    several()
    torch.cuda.synchronize()
    return float(statistics.median(_between_events(several) / calls for _ in range(repeat)))


def _between_events(work: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(1000.0 * begin.elapsed_time(end))


def _calls(work: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        work()


def _recorded(work: Callable[[], object], calls: int) -> Callable[[], None] | None:
    """Several calls as one graph; None where they cannot be recorded."""
    graph = torch.cuda.CUDAGraph()
    try:
        # A recording that fails leaves its stream the current one; the outer context brings back ours.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            _calls(work, calls)
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
            right = random_matrix(width, columns, dtype, torch.Generator(DEVICE).manual_seed(1)).t()
            if dense_us is None:
                dense_us = _fastest(dense_forms(weights, right), weights, right, warmup, repeat)[0]
            with _prototype_warnings_ignored():
                forms = sparse_forms(backend, weights, right)
                sparse_us, form, error = _fastest(forms, weights, right, warmup, repeat)
            note = "PyTorch gives int8 sums here: not comparable" if error is None else ""
            results.append(PeerTime(backend, dense_us, sparse_us, error, form, note))
        except _FAILURES as failure:
            results.append(PeerTime(backend, dense_us, None, None, reason=_words(failure)))
    return tuple(results)


def _words(failure: BaseException) -> str:
    lines = str(failure).splitlines() or [type(failure).__name__]
    return f"PyTorch: {lines[0]}"


def _fastest(
    forms: Iterable[Form], weights: Tensor, right: Tensor, warmup: int, repeat: int
) -> tuple[float, str, float | None]:
    """µs, name and error of the fastest form; those that fail or are wrong are passed over unless all do."""
    best: tuple[float, str, float | None] | None = None
    first: BaseException | None = None
    for form in forms:
        try:
            product = form.work()
            error = _error(product.t() if form.is_transposed else product, weights, right)
            if error is not None and error > MAX_ERROR:
                raise ValueError(f"the result differs by {error:.1g} from the masked dense one")
            us = time_us(form.work, warmup, repeat)
        except _FAILURES as failure:
            first = first or failure
            continue
        if best is None or us < best[0]:
            best = us, form.name, error
    if best is None:
        raise first or RuntimeError("it has no such product")
    return best


def dense_forms(weights: Tensor, right: Tensor) -> Iterator[Form]:
    """The product and its transpose."""
    multiply = torch._int_mm if weights.dtype is torch.int8 else torch.mm
    yield Form("", partial(multiply, weights, right))
    yield Form("transposed", partial(multiply, right.t(), weights.t()), True)


def sparse_forms(backend: str, weights: Tensor, right: Tensor) -> Iterator[Form]:
    """`weights` packed, times `right`: with cuSPARSELt by its first algorithm and by the one that its own search finds,
    with whole sums, as it is and transposed; where that call is not as it was, by the public one."""
    packed: Any = getattr(torch.sparse, _CLASSES[backend]).from_dense(weights)
    own = False
    if backend == "cusparselt":
        options: dict[str, Any] = {"out_dtype": torch.int32} if weights.dtype is torch.int8 else {}
        for is_transposed in (False, True):
            given = options | ({"transpose_result": True} if is_transposed else {})
            algorithms = [0]
            with suppress(*_FAILURES):
                algorithms.append(int(torch._cslt_sparse_mm_search(packed.packed, right, **given)))
            for algorithm in dict.fromkeys(algorithms):
                with suppress(*_FAILURES):
                    work = partial(torch._cslt_sparse_mm, packed.packed, right, alg_id=algorithm, **given)
                    work()
                    own = True
                    name = f"algorithm {algorithm}{', transposed' if is_transposed else ''}"
                    yield Form(name, work, is_transposed)
    if not own:
        yield Form("", partial(torch.mm, packed, right))


def _error(product: Tensor, weights: Tensor, right: Tensor) -> float | None:
    """Largest in the first CHECKED_ROWS by CHECKED_PIXELS, relative to their maximum; None for sums cut to int8."""
    if product.dtype is torch.int8:
        return None
    expected = weights[:CHECKED_ROWS].double() @ right[:, :CHECKED_PIXELS].double()
    scale = max(float(expected.abs().max()), 1e-30)
    found = product[:CHECKED_ROWS, :CHECKED_PIXELS].double()
    return float((found - expected).abs().max()) / scale


def layer_times(layer: Layer, dtypes: Sequence[str], batches: Sequence[int]) -> tuple[LayerTime, ...]:
    """PyTorch's times of one layer as a plain product."""
    times = []
    for dtype in dtypes:
        for batch in batches:
            for t in time_product(layer.rows, layer.columns, layer.pixels * batch, dtype):
                engine = f"torch {t.backend}".strip()
                times.append(LayerTime(engine, dtype, batch, t.dense_us, t.sparse_us, t.error, t.reason))
    return tuple(times)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Rows, columns and pixels of ``64x576x1024``; ``4096`` is a square."""
    numbers = [int(word) for word in text.split("x")]
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise ValueError(text)
    return (numbers[0], numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Features first, then one line for every shape and backend, each written as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m tinycompress.gpu.peer", description="Products by PyTorch.")
    parser.add_argument("dtype", choices=sorted(_DTYPES))
    parser.add_argument("shapes", nargs="+", type=parse_shape, help="4096, or ROWSxCOLUMNSxPIXELS")
    given = parser.parse_args(arguments)
    print(json.dumps({"features": asdict(features())}), flush=True)
    for rows, columns, pixels in given.shapes:
        for found in time_product(rows, columns, pixels, given.dtype):
            line = {"dtype": given.dtype, "shape": [rows, columns, pixels], **asdict(found)}
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
