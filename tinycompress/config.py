"""Recipes: TOML files into validated models. Precedence: flag > `TINYCOMPRESS_*` > recipe > default."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from tinycompress.errors import ConfigError
from tinycompress.units import parse_bytes

ENV_PREFIX = "TINYCOMPRESS_"
RESERVED_ENV = {"TINYCOMPRESS_DATA", "TINYCOMPRESS_CACHE"}
"""Variables with the prefix that are not settings: where test data and caches are."""

DEMO_RECIPE = Path(__file__).parent / "recipes" / "mnist.toml"


Size = Annotated[int, BeforeValidator(parse_bytes)]
"""Bytes, written as a number or with a unit: ``65536``, ``"64 KB"``."""


class Section(BaseModel):
    """Base of every recipe section: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PreprocessSection(Section):
    """How the user's data becomes the network's input: real = (user · scale − mean) / std, scalars or per channel."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    value_range: tuple[float, float] | None = None


class ModelSection(Section):
    """The network: a file (.onnx, .tflite, stored graph) or a Python factory `pkg.mod:name` / `file.py:name`.

    `input_shape` is one shape, or a list of shapes for a network with several inputs; `preprocess` travels with the
    network (a factory's module may carry its own as an attribute). `external_data` lets an ONNX file keep its weights
    in regular files of its own folder. `name` is what the network and its C are called (default: as file or factory).
    """

    source: str | None = None
    weights: Path | None = None
    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None
    preprocess: PreprocessSection | None = None
    name: str | None = None
    trust: bool = False
    external_data: bool = False


class DataSection(Section):
    """The user's data: `mnist`, a .npz, a folder of images, or `pkg.mod:callable`; and what calibrates int8."""

    source: str | None = None
    calibration: str | None = None
    calibration_samples: int = Field(default=256, ge=1)


class TaskSection(Section):
    """What the network is for, and how it is scored."""

    kind: Literal["classification", "regression", "autoencoder"] = "classification"
    loss: str | None = None
    metric: str | None = None


class QuantizeSection(Section):
    """Post-training quantization (METHODS B4.4) and rounding."""

    weights: Literal["minmax", "mse"] = "mse"
    activations: Literal["minmax", "ema", "percentile", "mse", "entropy"] = "percentile"
    rounding: Literal["double", "single"] = "double"
    bias_correction: bool = False


class PlanSection(Section):
    """Schedule of the generated code: layer by layer, row-streamed, or whichever the budget asks for.

    With `feed` rows the caller gives the input row by row, it never is in memory as a whole; the plan is streamed then.
    """

    schedule: Literal["layers", "streamed", "auto"] = "auto"
    feed: Literal["whole", "rows"] = "whole"


class BuildSection(Section):
    """Compiler of firmware and library."""

    toolchain: Literal["zig", "gcc"] = "zig"


class DeploySection(Section):
    """What is run on the target: samples compared byte by byte, inferences timed, samples scored."""

    samples: int = Field(default=20, ge=1)
    inferences: int = Field(default=50, ge=1)
    accuracy_samples: int | None = Field(default=None, ge=1)


class BudgetSection(Section):
    """Limits the result must keep; None is the board's own limit (bytes) or no limit."""

    ram_bytes: Size | None = None
    flash_bytes: Size | None = None
    weights_bytes: Size | None = None
    macs: float | None = None
    instructions: int | None = None
    latency_ms: float | None = None
    min_accuracy: float | None = None


class Config(Section):
    """A whole recipe. `compress` is validated by `compress.recipe`, before any stage runs; absent means none."""

    board: str | None = None
    seed: int = 0
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    task: TaskSection = TaskSection()
    quantize: QuantizeSection = QuantizeSection()
    plan: PlanSection = PlanSection()
    build: BuildSection = BuildSection()
    deploy: DeploySection = DeploySection()
    budget: BudgetSection = BudgetSection()
    compress: dict[str, Any] | None = None
    _said: Mapping[str, str | bool] = PrivateAttr(default_factory=dict)

    @property
    def said(self) -> Mapping[str, str | bool]:
        """What the user typed to get these settings: flags with their values, the model under an empty name."""
        return self._said

    def saying(self, words: Mapping[str, str | bool]) -> Config:
        """The same settings, which these words gave."""
        config = self.model_copy()
        config._said = words
        return config


def load_config(
    recipe: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """The settings in force: `recipe` (TOML), then environment, then `overrides` (dotted keys such as ``board``).

    `flags` says how the command line calls an override.

    ConfigError TC-C101 when the file cannot be read or parsed, TC-C102 for an unknown key (with the nearest match),
    TC-C103 for a value of the wrong type or range.
    """
    values = _read(recipe) if recipe is not None else {}
    _reject_unknown(values, Config, str(recipe))
    if recipe is not None:
        _anchor_paths(values, recipe.parent)
    variables = _environment(os.environ if environ is None else environ)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    for key, value in {**{key: text for key, (_, text) in variables.items()}, **given}.items():
        _put(values, key, value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = next((k for k in (*given, *variables) if _names(k, first["loc"])), ".".join(map(str, first["loc"])))
        where = variables[key][0] if key in variables else str(recipe)
        if key in given:
            where = (flags or {}).get(key, "the command line")
        what = f"{key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
        fix = "`tinycompress deploy --print-config` shows every setting with its value"
        raise ConfigError("TC-C103", what, where=where, fix=fix) from None


def _names(dotted: str, location: tuple[int | str, ...]) -> bool:
    """Whether `location`, where validation failed, lies in the setting `dotted`."""
    parts = dotted.split(".")
    return list(map(str, location[: len(parts)])) == parts


def _read(recipe: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot read the recipe: {error.strerror}"
        raise ConfigError("TC-C101", what, where=str(recipe), fix="check the path behind --recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fix = "write it as TOML 1.0: [table] lines, and key = value with text in quotes"
        raise ConfigError("TC-C101", f"not valid TOML: {error}", where=str(recipe), fix=fix) from None


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    """Relative file names in a recipe are relative to the recipe."""
    for section, key in (("model", "source"), ("model", "weights"), ("data", "source"), ("data", "calibration")):
        text = values.get(section, {}).get(key)
        if isinstance(text, str):
            file, colon, name = text.rpartition(":") if ".py:" in text else (text, "", "")
            candidate = folder / file
            if not Path(file).is_absolute() and candidate.exists():
                values[section][key] = f"{candidate}{colon}{name}"


def _reject_unknown(values: Mapping[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    for key, value in values.items():
        if key not in model.model_fields:
            raise ConfigError(
                "TC-C102", f"unknown key {prefix + key!r}", where=where, fix=nearest(key, model.model_fields)
            )
        annotation = model.model_fields[key].annotation
        section = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        if (section or key == "compress") and not isinstance(value, Mapping):
            fix = f"write [{prefix}{key}] and its keys below it"
            raise ConfigError("TC-C103", f"{prefix}{key} = {value!r}: a section is expected", where=where, fix=fix)
        if section is not None:
            _reject_unknown(value, section, where, f"{prefix}{key}.")


def nearest(name: str, known: Any) -> str:
    """The advice for a mistyped name: the nearest known one, else the one it begins, else all of them."""
    close = difflib.get_close_matches(name, list(known), n=1) or [k for k in known if k.startswith(f"{name}_")]
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def setting_names(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Dotted names of all scalar settings, e.g. ``quantize.rounding``."""
    names: list[str] = []
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{key}.")
        elif key != "compress":
            names.append(prefix + key)
    return names


def _environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Setting → (variable, text) for every TINYCOMPRESS_* variable; an unknown one is an error like an unknown key."""
    known = {ENV_PREFIX + name.replace(".", "_").upper(): name for name in setting_names()}
    found = {}
    for variable in sorted(environ):
        if variable in known:
            found[known[variable]] = (variable, environ[variable])
        elif variable.startswith(ENV_PREFIX) and variable not in RESERVED_ENV:
            fix = nearest(variable, [*known, *RESERVED_ENV])
            raise ConfigError("TC-C102", f"unknown setting {variable}", where="the environment", fix=fix)
    return found


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    if key == "input_shape" and isinstance(value, str):
        value = parse_shape(value)
    values[key] = value


def parse_shape(text: str) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    """``1,28,28`` or ``1x28x28`` → (1, 28, 28); ``1,28,28;10`` → one shape per input; ConfigError TC-C104 otherwise."""
    try:
        shapes = tuple(tuple(int(n) for n in part.replace("x", ",").split(",")) for part in text.split(";"))
    except ValueError:
        shapes = ()
    if not shapes or min(n for shape in shapes for n in shape) < 1:
        raise ConfigError("TC-C104", f"{text!r} is not a shape", where="--input-shape", fix="write e.g. 1,28,28")
    return shapes[0] if len(shapes) == 1 else shapes


def config_json(config: Config) -> dict[str, Any]:
    """The settings as plain JSON values, for hashing and printing."""
    document: dict[str, Any] = json.loads(config.model_dump_json())
    return document
