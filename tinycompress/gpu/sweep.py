"""Everything that needs a GPU, in one command of under ten minutes: python -m tinycompress.gpu.sweep [GRAPH…].

1. Squares with PyTorch, fp16 and int8: where 2:4 starts to pay, and by how much.
2. The same squares with our kernels, int8, dense and 2:4, each checked against the host.
3. Networks (stored integer graphs named on the command line, architectures of the zoo, convolutions of three widths):
   the generated dense and 2:4 programs are byte-equal to the reference, then timed at batch 1 and 256.
4. The eligible layers of these networks with PyTorch, fp16 and int8.

Every step runs by itself, PyTorch and the CUDA programs in processes of their own: one that fails says why and the
others go on. The document is written after each. Needs torch, numpy, jinja2, nvcc and this package; without nvcc
PyTorch's squares remain. Ends with 6 (TC-D402) where there is no GPU, with the first failed step's code where one
failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tinycompress.errors import DeviceError, ModelError, TinycompressError
from tinycompress.gpu.generate import sparse_candidates, write_sweep
from tinycompress.gpu.masks import find_layers
from tinycompress.gpu.networks import convolutional, from_zoo
from tinycompress.gpu.program import compile_cuda, run_checked
from tinycompress.gpu.report import Versions
from tinycompress.gpu.sweep_report import sweep_lines
from tinycompress.gpu.timing import ProgramTimes, require_gpu, time_programs, versions
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.store import load

SIZES = (256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 256)
WIDTHS = (32, 128, 256)
NETWORKS = ("resnet8", "ds_cnn", "mobilenet_v1_025", "ad_autoencoder")
DTYPES = ("fp16", "int8")
TIME_LIMIT_S = 500.0
"""No step starts after this, and none goes on much longer; what was left out is said."""
PEER_LIMIT_S, SQUARES_LIMIT_S, LAYERS_LIMIT_S = 120.0, 120.0, 90.0
"""Of one dtype of PyTorch's squares, of all of ours, and of one dtype of PyTorch's layers."""
MIN_RUN_S = 20.0
"""What a program that was started late may still take."""
_EXIT_FAILED = 1


class Sweep:
    """The document and the clock. `document` is complete, and on disk, after every step."""

    def __init__(self, output: Path, limit_s: float = TIME_LIMIT_S) -> None:
        self.output = output
        self.limit_s = limit_s
        self.started = time.monotonic()
        self.exit_code = 0
        self.document: dict[str, Any] = {
            "schema": 3, "versions": asdict(versions(None, None)), "steps": [], "squares": [], "networks": [],
            "peer": [], "layers": [], "peer_features": None, "seconds": 0.0,
        }  # fmt: skip

    @property
    def left_s(self) -> float:
        return self.limit_s - (time.monotonic() - self.started)

    def run_limit_s(self) -> float:
        """How long a program that starts now may take."""
        return max(self.left_s, MIN_RUN_S)

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Runs `work`; whatever goes wrong in it is recorded, not raised."""
        begun = time.monotonic()
        outcome = "done"
        print(name, file=sys.stderr, flush=True)
        if self.left_s <= 0:
            outcome = "left out: the time limit was reached"
        else:
            try:
                work()
            except Exception as error:  # the boundary that keeps the other steps' results
                outcome = f"failed: {error if isinstance(error, TinycompressError) else repr(error)}"
                code = error.exit_code if isinstance(error, TinycompressError) else _EXIT_FAILED
                self.exit_code = self.exit_code or code
                print(f"  {outcome}", file=sys.stderr, flush=True)
        seconds = round(time.monotonic() - begun, 1)
        self.document["steps"].append({"name": name, "seconds": seconds, "outcome": outcome})
        self.document["seconds"] = round(time.monotonic() - self.started, 1)
        store_json(self.output, self.document)

    def note(self, **facts: Any) -> None:
        """Versions as they become known."""
        known = Versions(**self.document["versions"])
        self.document["versions"] = asdict(replace(known, **{k: v for k, v in facts.items() if v is not None}))

    def add(self, part: str, line: dict[str, Any]) -> None:
        self.document[part].append(line)
        store_json(self.output, self.document)


def store_json(path: Path, document: dict[str, Any]) -> None:
    """Replaces `path` as a whole; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)


Maker = Callable[[], QuantGraph]


def run_sweep(sweep: Sweep, makers: Mapping[str, Maker], sizes: Sequence[int], batches: Sequence[int]) -> None:
    """All steps, in the order in which their results matter most. DeviceError TC-D402 without a GPU."""
    require_gpu()
    squares = [str(size) for size in sizes]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for dtype in DTYPES:
            run = partial(_peer, sweep, "peer", dtype, squares, PEER_LIMIT_S, work)
            sweep.step(f"squares, PyTorch {dtype}", run)
        sweep.step("squares, generated kernels", partial(_squares, sweep, sizes, work))
        for name, maker in makers.items():
            sweep.step(f"network {name}", partial(_network, sweep, name, maker, batches, work))
        shapes = _layer_shapes(sweep.document)
        for dtype in DTYPES if shapes else ():
            run = partial(_peer, sweep, "layers", dtype, shapes, LAYERS_LIMIT_S, work)
            sweep.step(f"layers, PyTorch {dtype}", run)


def _layer_shapes(document: dict[str, Any]) -> list[str]:
    """Of the eligible layers of all networks that were timed, each once, as the peer's arguments."""
    shapes = [line["shape"] for network in document["networks"] for line in network["layers"] if line["is_sparse"]]
    return list(dict.fromkeys("x".join(map(str, shape)) for shape in shapes))


