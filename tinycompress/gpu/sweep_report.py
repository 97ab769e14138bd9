"""A sweep's document as lines for people, and what it says about the break-even."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinycompress.codec import decode
from tinycompress.gpu.report import Versions, microseconds

TARGET_SPEEDUP, TARGET_SIZE = 1.5, 4096
"""What PyTorch's path is expected to reach at and above that size."""


def sweep_lines(document: dict[str, Any]) -> list[str]:
    """Versions, squares, break-even, networks, and the steps that gave no result."""
    versions: Versions = decode(Versions, document["versions"])
    lines = [f"{versions.line()}; {document['seconds']} s in all"]
    lines += [f"{s['name']}: {s['outcome']}" for s in document["steps"] if s["outcome"] != "done"]
    rows = [{"engine": "tinycompress", "dtype": "int8", "error": 0.0, **line} for line in document["squares"]]
    rows += [{"engine": f"torch {line['backend']}".strip(), **line} for line in document["peer"]]
    if rows:
        lines += [
            "",
            f"{'engine':<18}{'dtype':<6}{'M = N = K':>10}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}  error",
        ]
    for row in rows:
        error = row.get("error")
        note = row.get("reason") or ("" if error is None else f"{error:.1g}")
        lines.append(f"{row['engine']:<18}{row['dtype']:<6}{row['size']:>10}{_pair(row)}  {note}".rstrip())
    lines += ["", *break_even(rows)]
    if document["networks"]:
        lines += ["", f"{'network':<18}{'batch':>6}{'':>10}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}"]
    for line in document["networks"]:
        lines.append(f"{line['name']:<18}{line['batch']:>6}{'':>10}{_pair(line)}".rstrip())
        for layer in line["layers"]:
            mark = "2:4" if layer["is_sparse"] else "dense"
            lines.append(f"  {layer['name']:<26}{mark:<6}{_pair(layer)}".rstrip())
    return lines


def break_even(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For each engine and dtype the smallest size from which 2:4 is always faster; for each dtype of PyTorch's whether
    its best backend reaches the target."""
    speedups: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        if row.get("dense_us") and row.get("sparse_us"):
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
