"""The compress stage: the recipe's settings as a task, a budget and a compression recipe; its result in the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycompress.boards import Board
from tinycompress.compress.result import CompressResult
from tinycompress.compress.run import compress
from tinycompress.compress.task import Budget, Task
from tinycompress.compress.team import join
from tinycompress.config import Config
from tinycompress.cost.model import CYCLES_PER_INSTRUCTION
from tinycompress.data import Dataset, load_data
from tinycompress.pipeline.settings import recipe_of

if TYPE_CHECKING:
    from tinycompress.pipeline.stages import Pipeline


def compress_stage(pipeline: Pipeline, folder: Path, work: Path) -> CompressResult:
    """Compress the imported float network into `folder`; finished stages stay in `work` until all are done."""
    config, graph, dataset = pipeline.config, pipeline.imported, pipeline.dataset
    assert dataset is not None
    clock_hz = _clock_of(pipeline.board)
    join().tell((config, graph, pipeline.board.has_dsp, clock_hz))
    result = compress(
        graph,
        task_of(config, dataset),
        budget_of(config),
        recipe_of(config),
        directory=work,
        progress=pipeline.progress,
        has_dsp=pipeline.board.has_dsp,
        clock_hz=clock_hz,
    )
    result.save(folder)
    return result


def _clock_of(board: Board) -> float:
    """The clock in Hz at which the cost model's cycles per instruction give the latency of the board's calibration."""
    own = board.calibration.cycles_per_instruction if board.calibration else CYCLES_PER_INSTRUCTION
    return board.clock_hz if own == CYCLES_PER_INSTRUCTION else board.clock_hz * CYCLES_PER_INSTRUCTION / own


def follow() -> None:
    """What the other processes of torchrun do: each joins in the compressions of the first one until that is done.

    They read the data by themselves and write nothing.
    """
    team = join()
    while (told := team.hear()) is not None:
        config, graph, has_dsp, clock_hz = told
        dataset = load_data(config.data.source, seed=config.seed)
        compress(
            graph, task_of(config, dataset), budget_of(config), recipe_of(config), has_dsp=has_dsp, clock_hz=clock_hz
        )


def dismiss() -> None:
    """Tells the other processes of torchrun that there is nothing more to do."""
    join().tell(None)


def task_of(config: Config, dataset: Dataset) -> Task:
    """The task of the recipe on its data; loss and metric are names or ``pkg.mod:callable``."""
    from tinycompress.data.sources import load_callable

    def named(name: str | None) -> Any:
        return load_callable(name) if name and ":" in name else name

    section = config.task
    return Task.of(dataset, section.kind, named(section.loss), named(section.metric))


def budget_of(config: Config) -> Budget:
    """The limits of the recipe."""
    return Budget(**config.budget.model_dump())
