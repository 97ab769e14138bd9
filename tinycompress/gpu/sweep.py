"""Everything that needs a GPU, in one command of under ten minutes: python -m tinycompress.gpu.sweep [GRAPH…] [--json].

1. Networks (three widths made here, and stored integer graphs named on the command line): the generated dense and 2:4
   programs are byte-equal to the reference, then timed at batch 1 and 256.
2. Square int8 products with our kernels, dense and 2:4, each checked against the host.
3. The same squares with PyTorch, fp16 and int8: where 2:4 starts to pay, and by how much.

Needs torch, numpy, jinja2, nvcc and this package. Ends with 6 (TC-D402) where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.errors import ModelError, TinycompressError
from tinycompress.gpu.generate import sparse_candidates, write_sweep
from tinycompress.gpu.masks import apply_masks, magnitude_masks
from tinycompress.gpu.peer import features, time_product
from tinycompress.gpu.program import compile_cuda, run_checked
from tinycompress.gpu.report import microseconds
from tinycompress.gpu.timing import require_timing, time_programs, versions
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph
from tinycompress.ir.shapes import infer
from tinycompress.ir.store import load
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph

SIZES = (256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 256)
WIDTHS = (32, 128, 256)
IMAGE, CLASSES, DEPTH = 14, 10, 4
TARGET_SPEEDUP, TARGET_SIZE = 1.5, 4096
"""What PyTorch's path is expected to reach at and above that size."""
TIME_LIMIT_S = 540.0
"""No new product starts after this; what was left out is said."""
PEER_WARMUP, PEER_REPEAT = 10, 50


def convolutional(width: int, seed: int = 0) -> QuantGraph:
    """DEPTH 3x3 convolutions of `width` channels on a square image, mean and classifier; random 2:4 int8 weights."""
    rng = np.random.default_rng(seed)
    scale = 0.05
    tensors = {"x": Tensor("x", (IMAGE, IMAGE, 16), DType.INT8, QParams.per_tensor(scale, -3))}
    ops: list[o.Op] = []

    def constant(name: str, data: Array, qparams: QParams | None = None) -> str:
        tensors[name] = Tensor(name, data.shape, DType(str(data.dtype)), qparams, data)
        return name

    def append(op: o.Op, out_scale: float, zero_point: int) -> str:
        (shape,) = infer(op, tensors)
        tensors[op.output] = Tensor(op.output, shape, DType.INT8, QParams.per_tensor(out_scale, zero_point))
        ops.append(op)
        return op.output

    def weighted(name: str, shape: tuple[int, ...]) -> tuple[str, str]:
        # Sums of k products of standard deviation 73 * 73 fill the output's range at the same scale.
        w_scale = 1.2 / (73.0 * float(np.sqrt(np.prod(shape[1:]) / 2)))
        weights = rng.integers(-127, 128, shape, dtype=np.int8)
        bias = rng.integers(-2000, 2000, shape[0], dtype=np.int32)
        qparams = QParams((w_scale,) * shape[0], (0,) * shape[0], 0)
        return constant(f"{name}_w", weights, qparams), constant(f"{name}_b", bias)

    at, channels = "x", 16
    for i in range(DEPTH):
        name = f"conv{i}"
        w, b = weighted(name, (width, 3, 3, channels))
        conv = o.Conv2D(
            name=name, inputs=(at,), outputs=(f"{name}_y",), weights=w, bias=b, padding=(1, 1, 1, 1), activation=o.RELU
        )
        at, channels = append(conv, scale, -128), width
    at = append(o.Mean(name="mean", inputs=(at,), outputs=("mean_y",), axes=(0, 1)), scale, -128)
    w, b = weighted("fc", (CLASSES, channels))
    at = append(o.FullyConnected(name="fc", inputs=(at,), outputs=("y",), weights=w, bias=b), scale, 0)
    graph = to_quant_graph(Graph(f"conv{width}", (GraphInput("x"),), (at,), tensors, tuple(ops)))
    pruned = apply_masks(graph, magnitude_masks(graph))
    assert isinstance(pruned, QuantGraph)
    return pruned


def network_times(graph: QuantGraph, batches: Sequence[int], work: Path) -> list[dict[str, Any]]:
    """Both programs of one network, checked and timed at each batch size."""
    sparse = sparse_candidates(graph)
    lines = []
    for found in time_programs(graph, sparse, batches, work / graph.name):
        layers = [
            {"name": name, "dense_us": us, "sparse_us": found.sparse.layer_us[name], "is_sparse": name in sparse}
            for name, us in found.dense.layer_us.items()
        ]
        dense, both = found.dense.network_us, found.sparse.network_us
        lines.append({"name": graph.name, "batch": found.batch, "dense_us": dense, "sparse_us": both, "layers": layers})
    return lines


