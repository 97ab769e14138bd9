"""What a comparison found, as plain values: printed as tables or as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

METHOD = (
    "Medians of 200 samples between CUDA events after 50 calls; a sample is up to 10 calls, as many as fit in 1 ms "
    "(a whole network: one). Nothing empties L2.",
    "torch: recorded as a CUDA graph, patches made beforehand and padded to 32 columns, the faster of a product and "
    "its transpose. tinycompress: launched one by one, patches gathered.",
)
"""How times are taken, for below the tables."""


@dataclass(frozen=True)
class Versions:
    """What the numbers depend on; None where there is none here."""

    tinycompress: str
    torch: str | None
    torch_cuda: str | None
    nvcc: str | None
    device: str | None
    compute: str | None
    driver: str | None
    driver_api: int | None
    """As the CUDA runtime counts: 13000 is 13.0."""

    def line(self) -> str:
        """For people."""
        compute = f" (compute {self.compute})" if self.compute else ""
        api = f" (CUDA {self.driver_api // 1000}.{self.driver_api % 1000 // 10})" if self.driver_api else ""
        driver = f"driver {self.driver or 'unknown'}{api}" if self.driver or api else "no driver"
        return (
            f"{self.device or 'no GPU'}{compute}, {driver}, "
            f"torch {self.torch or 'none'} (CUDA {self.torch_cuda or 'none'}), nvcc {self.nvcc or 'none'}, "
            f"tinycompress {self.tinycompress}"
        )


@dataclass(frozen=True)
class LayerTime:
    """Median µs of one layer, dense and 2:4. `engine` is tinycompress (generated CUDA) or torch and its backend.

    `error` is the largest difference from the masked dense result: in bytes' units for int8 (0 is exact), relative to
    the largest value for fp16. `reason` says why a cell is empty.
    """

    engine: str
    dtype: str
    batch: int
    dense_us: float | None
    sparse_us: float | None
    error: float | None
    reason: str

    @property
    def speedup(self) -> float | None:
        """Dense over sparse time; below 1 the 2:4 layer is slower."""
        return self.dense_us / self.sparse_us if self.dense_us and self.sparse_us else None


@dataclass(frozen=True)
class LayerLine:
    """A layer with weights: `rows` output channels, `columns` of the reduction, `pixels` of one sample."""

    name: str
    kind: str
    rows: int
    columns: int
    pixels: int
    reason: str
    storage_ratio: dict[str, float]
    packing_error: dict[str, float]
    """Packed product against the masked dense one on the host, by dtype, as `LayerTime.error`."""
    peer_reason: dict[str, str]
    """Why PyTorch cannot hold an eligible layer as 2:4, by dtype; empty text where it can."""
    times: tuple[LayerTime, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One network of the comparison. `score` is the task's metric of the integer reference on the test split."""

    name: str
    is_permuted: bool
    score: float | None
    weights_bytes: float
    network_us: dict[str, float | None]
    """By ``batch``; empty cells where nothing was measured."""
    estimated_us: float | None = None
    """Of one sample on the board; a batch goes through it one by one."""


@dataclass(frozen=True)
class PermutationGain:
    """Magnitude kept by 2:4 masks in the layers that read a channel group, before and after reordering it."""

    group: str
    consumers: tuple[str, ...]
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """Everything `compare-gpu` shows. `refusal` says why there are no times; empty when there are."""

    model: str
    metric: str
    test_samples: int
    batches: tuple[int, ...]
    versions: Versions
    layers: tuple[LayerLine, ...]
    variants: tuple[Variant, ...]
    gains: tuple[PermutationGain, ...]
    notes: tuple[str, ...]
    """What was left out, and other things to know."""
    refusal: str
    exit_code: int = 0
    """Of the mismatch that `refusal` tells of, if it tells of one."""


