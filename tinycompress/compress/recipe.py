"""Compression recipes: every choice and number of a `compress` run, as validated, immutable settings.

A recipe is the ``[compress]`` table of a TOML file. Unknown keys and names are errors with the nearest match.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from tinycompress.config import Section, nearest
from tinycompress.errors import ConfigError

Method = Literal["differentiable", "dsa", "taylor", "slimming", "l1", "l2", "bn", "random", "uniform", "greedy", "none"]
Importance = Literal["taylor", "l1", "l2", "bn", "conv_bn", "random"]


class TrainSettings(Section):
    """One training run. The learning rate warms up linearly, then follows the schedule; steps are per batch."""

    epochs: int = Field(default=30, ge=0)
    batch: int = Field(default=64, ge=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    warmup_epochs: float = Field(default=1.0, ge=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Fractions of the run at which the step schedule multiplies the rate by `decay`."""
    decay: float = Field(default=0.1, gt=0)
    label_smoothing: float | Literal["matched"] = 0.0
    """ε of smoothed labels; ``matched`` takes the ε whose targets are as confident as the teacher (a control)."""


class AugmentSettings(Section):
    """Random changes of training images; teacher and student see the same ones."""

    flip: bool = False
    shift: int = Field(default=0, ge=0)
    """Largest shift in pixels, both axes; what comes in is zero."""
    rotate: float = Field(default=0.0, ge=0)
    """Largest rotation in degrees."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """Largest relative change of size."""
    elastic: float = Field(default=0.0, ge=0)
    """Standard deviation in pixels of a smooth random displacement field."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of added Gaussian noise, in preprocessed units."""


class PruneSettings(Section):
    """Channel pruning to the budget (METHODS B1.3, B3). Times are fractions of the training run."""

    method: Method = "differentiable"
    importance: Importance = "taylor"
    start: float = Field(default=0.05, ge=0, le=1)
    end: float = Field(default=0.6, ge=0, le=1)
    min_channels: int = Field(default=2, ge=1)
    hardness: tuple[float, float] = (1.0, 20.0)
    """β2 at the start and the end of the pruning phase, changed geometrically."""
    travel: float = Field(default=40.0, gt=0)
    """η_θ times the number of pruning steps: how far a width parameter can move."""
    shrink: bool = True
    """Cut channels physically at epoch ends while pruning, not only at its end."""
    recalibration_batches: int = Field(default=40, ge=0)
    slimming: float = Field(default=1e-4, ge=0)
    """λ of the L1 penalty on batch-norm scales (method slimming)."""
    safety: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of every resource budget held back while pruning."""


class TeacherSettings(Section):
    """Where soft labels come from: none, the dense network, or one pruned by magnitude with rewinding (METHODS B2)."""

    kind: Literal["none", "dense", "pruned", "candidates"] = "none"
    rounds: int = Field(default=4, ge=1)
    """Rounds of pruning 20 % of the surviving weights; 2, 4, 7 rounds remove 36, 59, 79 %."""
    fraction: float = Field(default=0.2, gt=0, lt=1)
    train: TrainSettings = TrainSettings()
    trial_epochs: int = Field(default=3, ge=1)
    """Student epochs per candidate when `kind` is candidates: the teacher of the best student stays."""


class StudentSettings(Section):
    """The network that training starts from, before pruning cuts it; and whether a second one is trained beside it."""

    widths: Literal["full", "published", "fitted"] = "full"
    """The architecture's own, or those in which every layer holds what survived of the pruned teacher's (METHODS B2.2):
    as published, or scaled by one factor into the budget."""
    uniform: Literal["never", "tight", "always"] = "never"
    """Train the uniform-width network too and keep the one that validates better: when the smallest network takes more
    than half of some budget, or always. It costs one more training run."""


class DistillSettings(Section):
    """The soft term of the student's loss. Recipe ``patient`` is alpha 1, T 1: labels are not used (METHODS B6.1)."""

    recipe: Literal["hinton", "patient"] = "hinton"
    alpha: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=4.0, gt=0)

    @property
    def is_on(self) -> bool:
        """Whether the loss asks a teacher at all."""
        return self.alpha > 0 or self.recipe == "patient"


class QatSettings(Section):
    """Quantization-aware fine-tuning, last; 0 epochs leaves quantization to the quantize stage."""

    epochs: int = Field(default=0, ge=0)
    lr: float = Field(default=1e-3, gt=0)
    batch: int = Field(default=64, ge=1)
    optimizer: Literal["sgd", "adam"] = "adam"
    method: Literal["lsq", "tflite"] = "tflite"


class Recipe(Section):
    """A whole compression: teacher, student, pruning during training, distillation, quantization-aware training."""

    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """Torch CPU threads; results repeat bit for bit only with the same number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    initial: Literal["weights", "random", "teacher"] = "weights"
    """Start from the model's own weights, from a fresh initialisation, or from the dense teacher's weights."""
    control: Literal["none", "scratch-e", "scratch-b"] = "none"
    """Train the final shape anew: with the same epochs (E) or the same compute (B)."""
    scratch_cap: float = Field(default=5.0, ge=1)
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    prune: PruneSettings = PruneSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    distill: DistillSettings = DistillSettings()
    qat: QatSettings = QatSettings()


def parse_recipe(values: Mapping[str, Any] | None) -> Recipe:
    """A recipe from the ``[compress]`` table.

    ConfigError TC-C102 for an unknown key and TC-C103 for a wrong value, each with the nearest match.
    """
    try:
        return Recipe.model_validate(dict(values or {}))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        where = ".".join(["compress", *path])
        if first["type"] == "extra_forbidden":
            known = _section(path[:-1]).model_fields
            raise ConfigError(
                "TC-C102", f"unknown key {path[-1]!r}", where=where, fix=nearest(path[-1], known)
            ) from None
        fix = None
        if first["type"] == "literal_error":
            choices = [c.strip(" '") for c in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
            fix = nearest(str(first["input"]), choices)
        raise ConfigError("TC-C103", f"{first['input']!r}: {first['msg']}", where=where, fix=fix) from None


def _section(path: list[str]) -> type[Section]:
    model: type[Section] = Recipe
    for key in path:
        annotation = model.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            model = annotation
    return model
