"""What to do about a missed budget: the user's own command with `compress` in place of its name, or the flag to change.

Errors are raised where the numbers are; only the pipeline knows what the user typed, and whether there is a float
network to compress.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tinycompress.codec import encode
from tinycompress.config import Config
from tinycompress.errors import BudgetError, QualityError, TinycompressError
from tinycompress.ir.graph import QuantGraph
from tinycompress.pipeline.reporting import layer_reports
from tinycompress.plan import OverBudget

if TYPE_CHECKING:
    from tinycompress.pipeline.stages import Pipeline

FLAGS = {
    "ram_bytes": "--ram",
    "flash_bytes": "--flash",
    "instructions": "--instructions",
    "latency_ms": "--latency-ms",
    "min_accuracy": "--min-accuracy",
}
"""Flags of the budgets; the others stand in a recipe only."""
_MISSED = {
    "TC-B101": "ram_bytes",
    "TC-B102": "flash_bytes",
    "TC-B110": "instructions",
    "TC-B111": "latency_ms",
    "TC-B112": "flash_bytes",
    "TC-B113": "macs",
}
MODEL = ""
"""The name under which `Config.said` holds the model."""


@contextlib.contextmanager
def advising(pipeline: Pipeline) -> Iterator[None]:
    """Budgets missed inside say in `fix` which command comes next, and a plan's with which `layers` it missed them."""
    try:
        yield
    except (BudgetError, QualityError) as error:
        error.fix = advice(error, pipeline)
        if isinstance(error, OverBudget):
            error.known = {"layers": encode(layer_reports(error.plan, None, counted=True))}
        raise


def advice(error: TinycompressError, pipeline: Pipeline) -> str | None:
    """The fix of a missed budget as a command; the error's own fix where there is no better one."""
    config = pipeline.config
    if error.code == "TC-B201" and "nearest" in error.known:
        return _nearest(config, error.known["nearest"], error.fix)
    missed = _MISSED.get(error.code)
    if missed is None:
        return error.fix
    if config.compress is not None:
        flag = FLAGS.get(missed, f"budget.{missed}")
        return f"leave the compression some slack: a smaller {flag}, or a larger prune.safety in its recipe"
    limits = _limits(pipeline, missed)
    if isinstance(pipeline.imported, QuantGraph):
        return f"compress the float network it was made from: `{compress_command(config, {MODEL: 'MODEL', **limits})}`"
    streamed = missed == "ram_bytes" and config.plan.schedule == "layers"
    first = "let it stream (`--schedule auto`), or " if streamed else ""
    return f"{first}compress the model to this budget: `{compress_command(config, limits)}`"


def compress_command(config: Config, changed: Mapping[str, str]) -> str:
    """The `tinycompress compress` that continues what the user typed, with the `changed` flags (or model)."""
    said = {**config.said, **changed}
    if MODEL not in said and not config.said and config.model.source is not None:
        said[MODEL] = config.model.source
    words = [] if MODEL not in said else [str(said.pop(MODEL))]
    if config.data.source is None and "--data" not in said:
        said["--data"] = "DATA"
    for flag, value in said.items():
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(["tinycompress", "compress", *words])


def _limits(pipeline: Pipeline, missed: str) -> dict[str, str]:
    """The budget to name where the board's own memory was the limit."""
    board, budget = pipeline.board, pipeline.config.budget
    if missed == "ram_bytes" and budget.ram_bytes is None:
        return {"--ram": str(board.ram_bytes - board.stack_bytes)}
    if missed == "flash_bytes" and budget.flash_bytes is None and budget.weights_bytes is None:
        return {"--flash": str(board.flash_bytes)}
    return {}


def _nearest(config: Config, nearest: Mapping[str, int], otherwise: str | None) -> str | None:
    if not set(nearest) <= set(FLAGS):
        return otherwise
    command = compress_command(config, {FLAGS[name]: str(value) for name, value in nearest.items()})
    return f"the nearest budget that can be met: `{command}`; or start from a smaller architecture"
