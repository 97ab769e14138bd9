"""What the network is for: data, loss and metric; and the limits its compressed form must keep."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Literal

import numpy as np

from tinycompress.config import nearest
from tinycompress.data import Dataset, Split
from tinycompress.data.dataset import Array
from tinycompress.errors import ConfigError, TinycompressError, located
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import real_batches
from tinycompress.units import parse_bytes

Kind = Literal["classification", "regression", "autoencoder"]
Loss = Callable[[Any, Any], Any]
"""(output, target) torch tensors of one batch → scalar torch tensor. An autoencoder's target is its input. Several
outputs (or inputs) are a tuple in the network's order, several targets a dict by name."""
Metric = Callable[[Any, Any], float]
"""(outputs, targets) of all samples as numpy arrays → a number, larger is better."""
Values = Array | tuple[Array, ...]
"""All samples of the only input or output, or of each in the network's order."""


def accuracy(outputs: Array, targets: Array) -> float:
    """Share of samples whose largest output is the target's class, 0 … 1."""
    return float((outputs.reshape(len(outputs), -1).argmax(axis=1) == targets).mean())


def negative_error(outputs: Array, targets: Array) -> float:
    """Minus the mean squared error: larger is better."""
    return -float(np.mean((outputs.reshape(len(outputs), -1) - targets.reshape(len(targets), -1)) ** 2))


def area_under_curve(scores: Array, labels: Array) -> float:
    """Probability that a random positive (label 1) scores above a random negative; ties count one half."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    ranks = np.empty(len(scores))
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    last = np.r_[first[1:], len(scores)]
    for a, b in zip(first, last, strict=True):
        ranks[order[a:b]] = (a + b + 1) / 2
    positives = labels == 1
    n, m = int(positives.sum()), int((~positives).sum())
    return float((ranks[positives].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


METRICS: dict[str, Metric] = {"accuracy": accuracy, "negative_mse": negative_error, "auc": area_under_curve}
LOSSES = ("cross_entropy", "mse")
_DEFAULTS: dict[str, tuple[str, str]] = {
    "classification": ("cross_entropy", "accuracy"),
    "regression": ("mse", "negative_mse"),
    "autoencoder": ("mse", "negative_mse"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """Data, loss and metric. `loss` and `metric` are names or callables; None is the kind's default.

    classification: cross entropy of logits, accuracy. regression: mean squared error. autoencoder: reconstruction error
    of the input; with metric ``auc`` the targets are 0 (normal) and 1 (anomaly), scored by reconstruction error.
    Choices are made on `val`; `test` is scored once. Raises ConfigError TC-C310 for a name that does not exist.
    """

    train: Split
    val: Split
    test: Split
    kind: Kind = "classification"
    loss: str | Loss | None = None
    metric: str | Metric | None = None
    name: str = "data"

    def __post_init__(self) -> None:
        for what, given, known in (("loss", self.loss, LOSSES), ("metric", self.metric, tuple(METRICS))):
            if isinstance(given, str) and given not in known:
                said = f"{given!r} is not a {what}"
                raise ConfigError("TC-C310", said, where=f"task.{what}", fix=nearest(given, known))
        if self.kind not in _DEFAULTS:
            fix = nearest(self.kind, _DEFAULTS)
            raise ConfigError("TC-C310", f"{self.kind!r} is not a kind of task", where="task.kind", fix=fix)
        if self.kind != "autoencoder" and any(split.wanted is None for _, split in self._splits):
            fix = "add targets y to the data, or set [task] kind = 'autoencoder'"
            raise ConfigError("TC-C302", f"a {self.kind} task needs targets", where=self.name, fix=fix)

    @classmethod
    def of(cls, data: Dataset, kind: Kind = "classification", loss: str | Loss | None = None,
           metric: str | Metric | None = None) -> Task:  # fmt: skip
        """The task on a data set."""
        return cls(data.train, data.val, data.test, kind, loss, metric, data.name)

    @property
    def _splits(self) -> tuple[tuple[str, Split], ...]:
        return ("train", self.train), ("val", self.val), ("test", self.test)

    @property
    def loss_name(self) -> str | Loss:
        return self.loss if self.loss is not None else _DEFAULTS[self.kind][0]

    @property
    def metric_name(self) -> str:
        chosen = self.metric if self.metric is not None else _DEFAULTS[self.kind][1]
        return chosen if isinstance(chosen, str) else getattr(chosen, "__name__", "metric")

    def score(self, outputs: Values, split: Split, inputs: Values) -> float:
        """The metric of a network's outputs on `split`; `inputs` are the real values that the network saw.

        ConfigError TC-C319 when a metric of the user's fails.
        """
        chosen = self.metric if self.metric is not None else _DEFAULTS[self.kind][1]
        if callable(chosen):
            with calling("metric", chosen):
                return float(chosen(outputs, inputs if self.kind == "autoencoder" else split.wanted))
        assert isinstance(outputs, np.ndarray)
        metric = METRICS[chosen]
        if self.kind != "autoencoder":
            assert split.targets is not None
            return metric(outputs, split.targets)
        assert isinstance(inputs, np.ndarray)
        if metric is area_under_curve:
            if split.targets is None:
                said = "metric 'auc' needs labels 0 (normal) and 1 (anomaly)"
                raise ConfigError("TC-C302", said, where=self.name, fix="add them to the data as y")
            errors = ((outputs - inputs.reshape(outputs.shape)) ** 2).reshape(len(outputs), -1).mean(axis=1)
            return metric(errors, split.targets)
        return metric(outputs, inputs)

    def check_network(self, graph: Graph) -> None:
        """Raises before any training what would fail in it.

        ConfigError TC-C312 for several inputs, outputs or targets where a loss or metric by name takes one, TC-C107 for
        samples that the network does not take, TC-C303 for a label without an output and for targets of another size
        than the output.
        """
        shapes = [graph.tensors[name].shape for name in graph.outputs]
        are_own = callable(self.loss_name) and callable(self.metric)
        many = len(shapes) > 1 or isinstance(self.train.wanted, Mapping)
        if (many or (self.kind == "autoencoder" and len(graph.inputs) > 1)) and not are_own:
            raise ConfigError(
                "TC-C312",
                f"a loss and a metric by name take one input, output and target; {graph.name!r} has "
                f"{len(graph.inputs)} inputs and {len(shapes)} outputs",
                where=self.name,
                fix="give [task] loss and metric as functions of your own: they get tuples of outputs",
            )
        with located(self.name):
            real_batches(self.train.first(1).samples, graph)
        if are_own or many:
            return
        if self.kind == "classification":
            self._check_classes(shapes[0][-1])
        else:
            self._check_size(shapes[0], graph.tensors[graph.input_names[0]].shape)

    def _check_size(self, output: tuple[int, ...], taken: tuple[int, ...]) -> None:
        for part, split in self._splits:
            wanted = taken
            if self.kind == "regression":
                assert split.targets is not None
                wanted = split.targets.shape[1:]
            if prod(wanted) != prod(output):
                what = "its input" if self.kind == "autoencoder" else f"a target of {part}"
                raise ConfigError(
                    "TC-C303",
                    f"the network's output is {list(output)}, {what} {list(wanted)}",
                    where=self.name,
                    fix="build the network for these targets",
                )

    def _check_classes(self, outputs: int) -> None:
        for part, split in self._splits:
            labels = split.labels
            if labels is None:
                raise self._no_labels(part, split.targets)
            if labels.min() < 0 or labels.max() >= outputs:
                raise ConfigError(
                    "TC-C303",
                    f"{part} labels go from {labels.min()} to {labels.max()}, the network has {outputs} outputs",
                    where=self.name,
                    fix="build the network for this many classes; labels start at 0",
                )

    def _no_labels(self, part: str, found: Array | None) -> ConfigError:
        held = "missing" if found is None else f"{found.dtype} of shape {list(found.shape)}"
        return ConfigError(
            "TC-C303",
            f"{part} labels are {held}, not one integer per sample",
            where=self.name,
            fix="give each sample the number of its class as an integer from 0 (of one-hot rows the argmax), "
            "or set [task] kind = 'regression'",
        )


@contextlib.contextmanager
def calling(what: str, function: Callable[..., Any]) -> Iterator[None]:
    """Around a call of the user's own `function`: ConfigError TC-C319 with what it raised."""
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        yield
    except TinycompressError:
        raise
    except Exception as error:  # it may raise anything
        raise ConfigError(
            "TC-C319",
            f"the {what} {name} failed: {type(error).__name__}: {error}",
            where=f"task.{what}",
            fix="it is called with the outputs and the targets of a batch",
        ) from error


