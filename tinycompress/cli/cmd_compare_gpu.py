"""`tinycompress compare-gpu [MODEL]`: the same network as a desktop GPU likes it, 2:4 sparse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config
    from tinycompress.gpu.compare import Settings
    from tinycompress.gpu.report import Comparison, Variant
    from tinycompress.ir.graph import Graph
    from tinycompress.pipeline import Pipeline

MAX_BATCH = 65536


@app.command("compare-gpu")
@opt.with_settings(demo=True)
def compare_gpu(
    config: Config,
    batch: Annotated[str, typer.Option("--batch", help="Batch sizes to time, separated by commas.")] = "1,256",
    dtype: Annotated[str, typer.Option("--dtype", help="int8, fp16 or both, separated by commas.")] = "int8,fp16",
    ways: Annotated[
        str, typer.Option("--prune", help="Ways to 2:4, separated by commas.")
    ] = "dense,magnitude,one-shot,sr-ste,exact-obs",
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Epochs of every recipe that trains.")] = 10,
    run: opt.RunOption = None,
    fresh: opt.Fresh = False,
    json: opt.Json = False,
) -> None:
    """Compare 2:4 sparsity for desktop GPUs. Accuracy, bytes, and dense against sparse times where there is a GPU."""
    from tinycompress.cli.output import print_json, print_table
    from tinycompress.codec import encode
    from tinycompress.gpu.compare import compare
    from tinycompress.gpu.report import layer_rows, variant_rows, verdict_lines

    batches, dtypes, recipes = parse_batches(batch), _chosen(dtype, "dtype"), _chosen(ways, "prune")
    with opt.open_pipeline(config, run, fresh) as pipeline:
        graph, settings = _inputs(pipeline, epochs)
        wanted = replace(settings, batches=batches, dtypes=dtypes, recipes=recipes)  # type: ignore[arg-type]
        found: Comparison = compare(graph, wanted, pipeline.progress)
    if json:
        print_json(encode(found))
        return
    for header, rows in (layer_rows(found), variant_rows(found)):
        print_table(header, rows)
        typer.echo("")
    for line in verdict_lines(found):
        typer.echo(line)


def parse_batches(text: str) -> tuple[int, ...]:
    """``1,256`` → (1, 256); ConfigError TC-C401 otherwise."""
    from tinycompress.errors import ConfigError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= MAX_BATCH for word in words):
        raise ConfigError("TC-C401", f"{text!r} is not a list of batch sizes", where="--batch", fix="write e.g. 1,256")
    return tuple(dict.fromkeys(int(word) for word in words))


def _chosen(text: str, flag: str) -> tuple[str, ...]:
    from tinycompress.config import nearest
    from tinycompress.errors import ConfigError
    from tinycompress.gpu.masks import STORAGE_RATIO
    from tinycompress.gpu.recipes import RECIPES

    known = tuple(STORAGE_RATIO) if flag == "dtype" else RECIPES
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise ConfigError("TC-C401", f"there is no {word!r}", where=f"--{flag}", fix=nearest(word, known))
    return words


def _inputs(pipeline: Pipeline, epochs: int) -> tuple[Graph, Settings]:
    """The float network, calibration, and how to train when there are data."""
    from tinycompress.compress.recipe import AugmentSettings, TrainSettings
    from tinycompress.errors import ConfigError
    from tinycompress.gpu.compare import Settings
    from tinycompress.gpu.recipes import TrainingPlan
    from tinycompress.ir.graph import Rounding
    from tinycompress.pipeline.compressing import task_of
    from tinycompress.pipeline.quantizing import calibration_inputs
    from tinycompress.pipeline.settings import recipe_of

    config, graph, dataset = pipeline.config, pipeline.float_network, pipeline.dataset
    if graph is None:
        raise ConfigError(
            "TC-C403",
            "the network is quantized already: it cannot be pruned and retrained",
            fix="bring the float network",
        )
    calibration, _ = calibration_inputs(graph, config, dataset)
    plan = None
    if dataset is not None:
        train, augment = TrainSettings(lr=0.02), AugmentSettings()
        if config.compress is not None:
            train, augment = recipe_of(config).train, recipe_of(config).augment
        train = train.model_copy(update={"epochs": epochs})
        plan = TrainingPlan(task_of(config, dataset), train, config.seed, augment)
    rounding = Rounding(config.quantize.rounding)
    return graph, Settings(calibration, plan, rounding=rounding, extra=(_microcontroller(pipeline, plan),))


def _microcontroller(pipeline: Pipeline, plan: object) -> Variant:
    """The row of the network that is deployed to the board, its latency estimated from instruction counts."""
    from tinycompress.cost.model import CostModel, latency_ms
    from tinycompress.gpu.compare import score
    from tinycompress.gpu.recipes import TrainingPlan
    from tinycompress.gpu.report import Variant

    graph, board = pipeline.quantized, pipeline.board
    work = CostModel(graph, has_dsp=board.has_dsp).resources({}).instructions
    estimate = float(latency_ms(work, board.clock_hz))
    value = score(graph, plan.task) if isinstance(plan, TrainingPlan) else None
    size = sum(graph.tensors[op.weights].bytes for op in graph.ops if hasattr(op, "weights"))
    note = f"int8, {estimate:.2f} ms a sample, estimated"
    return Variant(f"{board.id}", False, value, float(size), {}, note)
