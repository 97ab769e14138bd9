"""The deploy stage: from a planned network to a report, on a board or in an emulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinycompress.data import Dataset
from tinycompress.errors import BudgetError, ConfigError, MismatchError, QualityError, TinycompressError
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.inputs import integer_batches, real_batches, source_outputs
from tinycompress.ir.tensor import Array
from tinycompress.pipeline.advice import advice
from tinycompress.pipeline.arena import arena_map
from tinycompress.pipeline.measuring import TargetRun, reference_outputs, run_on_target
from tinycompress.pipeline.reporting import build_report
from tinycompress.pipeline.sampling import samples_of_test
from tinycompress.pipeline.target import Target
from tinycompress.quantize.evaluate import predict
from tinycompress.report import arena
from tinycompress.report import model as m
from tinycompress.rundir import replacing
from tinycompress.units import format_ms

if TYPE_CHECKING:
    from tinycompress.compress.task import Task
    from tinycompress.pipeline.stages import Pipeline


@dataclass(frozen=True)
class Outcome:
    """What a deployment found out, and the first promise it broke: equal bytes, a budget, the accuracy floor."""

    report: m.Report
    failure: TinycompressError | None


def deploy(pipeline: Pipeline, target: Target, *, inputs: Path | None = None, outputs: Path | None = None) -> Outcome:
    """Build, run, compare, score and report; see `Pipeline.deploy`."""
    pipeline.require(target, outputs)
    if pipeline.config.budget.min_accuracy is not None and pipeline.dataset is None:
        raise ConfigError(
            "TC-C133",
            "budget.min_accuracy is set, but there is no data to judge it on",
            fix="give --data or [data] source, or leave the floor out",
        )
    dataset = pipeline.dataset
    task = None if dataset is None else _task(pipeline, dataset)
    graph = pipeline.quantized
    scored = dataset if inputs is None and pipeline.config.deploy.accuracy_samples else None
    count = pipeline.config.deploy.accuracy_samples or 0
    samples = samples_of_test(graph, scored, count) if scored else pipeline.samples(inputs)
    firmware = pipeline.firmware(target)
    hooked = pipeline.firmware(target, hooks=True)
    run = run_on_target(
        pipeline.program,
        firmware,
        hooked,
        target,
        samples,
        inferences=pipeline.config.deploy.inferences,
        progress=pipeline.progress,
    )
    if outputs is not None:
        write_outputs(outputs, source_outputs(run.outputs, graph))
    accuracy = None if task is None else _accuracy(pipeline, task, run if scored else None)
    report = build_report(
        pipeline.plan,
        firmware,
        run,
        target,
        imported=pipeline.imported,
        seed=pipeline.config.seed,
        dataset_sha256=dataset.sha256 if dataset else None,
        accuracy=accuracy,
        budget=pipeline.config.budget,
    )
    failure = _failure(report, graph)
    if failure is not None:
        failure.fix = advice(failure, pipeline)
        found = m.Failure(failure.code, failure.what, failure.where, failure.fix, failure.exit_code)
        report = replace(report, failure=found)
    for name, text in (("arena.json", arena.to_json(arena_map(pipeline.plan))), ("report.json", m.to_json(report))):
        with replacing(pipeline.run.path / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return Outcome(report, failure)


def write_outputs(path: Path, outputs: dict[str, Array]) -> None:
    """The target's outputs, in the axis order of the user's own model, as an npz file, by rename."""
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, **outputs)  # type: ignore[arg-type]


def _task(pipeline: Pipeline, dataset: Dataset) -> Task:
    """The task of the data; what would make its score mean nothing is raised now (`Task.check_network`)."""
    from tinycompress.pipeline.compressing import task_of

    task = task_of(pipeline.config, dataset)
    task.check_network(pipeline.imported)
    return task


def _accuracy(pipeline: Pipeline, task: Task, run: TargetRun | None) -> m.Accuracy:
    """The task's metric on the test split: float network, integer reference, and the target where it ran them."""
    from tinycompress.compress.verdict import score_integers, score_reals

    graph = pipeline.quantized
    test = task.test.first(pipeline.config.deploy.accuracy_samples or 0)
    pipeline.progress("score", f"{task.metric_name} on {len(test)} test samples")
    floating = pipeline.float_network
    float_score = None
    if floating is not None:
        outputs = predict(floating, real_batches(test.samples, floating))
        float_score = score_reals(floating, task, test, outputs)
    integers = reference_outputs(graph, integer_batches(test.samples, graph))
    return m.Accuracy(
        metric=task.metric_name,
        samples=len(test),
        float=float_score,
        int8=score_integers(graph, task, test, integers),
        device=score_integers(graph, task, test, run.outputs) if run is not None else None,
    )


def _failure(report: m.Report, graph: QuantGraph) -> TinycompressError | None:
    """The error for differing bytes, else for the first instruction or latency budget or accuracy floor missed."""
    first = report.validation.first_divergence
    if first is not None:
        source = graph.tensors[first.tensor].source or first.tensor
        return MismatchError(
            "TC-V101",
            f"{report.validation.mismatching_bytes} bytes differ; first in tensor {first.tensor!r} at byte {first.byte}"
            f" of sample {first.sample}: expected {first.expected}, got {first.actual}",
            where=f"layer {first.layer} ({source})",
        )
    missed = {limit.name: limit for limit in report.limits if not limit.is_kept}
    for name, describe in (("instructions", _too_many), ("latency_ms", _too_late), ("min_accuracy", _too_inaccurate)):
        if name in missed:
            return describe(report, missed[name].limit, missed[name].used or 0)
    return None


def _too_many(report: m.Report, limit: float, used: float) -> TinycompressError:
    return BudgetError(
        "TC-B110",
        f"{used:,.0f} instructions, the budget is {limit:,.0f}: over by {used - limit:,.0f}",
        where=_busiest(report),
    )


def _too_late(report: m.Report, limit: float, used: float) -> TinycompressError:
    return BudgetError(
        "TC-B111",
        f"latency up to {format_ms(used)}, the budget is {format_ms(limit)}: over by {format_ms(used - limit)}",
        where=_busiest(report),
    )


def _too_inaccurate(report: m.Report, limit: float, used: float) -> TinycompressError:
    metric = report.accuracy.metric if report.accuracy else "accuracy"
    return QualityError(
        "TC-Q101",
        f"{metric} of the integer network is {used:.4f}, the floor is {limit:.4f}",
        fix=_more_accurate(report.accuracy, limit),
    )


def _more_accurate(found: m.Accuracy | None, floor: float) -> str:
    if found is not None and found.float is not None and found.float >= floor:
        return "train with quantization in the loop: `[compress]` with prune.method 'none' and qat.epochs in the recipe"
    return "train the network longer or take a larger one: rounding to integers is not what costs the accuracy"


def _busiest(report: m.Report) -> str:
    worst = max(report.layers, key=lambda layer: layer.instructions or layer.cycles or 0)
    return f"most in layer {worst.index} {worst.name}"
