"""Damaged and hostile model files: a coded ModelError or a verified graph; never a traceback, a hang or a gigabyte.

`--fuzz-runs N` is the number of mutants of each of the thirteen cases: 800 makes more than 10 000.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated, mutated_fields, mutated_tables
from tests.oracle.random_graphs import random_graph
from tests.oracle.wide_graphs import wide_graph
from tests.unit.frontends.tflite_made import dense_on_sequence
from tinycompress.errors import ModelError
from tinycompress.export.tflite import export_tflite
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.frontends.tflite_model import import_tflite
from tinycompress.ir.graph import Graph
from tinycompress.ir.verify import verify

TFLITE = (
    "tflite_micro/hello_world_int8",
    "tflite_micro/micro_speech_quantized",
    "tflite_micro/keyword_scrambled_8bit",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/kws_ref_model_float32",
)
ONNX = ("onnx_misc/mnist_ort_example", "derived/mnist_int8_qdq", "deeploy_onnx/Autoencoder1D/network")

FEW_RUNS = 150
SECONDS_PER_FILE = 20
MEMORY_BYTES = 1 << 30

Importer = Callable[[bytes, str], Graph]


@contextmanager
def time_limit(label: str) -> Iterator[None]:
    """Fails when the block takes longer than SECONDS_PER_FILE."""

    def stop(signum: int, frame: object) -> None:
        raise TimeoutError(f"{label} took more than {SECONDS_PER_FILE} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_PER_FILE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def accepted(importer: Importer, data: bytes, label: str) -> bool:
    """Whether the bytes were imported; False for a coded refusal. Anything else is the test's failure."""
    with time_limit(label):
        try:
            verify(importer(data, "fuzzed"))
        except ModelError:
            return False
    return True


def runs(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-runs") or FEW_RUNS)


def check_memory() -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MEMORY_BYTES + (256 << 20)


@pytest.mark.parametrize("model", TFLITE)
def test_mutated_tflite_files(data_dir: Path, request: pytest.FixtureRequest, model: str) -> None:
    data = (data_dir / "models" / f"{model}.tflite").read_bytes()
    outcomes = [accepted(import_tflite, mutated(data, seed), f"{model} seed {seed}") for seed in range(runs(request))]
    assert not all(outcomes)
    check_memory()


@pytest.mark.parametrize("model", ONNX)
@pytest.mark.parametrize("mutation", [mutated, mutated_fields])
def test_mutated_onnx_files(
    data_dir: Path, request: pytest.FixtureRequest, model: str, mutation: Callable[[bytes, int], bytes]
) -> None:
    data = (data_dir / "models" / f"{model}.onnx").read_bytes()
    outcomes = [accepted(import_onnx, mutation(data, seed), f"{model} seed {seed}") for seed in range(runs(request))]
    assert not all(outcomes)
    check_memory()


def test_mutated_files_of_all_operators(request: pytest.FixtureRequest) -> None:
    """Small files, so that edits hit tables rather than weights."""
    for seed in range(runs(request)):
        data = export_tflite(wide_graph(seed % 40) if seed % 4 == 3 else random_graph(seed % 40, None, 6))
        accepted(import_tflite, mutated(data, seed), f"random graph seed {seed}")
        accepted(import_tflite, mutated_tables(data, seed), f"tables of random graph seed {seed}")


def test_mutated_files_with_computed_shapes(request: pytest.FixtureRequest) -> None:
    """What only files with open shapes have: operators that are evaluated, and shapes that are inferred."""
    file, x, y, _ = dense_on_sequence()
    data = file.bytes([x], [y])
    accepted(import_tflite, data, "file with computed shapes")
    for seed in range(4 * runs(request)):
        accepted(import_tflite, mutated_tables(data, seed), f"computed shapes seed {seed}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_arbitrary_bytes(data: bytes) -> None:
    for importer in (import_tflite, import_onnx):
        accepted(importer, data, "bytes")
    accepted(import_tflite, data[:4] + b"TFL3" + data[4:], "bytes behind the identifier")