@dataclass(frozen=True)
class Budget:
    """Limits of the deployed network; None is no limit. Sizes are bytes or text such as ``'16 KB'``.

    ram_bytes      arena, state and static memory of the library
    flash_bytes    code and weights of the library
    weights_bytes  weights alone: the generated weights file
    macs           multiply-accumulates
    instructions   counted instructions of one inference
    latency_ms     milliseconds of one inference
    min_accuracy   least value of the task's metric, of the integer network on the test split
    """

    ram_bytes: int | str | None = None
    flash_bytes: int | str | None = None
    weights_bytes: int | str | None = None
    macs: float | None = None
    instructions: float | None = None
    latency_ms: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        for name in ("ram_bytes", "flash_bytes", "weights_bytes"):
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, parse_bytes(value))
                except ValueError as error:
                    fix = "give a size, or leave it out for no limit"
                    raise ConfigError("TC-C311", str(error), where=f"budget.{name}", fix=fix) from None
        for name, value in self._limits():
            if not value > 0:
                fix = "leave it out for no limit"
                raise ConfigError("TC-C311", f"a budget must be positive, not {value}", where=f"budget.{name}", fix=fix)

    def _limits(self) -> Iterator[tuple[str, float]]:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and f.name != "min_accuracy":
                yield f.name, float(value)

    @property
    def resources(self) -> dict[str, float]:
        """The resource limits that are set, by name."""
        return dict(self._limits())
