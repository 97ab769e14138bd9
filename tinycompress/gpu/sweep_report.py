"""A sweep's document as lines for people, and what it says about the break-even."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinycompress.codec import decode
from tinycompress.gpu.report import METHOD, Versions, microseconds, totals_line

TARGET_SPEEDUP, TARGET_SIZE = 1.5, 4096
"""What PyTorch's path is expected to reach at and above that size."""


def sweep_lines(document: dict[str, Any]) -> list[str]:
    """Versions, squares, break-even, networks, and the steps that gave no result."""
    versions: Versions = decode(Versions, document["versions"])
    lines = [f"{versions.line()}; {document['seconds']} s in all"]
    lines += [f"{s['name']}: {s['outcome']}" for s in document["steps"] if s["outcome"] != "done"]
    rows = [{"engine": "tinycompress", "dtype": "int8", "error": 0.0, **line} for line in document["squares"]]
    rows += [{"engine": _engine(line), "size": line["shape"][0], **line} for line in document["peer"]]
    if rows:
        lines += [
            "",
            f"{'engine':<18}{'dtype':<6}{'M = N = K':>10}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}  error",
        ]
    for row in rows:
        error = row.get("error")
        note = row.get("reason") or "  ".join(filter(None, ("" if error is None else f"{error:.1g}", row.get("form"))))
        lines.append(f"{row['engine']:<18}{row['dtype']:<6}{row['size']:>10}{_pair(row)}  {note}".rstrip())
    lines += ["", *break_even(rows)]
    for network in document["networks"]:
        lines += ["", *_network_lines(network, document["layers"])]
    if rows or document["networks"]:
        lines += ["", *METHOD]
    return lines


def _network_lines(network: dict[str, Any], peers: Sequence[dict[str, Any]]) -> list[str]:
    """One network at one batch: its times, those of its layers beside PyTorch's, totals and losers by engine."""
    title = f"{network['name']}, batch {network['batch']}"
    head = "".join(f"{dtype + ' us':>14}{'2:4 us':>12}{'speed-up':>10}" for dtype in ("torch int8", "torch fp16"))
    lines = [f"{title:<28}{'rows x k x pixels':<20}{'':<6}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}{head}"]
    lines.append(f"{'  the whole network':<54}{_pair(network)}".rstrip())
    compared: dict[str, list[tuple[str, float, float]]] = {}
    for layer in network["layers"]:
        mark = "2:4" if layer["is_sparse"] else "dense"
        shape = "x".join(map(str, layer["shape"] or ()))
        found = {"tinycompress int8": layer}
        if layer["is_sparse"]:
            found |= {f"torch {dtype}": _fastest(peers, dtype, layer["shape"]) for dtype in ("int8", "fp16")}
        for engine, row in found.items():
            if layer["is_sparse"] and row.get("dense_us") and row.get("sparse_us"):
                compared.setdefault(engine, []).append((layer["name"], row["dense_us"], row["sparse_us"]))
        cells = "".join(f"{'  ' if engine != 'tinycompress int8' else ''}{_pair(row)}" for engine, row in found.items())
        lines.append(f"  {layer['name']:<26}{shape:<20}{mark:<6}{cells}".rstrip())
    return lines + [totals_line(engine, both) for engine, both in compared.items()]


def _fastest(peers: Sequence[dict[str, Any]], dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    """PyTorch's fastest 2:4 product of a layer; empty where it has none."""
    found = [
        p for p in peers if p["dtype"] == dtype and p["shape"] == list(shape) and p["sparse_us"] and not p.get("reason")
    ]
    return min(found, key=lambda p: float(p["sparse_us"]), default={})


def _engine(line: dict[str, Any]) -> str:
    return f"torch {line['backend']}".strip()


def break_even(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For each engine and dtype the smallest size from which 2:4 is always faster; for each dtype of PyTorch's whether
    its best backend reaches the target."""
    speedups: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        if row.get("dense_us") and row.get("sparse_us") and not row.get("reason"):
            speedups.setdefault((row["engine"], row["dtype"]), {})[row["size"]] = row["dense_us"] / row["sparse_us"]
    lines = []
    for (engine, dtype), found in speedups.items():
        slower = [size for size, speedup in found.items() if speedup <= 1]
        faster = [size for size in sorted(found) if not slower or size > max(slower)]
        start = f"2:4 is faster from {faster[0]} on" if faster else "2:4 is never faster here"
        lines.append(f"{engine} {dtype}: {start}")
    for dtype in dict.fromkeys(dtype for _, dtype in speedups):
        best: dict[int, float] = {}
        for (engine, kind), found in speedups.items():
            for size, speedup in found.items() if engine.startswith("torch") and kind == dtype else ():
                if size >= TARGET_SIZE:
                    best[size] = max(speedup, best.get(size, 0.0))
        if best:
            met = "met" if min(best.values()) >= TARGET_SPEEDUP else "NOT met"
            least = f"least {min(best.values()):.2f}x"
            lines.append(
                f"torch {dtype}: {TARGET_SPEEDUP}x at {TARGET_SIZE} and above by its best backend: {met} ({least})"
            )
    return lines


def _pair(row: dict[str, Any]) -> str:
    dense, both = row.get("dense_us"), row.get("sparse_us")
    speedup = f"{dense / both:.2f}x" if dense and both else ""
    return f"{microseconds(dense):>12}{microseconds(both):>12}{speedup:>10}"
