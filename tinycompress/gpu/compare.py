"""The same network dense and 2:4: accuracy by the integer reference, bytes, and times where there is a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tinycompress.compress.task import Task
from tinycompress.compress.train import Progress, silent
from tinycompress.errors import DeviceError, MismatchError, ToolchainError, UnsupportedOpError
from tinycompress.execute.reference import run as run_reference
from tinycompress.gpu import masks as mk
from tinycompress.gpu import packing, report
from tinycompress.gpu.generate import sparse_candidates
from tinycompress.gpu.operators import obstacles
from tinycompress.gpu.peer import features, layer_times, shape_obstacle
from tinycompress.gpu.permute import find_permutations
from tinycompress.gpu.recipes import RECIPES, TRAINED, Recipe, TrainingPlan, sparsify
from tinycompress.gpu.timing import ProgramTimes, program_layer_times, require_gpu, time_programs, versions
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.inputs import integer_inputs, real_inputs
from tinycompress.ir.tensor import Array
from tinycompress.passes import prepare_for_training
from tinycompress.quantize.ptq import quantize

REFERENCE_BATCH = 64
PROBE_COLUMNS = 32
"""Random right-hand columns with which a layer's packed product is checked on the host."""


@dataclass(frozen=True)
class Settings:
    """What to compare. `calibration` is real-valued, one batch per input, empty for a network that is quantized;
    `plan` None means no data to train on."""

    calibration: tuple[Array, ...]
    plan: TrainingPlan | None = None
    recipes: tuple[Recipe, ...] = RECIPES
    reordered: tuple[Recipe, ...] = RECIPES[1:]
    """Recipes that are run a second time after a channel permutation."""
    batches: tuple[int, ...] = (1, 256)
    dtypes: tuple[str, ...] = ("int8", "fp16")
    rounding: Rounding = Rounding.DOUBLE
    extra: tuple[report.Variant, ...] = field(default=())
    """Rows that are known already, such as the microcontroller's."""
    notes: tuple[str, ...] = ()
    """What the comparison should say besides."""


def score(graph: QuantGraph, task: Task) -> float:
    """The task's metric of the integer reference on the test split."""
    samples = integer_inputs(task.test.inputs, graph)
    name, output = graph.input_names[0], graph.outputs[0]
    parts = [
        run_reference(graph, {name: samples[i : i + REFERENCE_BATCH]}, keep_tensors=False).outputs[output]
        for i in range(0, len(samples), REFERENCE_BATCH)
    ]
    real = dequantize_values(np.concatenate(parts), graph.tensors[output].quantization)
    return task.score(real, task.test, real_inputs(task.test.inputs, graph))


def variants(
    graph: Graph, settings: Settings, progress: Progress = silent
) -> Iterator[tuple[report.Variant, QuantGraph]]:
    """The network as it is, then every possible recipe; the ones that depend on channel order with and without
    reordering."""
    yield _variant("as it is", graph, settings, is_permuted=False)
    reordered = () if isinstance(graph, QuantGraph) else settings.reordered
    samples = settings.calibration[0] if settings.calibration else None
    for recipe in possible(graph, settings):
        for is_permuted in (False, True) if recipe in reordered else (False,):
            progress("2:4", f"{recipe}{', channels reordered' if is_permuted else ''}", None)
            made = sparsify(
                graph, recipe, settings.plan, calibration=samples, is_permuted=is_permuted, progress=progress
            )
            yield _variant(recipe, made, settings, is_permuted=is_permuted)


def possible(graph: Graph, settings: Settings) -> tuple[Recipe, ...]:
    """The recipes that can run: of a quantized network the mask alone, without training data none that trains."""
    if isinstance(graph, QuantGraph):
        return tuple(r for r in settings.recipes if r == "magnitude")
    return tuple(r for r in settings.recipes if settings.plan is not None or r not in TRAINED)


def _left_out(graph: Graph, settings: Settings) -> list[str]:
    """One sentence on the recipes that cannot run, if there are any."""
    missing = ", ".join(r for r in settings.recipes if r not in possible(graph, settings))
    if not missing:
        return []
    if isinstance(graph, QuantGraph):
        return [f"left out: {missing}; a quantized network cannot be trained, bring the float one"]
    return [f"left out: {missing}, and every score; they need training data (--data)"]


def _variant(name: str, graph: Graph, settings: Settings, *, is_permuted: bool) -> tuple[report.Variant, QuantGraph]:
    if isinstance(graph, QuantGraph):
        integer = graph
    else:
        integer = quantize(graph, settings.calibration, rounding=settings.rounding)
    value = None if settings.plan is None else score(integer, settings.plan.task)
    size = sum(mk.packed_bytes(integer, sparse_candidates(integer)).values())
    return report.Variant(name, is_permuted, value, size, {}), integer


