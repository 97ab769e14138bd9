"""What can be known to be wrong before any work: no such board or model, no weights, nothing to compress with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinycompress.config import Config, ModelSection
from tinycompress.errors import ConfigError

if TYPE_CHECKING:
    from tinycompress.boards import Board

FILE_SUFFIXES = (".onnx", ".tflite", ".pt2")
DEFAULT_BOARD = "stm32f746"

_KINDS = "give a .onnx or .tflite file, a stored graph, or a Python factory pkg.mod:name or file.py:name"


def require_sensible(config: Config) -> None:
    """Raise before a run directory is made what no stage could get past.

    ConfigError TC-C102, TC-C103 ([compress]), TC-C105 (model, weights), TC-C201 to TC-C205 (board), TC-C301 (data).
    """
    from tinycompress.pipeline.settings import recipe_of

    recipe_of(config)
    board_of(config)
    require_model(config.model)
    if config.compress is not None and config.data.source is None:
        raise ConfigError("TC-C301", "compression needs data", fix="give --data, or [data] source in the recipe")


def board_of(config: Config) -> Board:
    """The board that is named, else the default one."""
    from tinycompress.boards import board

    return board(config.board or DEFAULT_BOARD)


def require_model(section: ModelSection) -> None:
    """Raise ConfigError TC-C105 unless `section` names something that can be opened, and weights that are there."""
    source = section.source
    if source is None:
        raise ConfigError("TC-C105", "no model was named", fix="give MODEL, or [model] source in the recipe")
    path = Path(source)
    if ":" in source and not path.exists():
        _require_factory_file(source.rpartition(":")[0])
    elif not path.exists():
        raise _no_model(f"{source!r} does not exist")
    elif not path.is_dir() and path.suffix not in FILE_SUFFIXES:
        fix = f"name the factory in it: {source}:NAME" if path.suffix == ".py" else _KINDS
        raise _no_model(f"{source!r} is not a model file", fix)
    if section.weights is not None and not section.weights.is_file():
        fix = "check the path behind --weights"
        raise ConfigError("TC-C105", "there is no such weights file", where=str(section.weights), fix=fix)


def _require_factory_file(place: str) -> None:
    if place.endswith(".py") and not Path(place).is_file():
        raise _no_model(f"{place!r} does not exist")


def _no_model(what: str, fix: str = _KINDS) -> ConfigError:
    return ConfigError("TC-C105", what, fix=fix)
