"""Times of generated programs on the GPU that is here; a clear refusal where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycompress import __version__
from tinycompress.errors import DeviceError, MismatchError
from tinycompress.execute.reference import run as run_reference
from tinycompress.gpu.generate import generate_cuda
from tinycompress.gpu.masks import find_layers
from tinycompress.gpu.program import (
    RUN_TIMEOUT_S,
    Run,
    compile_cuda,
    driver_version,
    has_gpu,
    nvcc_version,
    run_program,
)
from tinycompress.gpu.report import LayerTime, Versions
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array

CHECKED_SAMPLES = 32
"""Samples whose output bytes are compared with the reference before a time is believed; of the others the dense and
the 2:4 program must give the same bytes."""


def require_gpu() -> None:
    """DeviceError TC-D402 where nothing can be measured."""
    if not has_gpu():
        raise DeviceError(
            "TC-D402",
            "times need a GPU, and this machine has none: the cells stay empty",
            fix="run the same command on a machine with a GPU (Ampere or later), its driver and the CUDA toolkit",
        )


def versions(torch: str | None, torch_cuda: str | None, run: Run | None = None) -> Versions:
    """Of this machine; device and driver as the CUDA program `run` saw them."""
    facts = {} if run is None else run.facts
    return Versions(
        tinycompress=__version__,
        torch=torch,
        torch_cuda=torch_cuda,
        nvcc=nvcc_version(),
        device=facts.get("device"),
        compute=facts.get("compute"),
        driver=driver_version(),
        driver_api=facts.get("driver"),
    )


@dataclass(frozen=True)
class ProgramTimes:
    """A network's dense and 2:4 program at one batch size, both byte-equal to the reference."""

    batch: int
    dense: Run
    sparse: Run


def time_programs(
    graph: QuantGraph,
    sparse: Sequence[str],
    batches: Sequence[int],
    work: Path,
    limit_s: Callable[[], float] = lambda: RUN_TIMEOUT_S,
) -> Iterator[ProgramTimes]:
    """Generates, compiles, checks and times both programs, batch by batch.

    `limit_s` says before each run how long it may take. MismatchError TC-V402 when an output byte is wrong.
    """
    kinds = {"dense": (), "sparse": tuple(sparse)}
    sources = [generate_cuda(graph, work / name, sparse=layers) for name, layers in kinds.items()]
    with ThreadPoolExecutor() as pool:
        binaries = list(pool.map(lambda source: compile_cuda(source.source, source.directory / "program"), sources))
    programs = list(zip(sources, binaries, strict=True))
    for batch in batches:
        count = max(batch, min(CHECKED_SAMPLES, 4 * batch))
        inputs = _random_inputs(graph, count)
        checked = {name: values[:CHECKED_SAMPLES] for name, values in inputs.items()}
        expected = run_reference(graph, checked, keep_tensors=False).outputs
        runs = []
        for source, binary in programs:
            folder = source.directory / f"batch{batch}"
            run = run_program(binary, source, inputs, folder, batch=batch, timeout_s=limit_s())
            for name, value in expected.items():
                _require_equal(run.outputs[name][: len(value)], value, f"{source.source.name}, against the reference")
            runs.append(run)
        for name, value in runs[0].outputs.items():
            _require_equal(runs[1].outputs[name], value, f"{graph.name}, 2:4 against dense")
        yield ProgramTimes(batch, *runs)


def _require_equal(found: Array, expected: Array, where: str) -> None:
    wrong = int(np.count_nonzero(found != expected))
    if wrong:
        raise MismatchError("TC-V402", f"{wrong} of {expected.size} output bytes differ", where=where)


def _random_inputs(graph: QuantGraph, count: int) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {n: rng.integers(-128, 128, (count, *graph.tensors[n].shape), dtype=np.int8) for n in graph.input_names}


def program_layer_times(graph: QuantGraph, found: Sequence[ProgramTimes]) -> dict[str, tuple[LayerTime, ...]]:
    """Our kernels' times of every eligible layer; the error is 0 because every byte was checked."""
    result = {}
    for layer in find_layers(graph):
        if layer.is_eligible:
            result[layer.name] = tuple(
                LayerTime(
                    "tinycompress",
                    "int8",
                    t.batch,
                    t.dense.layer_us[layer.name],
                    t.sparse.layer_us[layer.name],
                    0.0,
                    "",
                )
                for t in found
            )
    return result
