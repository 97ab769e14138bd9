"""The settings in force, whole: a recipe's [compress] table as its own validated model, and all settings shown."""

from __future__ import annotations

from typing import Any

from tinycompress.compress.recipe import Recipe, parse_recipe
from tinycompress.config import Config, config_json

RANDOM = "random"
"""Calibration that says of itself that it is none: sizes and counts are right, accuracy is not."""


def recipe_of(config: Config) -> Recipe:
    """The [compress] table, with the run's seed where it names none; ConfigError TC-C102, TC-C103 when it is wrong."""
    return parse_recipe({"seed": config.seed, **(config.compress or {})})


def full_config(config: Config) -> dict[str, Any]:
    """Every setting with its value; with compression its recipe's defaults too."""
    compression = None if config.compress is None else recipe_of(config).model_dump(mode="json")
    return {**config_json(config), "compress": compression}


def calibrated(config: Config) -> Config:
    """`config` with random calibration data when it names none."""
    if config.data.source or config.data.calibration:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"calibration": RANDOM})})
