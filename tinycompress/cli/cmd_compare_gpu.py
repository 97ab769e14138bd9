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
        str | None,
        typer.Option(
            "--prune", help="Some of dense, magnitude, one-shot, sr-ste, exact-obs; by default all that are possible."
        ),
    ] = None,
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

    batches, dtypes = parse_batches(batch), _chosen(dtype, "dtype")
    recipes = None if ways is None else _chosen(ways, "prune")
    with opt.open_pipeline(config, run, fresh) as pipeline:
        graph, settings = _inputs(pipeline, epochs)
        wanted = replace(settings, batches=batches, dtypes=dtypes)
        if recipes is not None:
            wanted = replace(wanted, recipes=recipes)  # type: ignore[arg-type]
            _require_possible(graph, wanted)
        found: Comparison = compare(graph, wanted, pipeline.progress)
    if json:
        print_json(encode(found))
    else:
        for header, rows in (layer_rows(found), variant_rows(found)):
            print_table(header, rows)
            typer.echo("")
        for line in verdict_lines(found):
            typer.echo(line)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


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


def _require_possible(graph: Graph, settings: Settings) -> None:
    """ConfigError TC-C403 or TC-C404 for a recipe that was asked for and cannot run."""
    from tinycompress.errors import ConfigError
    from tinycompress.gpu.compare import possible
    from tinycompress.ir.graph import QuantGraph

    missing = ", ".join(recipe for recipe in settings.recipes if recipe not in possible(graph, settings))
    if missing and isinstance(graph, QuantGraph):
        what = f"{missing}: the network is quantized already, it cannot be pruned and retrained"
        raise ConfigError("TC-C403", what, where="--prune", fix="bring the float network, or --prune magnitude")
    if missing:
        fix = "give --data, or --prune magnitude,exact-obs"
        raise ConfigError("TC-C404", f"{missing}: there are no data to train on", where="--prune", fix=fix)


def _inputs(pipeline: Pipeline, epochs: int) -> tuple[Graph, Settings]:
    """The network, float where it came so, calibration, and how to train when there are data."""
    from tinycompress.compress.recipe import AugmentSettings, TrainSettings
    from tinycompress.compress.train import choose_device
    from tinycompress.gpu.compare import Settings
    from tinycompress.gpu.recipes import TrainingPlan
    from tinycompress.ir.graph import Rounding
    from tinycompress.pipeline.compressing import task_of
    from tinycompress.pipeline.quantizing import calibration_inputs
    from tinycompress.pipeline.settings import recipe_of

    config, graph, dataset = pipeline.config, pipeline.float_network, pipeline.dataset
    calibration, note = ((), None) if graph is None else calibration_inputs(graph, config, dataset)
    plan = None
    if dataset is not None:
        train, augment, device = TrainSettings(lr=0.02), AugmentSettings(), "auto"
        if config.compress is not None:
            recipe = recipe_of(config)
            train, augment, device = recipe.train, recipe.augment, recipe.device
        train = train.model_copy(update={"epochs": epochs})
        plan = TrainingPlan(task_of(config, dataset), train, config.seed, augment, choose_device(device))
    rounding = Rounding(config.quantize.rounding)
    board = _microcontroller(pipeline, plan)
    settings = Settings(calibration, plan, rounding=rounding, extra=(board,), notes=(note,) if note else ())
    return pipeline.quantized if graph is None else graph, settings


def _microcontroller(pipeline: Pipeline, plan: object) -> Variant:
    """The row of the network that is deployed to the board, its latency estimated from instruction counts."""
    from tinycompress.cost.model import CostModel, latency_ms
    from tinycompress.gpu.compare import score
    from tinycompress.gpu.recipes import TrainingPlan
    from tinycompress.gpu.report import Variant

    graph, board = pipeline.quantized, pipeline.board
    work = CostModel(graph, has_dsp=board.has_dsp).resources({}).instructions
    estimate_us = 1000.0 * float(latency_ms(work, board.clock_hz))
    value = score(graph, plan.task) if isinstance(plan, TrainingPlan) else None
    size = sum(graph.tensors[op.weights].bytes for op in graph.ops if hasattr(op, "weights"))
    return Variant(f"{board.id} int8", False, value, float(size), {}, estimate_us)
