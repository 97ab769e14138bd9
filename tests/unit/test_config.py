"""Recipes: precedence, unknown keys with the nearest match, wrong values."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycompress.config import load_config, parse_shape, setting_names
from tinycompress.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_flag_beats_environment_beats_recipe(tmp_path: Path) -> None:
    recipe = write(tmp_path / "r.toml", 'board = "a"\nseed = 1\n[quantize]\nrounding = "single"\n')
    environ = {"TINYCOMPRESS_BOARD": "b", "TINYCOMPRESS_SEED": "2", "TINYCOMPRESS_DATA": "elsewhere"}
    config = load_config(recipe, {"board": "c", "seed": None}, environ)
    assert (config.board, config.seed, config.quantize.rounding) == ("c", 2, "single")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("boord = 'x'", r"TC-C102.*'boord'.*did you mean 'board'"),
        ("[quantize]\nroundin = 'double'", r"TC-C102.*'quantize.roundin'.*did you mean 'rounding'"),
        ("[quantize]\nrounding = 'up'", r"TC-C103.*quantize.rounding"),
        ("[deploy]\nsamples = 0", r"TC-C103.*deploy.samples"),
        ("board = ", "TC-C101.*TOML"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path / "r.toml", text), environ={})


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TC-C101"):
        load_config(tmp_path / "none.toml", environ={})


def test_files_in_a_recipe_are_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "")
    recipe = write(tmp_path / "r.toml", '[model]\nsource = "net.py:make"\n[data]\nsource = "mnist"\n')
    config = load_config(recipe, environ={})
    assert config.model.source == f"{tmp_path / 'net.py'}:make"
    assert config.data.source == "mnist"


def test_shapes() -> None:
    assert parse_shape("1,28,28") == parse_shape("1x28x28") == (1, 28, 28)
    assert parse_shape("1,28,28;10") == ((1, 28, 28), (10,))
    with pytest.raises(ConfigError, match="TC-C104"):
        parse_shape("a,b")


def test_every_setting_has_a_name() -> None:
    assert {"board", "model.source", "quantize.rounding", "budget.min_accuracy"} <= set(setting_names())