def _peer(sweep: Sweep, part: str, dtype: str, shapes: Sequence[str], limit_s: float, work: Path) -> None:
    """What `tinycompress.gpu.peer` prints until it ends, fails or its time is over, into `part` of the document."""
    log, errors = work / f"{part}-{dtype}.jsonl", work / f"{part}-{dtype}.err"
    command = [sys.executable, "-m", "tinycompress.gpu.peer", dtype, *shapes]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    limit_s = min(limit_s, sweep.run_limit_s())
    why = ""
    with log.open("w") as out, errors.open("w") as err:
        try:
            done = subprocess.run(command, env=environment, stdout=out, stderr=err, check=False, timeout=limit_s)
            if done.returncode:
                why = f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            why = f"it did not end within {limit_s:.0f} s"
    for line in _whole_lines(log):
        if "features" in line:
            found = line["features"]
            sweep.document["peer_features"] = found
            sweep.note(torch=found["torch"], torch_cuda=found["cuda"], device=found["device"])
        else:
            sweep.document[part].append(line)
    if why:
        words = errors.read_text(errors="replace").strip().splitlines()
        raise DeviceError("TC-D401", "; ".join([why, *words[-1:]]), where="tinycompress.gpu.peer")


def _whole_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of which the last line may be cut off."""
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _squares(sweep: Sweep, sizes: Sequence[int], work: Path) -> None:
    folder = work / "squares"
    binary = compile_cuda(write_sweep(folder), folder / "sweep")
    until = sweep.left_s - SQUARES_LIMIT_S
    for size in sizes:
        if sweep.left_s < max(until, 0.0):
            raise DeviceError("TC-D401", f"from {size} on left out: the time limit was reached", where=binary.name)
        facts = run_checked([str(binary), str(size)], folder, min(SQUARES_LIMIT_S, sweep.run_limit_s()))
        sweep.note(device=facts["device"], compute=facts["compute"], driver_api=facts["driver"])
        for line in facts["products"]:
            sweep.add("squares", line)


def _network(sweep: Sweep, name: str, maker: Maker, batches: Sequence[int], work: Path) -> None:
    graph = maker()
    sparse = sparse_candidates(graph)
    for found in time_programs(graph, sparse, batches, work / name.replace("/", "_"), sweep.run_limit_s):
        facts = found.sparse.facts
        sweep.note(device=facts["device"], compute=facts["compute"], driver_api=facts["driver"])
        sweep.add("networks", _network_line(name, graph, sparse, found))


def _network_line(name: str, graph: QuantGraph, sparse: Sequence[str], found: ProgramTimes) -> dict[str, Any]:
    dense, both = found.dense.layer_us, found.sparse.layer_us
    shapes = {x.name: [x.rows, x.columns, x.pixels * found.batch] for x in find_layers(graph)}
    layers = [
        {"name": op, "dense_us": us, "sparse_us": both[op], "is_sparse": op in sparse, "shape": shapes.get(op)}
        for op, us in dense.items()
    ]
    return {
        "name": name, "batch": found.batch, "dense_us": found.dense.network_us,
        "sparse_us": found.sparse.network_us, "layers": layers,
    }  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _names(text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _as_it_is(graph: QuantGraph) -> QuantGraph:
    return graph


def _stored(path: Path) -> QuantGraph:
    graph = load(path)
    if not isinstance(graph, QuantGraph):
        raise ModelError("TC-M590", "not an integer graph", where=str(path), fix="quantize it first")
    return graph


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tinycompress.gpu.sweep", description=about)
    parser.add_argument("graphs", nargs="*", type=Path, help="stored integer graphs to run besides the built-in ones")
    parser.add_argument("--output", type=Path, default=Path("gpu24-sweep.json"), help="written after every step")
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="of the squares, multiples of 128")
    parser.add_argument("--widths", type=_numbers, default=WIDTHS, help="channels of the built-in convolutions")
    parser.add_argument("--networks", type=_names, default=NETWORKS, help="of the zoo; empty for none")
    parser.add_argument("--batches", type=_numbers, default=BATCHES, help="samples at once")
    given = parser.parse_args(arguments)
    try:
        stored = {path.name: _stored(path) for path in given.graphs}
        makers: dict[str, Maker] = {name: partial(_as_it_is, graph) for name, graph in stored.items()}
        makers |= {name: partial(from_zoo, name) for name in given.networks}
        makers |= {f"conv{width}": partial(convolutional, width) for width in given.widths}
        sweep = Sweep(given.output)
        run_sweep(sweep, makers, given.sizes, given.batches)
    except TinycompressError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join(sweep_lines(sweep.document)))
    return sweep.exit_code


if __name__ == "__main__":
    sys.exit(main())
