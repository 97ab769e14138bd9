"""The public functions that tie rooms together; `tinycompress` re-exports them with the types they use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycompress.boards import Board, board
from tinycompress.config import Config, ModelSection, load_config
from tinycompress.errors import ConfigError
from tinycompress.ir.graph import Graph, Preprocess, QuantGraph, Rounding
from tinycompress.plan import Plan
from tinycompress.plan.feed import Feed
from tinycompress.plan.planner import Schedule
from tinycompress.report.model import Report

if TYPE_CHECKING:
    import torch

    from tinycompress.pipeline.analysis import Analysis
    from tinycompress.quantize.calibrate import Calibration


def load(
    source: str | Path | torch.nn.Module,
    *,
    weights: str | Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    preprocess: Preprocess | None = None,
    trust: bool = False,
    external_data: bool = False,
) -> Graph | QuantGraph:
    """A network as a graph: a QuantGraph when the file is int8 already, else a float Graph.

    `source` is an .onnx or .tflite file, a stored graph, a Python factory (``pkg.mod:name``, ``file.py:name``) or an
    nn.Module; modules need `input_shape` (without batch) unless they carry it as an attribute, and may carry
    `preprocess`. Raises ModelError and its kinds, naming the node.
    """
    from tinycompress.pipeline.loading import load_model

    if isinstance(source, str | Path):
        section = ModelSection(
            source=str(source),
            weights=_path(weights),
            input_shape=input_shape,
            trust=trust,
            external_data=external_data,
        )
        return load_model(section, preprocess)
    from tinycompress.frontends.torch_export import import_module

    shape = input_shape or getattr(source, "input_shape", None)
    if shape is None:
        raise ConfigError("TC-C104", "the input shape of the module is not known", fix="give input_shape=(1, 28, 28)")
    return import_module(source, shape, type(source).__name__.lower(), preprocess)


def analyze(
    graph: QuantGraph,
    target: Board | str,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
) -> Analysis:
    """Exact RAM and weights of `graph` on a board, its code estimated, layer by layer, and whether it fits."""
    from tinycompress.config import BudgetSection
    from tinycompress.pipeline.analysis import analyze as analyze_graph

    budget = BudgetSection(ram_bytes=ram_bytes, flash_bytes=flash_bytes)
    return analyze_graph(graph, _board(target), budget, schedule=schedule, feed=feed)


def quantize(
    graph: Graph,
    calibration: Calibration,
    *,
    weights: str = "mse",
    activations: str = "percentile",
    rounding: Rounding = Rounding.DOUBLE,
    **settings: Any,
) -> QuantGraph:
    """`graph` as the integer network that is deployed: quantized (`quantize.ptq.quantize`), then freed of dead work.

    `calibration` is real-valued after preprocessing, `(n, *shape)` per input, channels last.
    """
    from tinycompress.passes import prepare_for_deployment
    from tinycompress.quantize.ptq import quantize as quantize_graph

    return prepare_for_deployment(
        quantize_graph(graph, calibration, weights=weights, activations=activations, rounding=rounding, **settings)
    )


def plan(
    graph: QuantGraph,
    target: Board | str,
    *,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    schedule: Schedule = "auto",
    feed: Feed = "whole",
) -> Plan:
    """The checked plan of `graph` on a board (`pipeline.planning.plan_for`); BudgetError when it does not fit."""
    from tinycompress.pipeline.planning import plan_for

    return plan_for(graph, _board(target), ram_bytes, flash_bytes, schedule=schedule, feed=feed)


def deploy(
    source: str | Path | None = None,
    *,
    board: str | None = None,
    emulate: bool = False,
    engine: str = "unicorn",
    port: str | None = None,
    recipe: str | Path | None = None,
    run: str | Path | None = None,
    fresh: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Report:
    """The main job, as `tinycompress deploy`; `settings` are dotted recipe keys, e.g. ``{"data.source": "mnist"}``.

    The board is `board`, else the recipe's, else stm32f746.
    """
    from tinycompress.pipeline import Pipeline
    from tinycompress.pipeline.target import Target

    overrides = {"model.source": None if source is None else str(source), "board": board, **(settings or {})}
    config: Config = load_config(_path(recipe), overrides)
    with Pipeline.open(config, _path(run), fresh=fresh) as pipeline:
        return pipeline.deploy(Target(emulate=emulate, engine=engine, port=port))


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _board(target: Board | str) -> Board:
    return board(target) if isinstance(target, str) else target