def layer_lines(graph: QuantGraph, dtypes: Sequence[str]) -> tuple[report.LayerLine, ...]:
    """Every layer with weights of a 2:4 network: eligibility, storage, and the packed product checked on the host."""
    lines = []
    for layer in mk.find_layers(graph):
        ratios, errors, peer = {}, {}, {}
        if layer.is_eligible:
            matrix = mk.as_rows(graph.tensors[layer.weights].constant)
            ratios = {dtype: mk.STORAGE_RATIO[dtype] for dtype in dtypes}
            errors = {dtype: packing_error(matrix, dtype) for dtype in dtypes}
            peer = {dtype: shape_obstacle(layer.rows, layer.columns, dtype) for dtype in dtypes}
        lines.append(
            report.LayerLine(
                layer.name, layer.kind, layer.rows, layer.columns, layer.pixels, layer.reason, ratios, errors, peer
            )
        )
    return tuple(lines)


def packing_error(matrix: Array, dtype: str) -> float:
    """Packed product of `(rows, columns)` against the masked dense one: absolute for int8, relative for fp16."""
    rng = np.random.default_rng(0)
    kept = mk.magnitude_mask(matrix)
    if dtype == "int8":
        dense = rng.integers(-128, 128, (matrix.shape[1], PROBE_COLUMNS)).astype(np.int8)
        expected = np.where(kept, matrix, 0).astype(np.int64) @ dense.astype(np.int64)
        return float(np.abs(packing.multiply(packing.pack(matrix, kept), dense) - expected).max())
    half = matrix.astype(np.float16)
    right = rng.standard_normal((matrix.shape[1], PROBE_COLUMNS)).astype(np.float16)
    exact = np.where(kept, half, 0).astype(np.float64) @ right.astype(np.float64)
    got = packing.multiply(packing.pack(half, kept), right).astype(np.float32)
    return float(np.abs(got - exact).max() / max(float(np.abs(exact).max()), 1e-30))


def compare(
    graph: Graph, settings: Settings, progress: Progress = silent, work: Path | None = None
) -> report.Comparison:
    """Prunes, scores, packs, and times `graph`, float or quantized. Times are measured or left empty with `refusal`,
    never guessed.

    `work` keeps the generated programs; by default they are thrown away.
    """
    is_integer = isinstance(graph, QuantGraph)
    graph = graph if is_integer else prepare_for_training(graph)
    made = list(variants(graph, settings, progress))
    timed = next((integer for _, integer in made[1:] if sparse_candidates(integer)), made[0][1])
    lines, found, refusal, exit_code = _timed(timed, settings, progress, work)
    rows = [replace(v, network_us=_network_us(v, found)) for v, _ in made]
    task = None if settings.plan is None else settings.plan.task
    gained = () if is_integer else find_permutations(graph)[1]
    gains = tuple(report.PermutationGain(g.group, g.consumers, g.before, g.after) for g in gained)
    seen = features()
    machine = versions(seen.torch, seen.cuda, found[0].sparse if found else None)
    return report.Comparison(
        model=graph.name,
        metric="score" if task is None else task.metric_name,
        test_samples=0 if task is None else len(task.test),
        batches=settings.batches,
        versions=replace(machine, device=machine.device or seen.device),
        layers=lines,
        variants=(*rows, *settings.extra),
        gains=gains,
        notes=(*_left_out(graph, settings), *settings.notes),
        refusal=refusal,
        exit_code=exit_code,
    )


def _timed(
    graph: QuantGraph, settings: Settings, progress: Progress, work: Path | None
) -> tuple[tuple[report.LayerLine, ...], list[ProgramTimes], str, int]:
    """Lines with every time that this machine can take, the programs' times, why any are missing, and the exit code
    that a wrong result asks for."""
    lines, refusals, exit_code = layer_lines(graph, settings.dtypes), [], 0
    own: dict[str, tuple[report.LayerTime, ...]] = {}
    found: list[ProgramTimes] = []
    try:
        require_gpu()
    except DeviceError as error:
        return lines, found, f"no times: {error}", exit_code
    try:
        if obstacles(graph):
            raise UnsupportedOpError("TC-M590", "; ".join(obstacles(graph)), where=graph.name)
        progress("time", f"generated CUDA, batches {', '.join(map(str, settings.batches))}", None)
        with tempfile.TemporaryDirectory() as scratch:
            found += time_programs(graph, sparse_candidates(graph), settings.batches, work or Path(scratch))
        own = program_layer_times(graph, found) if "int8" in settings.dtypes else {}
    except (DeviceError, MismatchError, ToolchainError, UnsupportedOpError) as error:
        exit_code = error.exit_code if isinstance(error, MismatchError) else 0
        refusals.append(f"no times of generated CUDA: {error}")
    progress("time", "PyTorch", None)
    layers = {layer.name: layer for layer in mk.find_layers(graph) if layer.is_eligible}
    peer = {name: layer_times(layer, settings.dtypes, settings.batches) for name, layer in layers.items()}
    timed = tuple(replace(line, times=own.get(line.name, ()) + peer.get(line.name, ())) for line in lines)
    return timed, found, "; ".join(refusals), exit_code


def _network_us(variant: report.Variant, found: Sequence[ProgramTimes]) -> dict[str, float | None]:
    """All 2:4 networks have one shape, so one program's times stand for all; so for the dense ones."""
    is_dense = variant.name in ("as it is", "dense")
    return {str(t.batch): (t.dense if is_dense else t.sparse).network_us for t in found}