def peer_squares(sizes: Sequence[int], deadline: float) -> list[dict[str, Any]]:
    """PyTorch's squares; those that the time limit leaves out say so."""
    lines = []
    for dtype in ("fp16", "int8"):
        for size in sizes:
            if time.monotonic() > deadline:
                lines.append({"dtype": dtype, "size": size, "reason": "left out: the time limit was reached"})
                continue
            found = time_product(size, size, size, dtype, warmup=PEER_WARMUP, repeat=PEER_REPEAT)
            lines.append({"dtype": dtype, "size": size, **asdict(found)})
    return lines


def sweep(graphs: Sequence[QuantGraph], sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Runs all three parts. DeviceError TC-D402 without a GPU or nvcc."""
    require_timing()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        _say("square products, generated kernels")
        binary = compile_cuda(write_sweep(work / "squares"), work / "squares" / "sweep")
        squares = run_checked([str(binary), *map(str, sizes)], work / "squares")
        networks = []
        for graph in graphs:
            _say(f"network {graph.name}: equal to the reference, then timed")
            networks += network_times(graph, BATCHES, work)
    _say("square products, PyTorch")
    peer = peer_squares(sizes, started + TIME_LIMIT_S)
    facts = asdict(versions()) | {k: squares[k] for k in ("device", "compute", "driver")}
    return {
        "schema": 1, "versions": facts, "squares": squares["products"], "networks": networks, "peer": peer,
        "peer_features": asdict(features()), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def sweep_lines(document: dict[str, Any]) -> list[str]:
    """The document as lines for people."""
    v = document["versions"]
    lines = [
        f"{v['device']} (compute {v['compute']}), driver API {v['driver']}, torch {v['torch']} "
        f"(CUDA {v['torch_cuda']}), nvcc {v['nvcc']}, tinycompress {v['tinycompress']}; {document['seconds']} s in all",
        "",
        f"{'engine':<14}{'dtype':<6}{'M = N = K':>10}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}  error",
    ]
    rows = [{"engine": "tinycompress", "dtype": "int8", "error": 0.0, **line} for line in document["squares"]]
    rows += [{"engine": "torch", **line} for line in document["peer"]]
    for row in rows:
        error = row.get("error")
        note = row.get("reason") or ("" if error is None else f"{error:.1g}")
        lines.append(f"{row['engine']:<14}{row['dtype']:<6}{row['size']:>10}{_pair(row)}  {note}".rstrip())
    lines += [
        "",
        *break_even(rows),
        "",
        f"{'network':<14}{'batch':>6}{'':>10}{'dense us':>12}{'2:4 us':>12}{'speed-up':>10}",
    ]
    for line in document["networks"]:
        lines.append(f"{line['name']:<14}{line['batch']:>6}{'':>10}{_pair(line)}")
        for layer in line["layers"]:
            mark = "2:4" if layer["is_sparse"] else "dense"
            lines.append(f"  {layer['name']:<22}{mark:<6}{_pair(layer)}")
    return lines


def break_even(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For each engine and dtype: the smallest size from which 2:4 is always faster, and whether the target is met."""
    lines = []
    for engine, dtype in dict.fromkeys((r["engine"], r["dtype"]) for r in rows):
        timed = sorted(
            (r["size"], r["dense_us"] / r["sparse_us"])
            for r in rows
            if (r["engine"], r["dtype"]) == (engine, dtype) and r.get("dense_us") and r.get("sparse_us")
        )
        if not timed:
            continue
        slower = [size for size, speedup in timed if speedup <= 1]
        faster = [size for size, _ in timed if not slower or size > max(slower)]
        start = f"2:4 is faster from {faster[0]} on" if faster else "2:4 is never faster here"
        large = [speedup for size, speedup in timed if size >= TARGET_SIZE]
        reach = ""
        if engine == "torch" and large:
            met = "met" if min(large) >= TARGET_SPEEDUP else "NOT met"
            reach = f"; {TARGET_SPEEDUP}x at {TARGET_SIZE} and above: {met} (least {min(large):.2f}x)"
        lines.append(f"{engine} {dtype}: {start}{reach}")
    return lines


def _pair(row: dict[str, Any]) -> str:
    dense, both = row.get("dense_us"), row.get("sparse_us")
    speedup = f"{dense / both:.2f}x" if dense and both else ""
    return f"{microseconds(dense):>12}{microseconds(both):>12}{speedup:>10}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tinycompress.gpu.sweep", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("graphs", nargs="*", type=Path, help="stored integer graphs to run besides the built-in ones")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        graphs = [convolutional(width) for width in WIDTHS]
        for path in given.graphs:
            graph = load(path)
            if not isinstance(graph, QuantGraph):
                raise ModelError("TC-M590", "not an integer graph", where=str(path), fix="quantize it first")
            graphs.append(graph)
        document = sweep(graphs)
    except TinycompressError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(document, indent=1) if given.json else "\n".join(sweep_lines(document)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
