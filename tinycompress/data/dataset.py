"""A data set in memory: three splits of numpy arrays, in the user's layout and value range."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.errors import ConfigError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Split:
    """`inputs` is (n, …) in the user's layout and dtype; `targets` (n,) classes, (n, …) values, or None (autoencoder).

    Raises ConfigError TC-C302 when the lengths differ and TC-C305 when an input is NaN or infinite.
    """

    inputs: Array
    targets: Array | None = None

    def __post_init__(self) -> None:
        if self.targets is not None and len(self.targets) != len(self.inputs):
            raise ConfigError("TC-C302", f"{len(self.inputs)} inputs but {len(self.targets)} targets")
        if self.inputs.dtype.kind == "f" and not np.isfinite(self.inputs).all():
            bad = int(np.count_nonzero(~np.isfinite(self.inputs).reshape(len(self.inputs), -1).all(axis=1)))
            raise ConfigError("TC-C305", f"{bad} of {len(self.inputs)} samples hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Sequence[int] | Array) -> Split:
        """The samples at `indices`, in that order."""
        index = np.asarray(indices)
        return Split(self.inputs[index], None if self.targets is None else self.targets[index])


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
        labels = [s.targets for s in (self.train, self.val, self.test) if s.targets is not None and len(s)]
        if not labels or any(t.dtype.kind not in "iu" for t in labels):
            return 0
        return 1 + max(int(t.max()) for t in labels)

    @cached_property
    def sha256(self) -> str:
        """Digest of every array of every split, for the report's provenance."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            for array in (part.inputs, part.targets):
                if array is not None:
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
            f"{len(everything)} samples cannot be split into {counts[0]} train, {counts[1]} val and {counts[2]} test",
            where=name,
        )
    rng = np.random.default_rng(seed)
    position = rng.permutation(len(everything)).astype(np.float64)
    if everything.targets is not None and everything.targets.dtype.kind in "iu" and everything.targets.ndim == 1:
        for label in np.unique(everything.targets):
            members = np.flatnonzero(everything.targets == label)
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
