"""Runs the firmware on a target: outputs, cycles, profile, every intermediate tensor, compared with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycompress.boards import Board
from tinycompress.build import Binding, BoundTensor, Firmware, build_firmware
from tinycompress.emit import Program
from tinycompress.execute.reference import run as run_reference
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import Array
from tinycompress.pipeline.stages import Progress
from tinycompress.pipeline.target import Target
from tinycompress.quantize.evaluate import predict
from tinycompress.report.model import Divergence, Validation

TRACED_SAMPLES = 1
"""Samples whose every intermediate tensor is read back; the others are compared by their outputs."""


@dataclass(frozen=True)
class TargetRun:
    """What a target did: outputs by name `(n, …)`, cycles of each inference, cycles by layer, stack high water."""

    outputs: dict[str, Array]
    cycles: tuple[int, ...]
    layer_cycles: tuple[int, ...]
    stack_bytes: int
    clock_hz: int
    validation: Validation


def binding_of(program: Program) -> Binding:
    """What the firmware must know of the generated library."""
    return Binding(
        prefix=program.prefix,
        header=program.header,
        inputs=tuple(BoundTensor(t.member, t.c_type, t.elements) for t in program.inputs),
        outputs=tuple(BoundTensor(t.member, t.c_type, t.elements) for t in program.outputs),
        arena_bytes=program.arena_bytes,
        arena_align=program.arena_align,
        layer_count=program.layer_count,
        model_hash=program.model_hash,
        rounding=program.plan.graph.rounding.value,
        state_bytes=program.state_bytes,
        state_reset=program.state_reset,
    )


def build_for(program: Program, board: Board, toolchain: str, folder: Path, *, hooks: bool) -> Firmware:
    """The measuring firmware around `program`; with `hooks` it can profile and trace."""
    return build_firmware(program.directory, binding_of(program), board, toolchain, folder, profile=hooks, trace=hooks)


def run_on_target(
    program: Program,
    firmware: Firmware,
    hooked: Firmware,
    target: Target,
    samples: dict[str, Array],
    *,
    inferences: int,
    progress: Progress,
) -> TargetRun:
    """Run every sample (integer inputs by name, `(n, …)`), measure, profile, trace, and compare with the reference.

    Where the emulator counts, one measurement is exact and `inferences` is not used. State is reset before each sample.
    """
    graph = program.plan.graph
    count = len(next(iter(samples.values())))
    outputs: dict[str, list[Array]] = {name: [] for name in graph.outputs}
    with target.session(firmware) as session:
        for index in range(count):
            progress("run", f"sample {index + 1} of {count} on {target.name}", index / count)
            if graph.states:
                session.reset_state()
            replies = session.infer(encoded(graph, samples, index))
            for name, data in zip(graph.outputs, replies, strict=True):
                tensor = graph.tensors[name]
                outputs[name].append(np.frombuffer(data, tensor.dtype.numpy).reshape(tensor.shape))
        repeats = 1 if target.emulate else inferences
        session.write_inputs(encoded(graph, samples, 0))
        measured = session.measure(repeats)
        stats = session.stats()
    progress("profile", f"every layer and tensor on {target.name}")
    with target.session(hooked) as session:
        session.write_inputs(encoded(graph, samples, 0))
        layer_cycles = tuple(session.profile())
        traces = []
        for index in range(min(TRACED_SAMPLES, count)):
            if graph.states:
                session.reset_state()
            traces.append(session.trace(encoded(graph, samples, index)))
    stacked = {name: np.stack(rows) for name, rows in outputs.items()}
    validation = compare(program, samples, stacked, traces)
    return TargetRun(
        stacked, measured.cycles, layer_cycles, stats.stack_high_water_bytes, measured.clock_hz, validation
    )


def encoded(graph: QuantGraph, samples: dict[str, Array], index: int) -> list[bytes]:
    """Sample `index` as the bytes of each input, in the order of the C structure."""
    return [np.ascontiguousarray(samples[name][index]).tobytes() for name in graph.input_names]


def reference_outputs(graph: QuantGraph, samples: dict[str, Array]) -> dict[str, Array]:
    """Outputs `(n, …)` of the integer reference, each sample from the initial state, in bounded memory."""
    if not graph.states:
        return predict(graph, samples)
    count = len(next(iter(samples.values())))
    each = [predict(graph, {n: batch[i : i + 1] for n, batch in samples.items()}) for i in range(count)]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in graph.outputs}


def compare(
    program: Program, samples: dict[str, Array], outputs: dict[str, Array], traces: list[dict[tuple[int, int], bytes]]
) -> Validation:
    """Every output byte of every sample, and every byte of every tensor of the traced ones, against the reference."""
    plan = program.plan
    graph = plan.graph
    expected_outputs = reference_outputs(graph, samples)
    differing, first = 0, None
    for name, actual in outputs.items():
        expected = expected_outputs[name]
        wrong = _byte_view(expected) != _byte_view(actual)
        if wrong.any():
            differing += int(wrong.sum())
            sample = int(np.flatnonzero(wrong.any(axis=1))[0])
            first = first or _divergence(graph, sample, name, expected[sample], actual[sample])
    layer_of = {n: layer.op.name for layer in plan.layers for n in layer.op.outputs}
    for sample, rows in enumerate(traces):
        reference = run_reference(graph, {name: batch[sample] for name, batch in samples.items()})
        for index, name in enumerate(plan.trace_tensors):
            tensor = graph.tensors[name]
            data = b"".join(rows[key] for key in sorted(k for k in rows if k[0] == index))
            expected = np.asarray(reference.tensors[name])
            actual = np.frombuffer(data, tensor.dtype.numpy)
            if actual.size != expected.size or not np.array_equal(actual.reshape(expected.shape), expected):
                differing += _count_differences(expected, actual)
                found = _divergence(graph, sample, name, expected, actual, layer_of[name])
                first = found if first is None or name not in graph.outputs else first
                break
    samples_run = len(next(iter(outputs.values())))
    return Validation(samples_run, len(plan.trace_tensors) if traces else len(outputs), differing, first)


def _byte_view(values: Array) -> Array:
    contiguous = np.ascontiguousarray(values)
    return contiguous.reshape(len(values), -1).view(np.uint8)


def _count_differences(expected: Array, actual: Array) -> int:
    if expected.size != actual.size:
        return int(expected.nbytes)
    return int((_byte_view(expected[None]) != _byte_view(actual[None])).sum())


def _divergence(
    graph: QuantGraph, sample: int, name: str, expected: Array, actual: Array, layer: str | None = None
) -> Divergence:
    producer = graph.producer(name)
    flat, got = expected.reshape(-1), actual.reshape(-1)
    size = min(flat.size, got.size)
    different = np.flatnonzero(flat[:size] != got[:size])
    at = int(different[0]) if different.size else size
    value = int(got[at]) if at < got.size else 0
    place = layer or (producer.name if producer else name)
    return Divergence(sample, name, place, at * expected.dtype.itemsize, int(flat[min(at, flat.size - 1)]), value)


@dataclass(frozen=True)
class HostRun:
    """What the host run found: the comparison, and which compiler and sanitizers did it."""

    compiler: str
    checks: str
    validation: Validation