def layer_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table per layer, one row per layer, engine, dtype and batch."""
    header = [
        "layer",
        "op",
        "rows x k x pixels",
        "2:4",
        "torch 2:4",
        "engine",
        "dtype",
        "batch",
        "dense us",
        "2:4 us",
        "speed-up",
    ]
    header += ["storage", "error"]
    rows = []
    for line in comparison.layers:
        shape = f"{line.rows}x{line.columns}x{line.pixels}"
        held = [dtype for dtype, why in line.peer_reason.items() if not why]
        peer = ", ".join(held) or ("no" if line.peer_reason else "")
        first = [line.name, line.kind, shape, "yes" if not line.reason else f"no: {line.reason}", peer]
        if not line.times:
            ratios = "/".join(f"{r:g}" for r in line.storage_ratio.values())
            errors = "/".join(f"{e:.1g}" for e in line.packing_error.values())
            dtypes = "/".join(line.storage_ratio)
            rows.append([*first, "", dtypes, "", "", "", "", ratios, errors])
        for time in line.times:
            ratio = line.storage_ratio.get(time.dtype)
            cells = [microseconds(time.dense_us), microseconds(time.sparse_us), _times(time.speedup)]
            error = time.reason if time.error is None else f"{time.error:.1g}"
            tail = ["" if ratio is None else f"{ratio:g}", error]
            rows.append([*first, time.engine, time.dtype, str(time.batch), *cells, *tail])
            first = [""] * len(first)
    return header, rows


def variant_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of networks: score, bytes, latency."""
    header = ["network", "channels", comparison.metric, "weight bytes"]
    header += [f"us, batch {batch}" for batch in comparison.batches]
    rows = []
    for v in comparison.variants:
        cells = [_latency(v, batch) for batch in comparison.batches]
        score = "" if v.score is None else f"{v.score:.4f}"
        order = "reordered" if v.is_permuted else ""
        rows.append([v.name, order, score, f"{v.weights_bytes:,.0f}", *cells])
    return header, rows


def _latency(variant: Variant, batch: int) -> str:
    if variant.estimated_us is not None:
        return f"{microseconds(variant.estimated_us * batch)} estimated"
    return microseconds(variant.network_us.get(str(batch)))


def verdict_lines(comparison: Comparison) -> list[str]:
    """The plain words below the tables: totals, where 2:4 loses, permutation gain, versions, refusal."""
    lines = []
    for engine, dtype, batch in dict.fromkeys((t.engine, t.dtype, t.batch) for x in comparison.layers for t in x.times):
        both = [
            (line.name, t.dense_us, t.sparse_us)
            for line in comparison.layers
            for t in line.times
            if (t.engine, t.dtype, t.batch) == (engine, dtype, batch) and t.dense_us and t.sparse_us
        ]
        if both:
            lines.append(totals_line(f"{engine} {dtype} batch {batch}", both))
    if comparison.gains:
        before, after = sum(g.before for g in comparison.gains), sum(g.after for g in comparison.gains)
        lines.append(f"channel permutation: kept magnitude {before:.4g} -> {after:.4g} (+{after / before - 1:.2%})")
    if any(t.dense_us for line in comparison.layers for t in line.times):
        lines += METHOD
    lines += _peer_lines(comparison)
    lines += comparison.notes
    lines.append(comparison.versions.line())
    if comparison.refusal:
        lines.append(comparison.refusal)
    return lines


def _peer_lines(comparison: Comparison) -> list[str]:
    """For each dtype why PyTorch cannot hold some eligible layers as 2:4, layers with one reason together."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in comparison.layers:
        for dtype, why in line.peer_reason.items():
            if why:
                found.setdefault(dtype, {}).setdefault(why, []).append(line.name)
    return [
        f"torch cannot hold as {dtype}: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
        for dtype, reasons in found.items()
    ]


def totals_line(label: str, both: Sequence[tuple[str, float, float]]) -> str:
    """The sums over eligible layers (name, dense µs, 2:4 µs), and which of them are slower as 2:4."""
    dense, sparse = sum(d for _, d, _ in both), sum(s for _, _, s in both)
    losers = [name for name, d, s in both if s > d]
    lost = f"; 2:4 is slower in {len(losers)} of {len(both)} layers ({', '.join(losers)})" if losers else ""
    return f"{label}: eligible layers {dense:.1f} us dense, {sparse:.1f} us 2:4, {dense / sparse:.2f}x{lost}"


def microseconds(value: float | None) -> str:
    """Three significant digits or so; an empty cell for what was not measured."""
    return "" if value is None else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"
