"""A data set in memory: three splits of numpy arrays, in the user's layout and value range."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.errors import ConfigError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Split:
    """`samples` is (n, …) in the user's layout and dtype, or several such arrays by the names of the network's inputs.

    `wanted` are targets: (n,) classes, (n, …) values, several of them by names of the user's, or None (autoencoder).
    Raises ConfigError TC-C302 for no samples, lengths that differ or what is no number, TC-C305 for NaN and infinity.
    """

    samples: Array | Mapping[str, Array]
    wanted: Array | Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        arrays = self._inputs | self._targets
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise ConfigError("TC-C302", f"{name} hold {array.dtype}, not numbers", fix="encode them as numbers")
            if array.ndim == 0 or len(array) == 0:
                fix = "give at least one sample; the first axis counts them"
                raise ConfigError("TC-C302", f"{name} of shape {list(array.shape)} hold no samples", fix=fix)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = " but ".join(f"{n} {name}" for name, n in lengths.items())
            raise ConfigError("TC-C302", f"the numbers of samples differ: {listed}", fix="give one target per sample")
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                _require_finite(array, name)

    @property
    def _inputs(self) -> dict[str, Array]:
        return dict(self.samples) if isinstance(self.samples, Mapping) else {"inputs": self.samples}

    @property
    def _targets(self) -> dict[str, Array]:
        if self.wanted is None:
            return {}
        return dict(self.wanted) if isinstance(self.wanted, Mapping) else {"targets": self.wanted}

    @property
    def inputs(self) -> Array:
        """The samples of the only input; ConfigError TC-C307 when there are several inputs."""
        if isinstance(self.samples, Mapping):
            raise _several("inputs", self.samples)
        return self.samples

    @property
    def targets(self) -> Array | None:
        """The only targets, None without any; ConfigError TC-C307 when there are several."""
        if isinstance(self.wanted, Mapping):
            raise _several("targets", self.wanted)
        return self.wanted

    @property
    def labels(self) -> Array | None:
        """The targets where they are one integer per sample."""
        found = self.wanted
        is_class = isinstance(found, np.ndarray) and found.dtype.kind in "iu" and found.ndim == 1
        return found if is_class else None  # type: ignore[return-value]

    @property
    def arrays(self) -> list[Array]:
        """Every array: inputs, then targets."""
        return [*self._inputs.values(), *self._targets.values()]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of each input."""
        return {name: array.shape[1:] for name, array in self._inputs.items()}

    def __len__(self) -> int:
        return len(next(iter(self._inputs.values())))

    def take(self, indices: Sequence[int] | Array) -> Split:
        """The samples at `indices`, in that order."""
        index = np.asarray(indices)

        def chosen(value: Array | Mapping[str, Array]) -> Array | Mapping[str, Array]:
            return {k: v[index] for k, v in value.items()} if isinstance(value, Mapping) else value[index]

        return Split(chosen(self.samples), None if self.wanted is None else chosen(self.wanted))

    def first(self, count: int) -> Split:
        """At most `count` samples; 0 is all of them."""
        return self if not 0 < count < len(self) else self.take(np.arange(count))


def _require_finite(array: Array, name: str) -> None:
    """ConfigError TC-C305 unless every value is a float32."""
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(array.astype(np.float32, copy=False))
    if not is_finite.all():
        bad = np.flatnonzero(~is_finite.reshape(len(array), -1).all(axis=1))
        raise ConfigError(
            "TC-C305",
            f"{len(bad)} of {len(array)} {name} hold NaN, infinity or numbers beyond float32, the first is number "
            f"{bad[0]}",
            fix="repair these samples or leave them out",
        )


def _several(what: str, arrays: Mapping[str, Array]) -> ConfigError:
    said = f"the data has {len(arrays)} {what} ({', '.join(arrays)}), and one is needed here"
    return ConfigError("TC-C307", said, fix="bring data with one array x, and one array y where there are targets")


def spread(available: int, wanted: int) -> Array:
    """Indices of at most `wanted` samples, evenly over `available`."""
    return np.unique(np.linspace(0, available - 1, min(wanted, available)).round().astype(np.int64))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test splits. Choices are made on `val`; `test` is scored once, at the end."""

    name: str
    train: Split
    val: Split
    test: Split

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.train.inputs.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes: the largest label of any split plus one; 0 without integer labels."""
        labels = [s.labels for s in (self.train, self.val, self.test)]
        return 1 + max(int(t.max()) for t in labels if t is not None) if all(t is not None for t in labels) else 0

    @cached_property
    def sha256(self) -> str:
        """Digest of every array of every split, for the report's provenance."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            for array in part.arrays:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def split_by_seed(name: str, everything: Split, counts: tuple[int, int, int], seed: int) -> Dataset:
    """Shuffles with `seed` and cuts into train, val and test of `counts` samples; class shares stay equal.

    Each class is spread evenly over the shuffled order, so that every split has each class in proportion. Raises
    ConfigError TC-C304 when there are too few samples.
    """
    if sum(counts) > len(everything) or min(counts) < 1:
        raise ConfigError(
            "TC-C304",
            f"{len(everything)} {'sample' if len(everything) == 1 else 'samples'} cannot be split into "
            + ("train, val and test" if counts[0] < 1 else f"{counts[0]} train, {counts[1]} val and {counts[2]} test"),
            where=name,
            fix="bring more samples",
        )
    rng = np.random.default_rng(seed)
    position = rng.permutation(len(everything)).astype(np.float64)
    if everything.labels is not None:
        for label in np.unique(everything.labels):
            members = np.flatnonzero(everything.labels == label)
            ranks = rng.permutation(len(members)) + rng.random(len(members))
            position[members] = ranks / len(members)
    order = np.argsort(position, kind="stable")
    test, val = order[: counts[2]], order[counts[2] : counts[2] + counts[1]]
    train = order[counts[2] + counts[1] : sum(counts)]
    return Dataset(name, *(everything.take(np.sort(part)) for part in (train, val, test)))


def split_by_fraction(name: str, everything: Split, seed: int, val: float = 0.1, test: float = 0.2) -> Dataset:
    """`split_by_seed` with the validation and test shares of the samples."""
    n = len(everything)
    n_val, n_test = max(1, round(n * val)), max(1, round(n * test))
    return split_by_seed(name, everything, (n - n_val - n_test, n_val, n_test), seed)
