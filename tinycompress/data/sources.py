"""Where data comes from: an npz file, a folder of images, a Python callable, or a named public set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.data.archive import read_npz
from tinycompress.data.dataset import Array, Dataset, Split, split_by_fraction, split_by_seed
from tinycompress.data.folder import class_names, read_classes
from tinycompress.data.named import NAMED
from tinycompress.errors import ConfigError, TinycompressError, located
from tinycompress.user_code import Refusal, load_object


def load_data(source: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """The data set that `source` names.

    * ``mnist``, ``cifar10:PATH``, ``fsdd:PATH``: the named sets (`data.named`)
    * ``FILE.npz``: arrays x, y (split by `seed`), or x_train, y_train, x_test, y_test and optionally x_val, y_val
    * a folder with one sub-folder of images per class, or train/, val/, test/ with such folders inside
    * ``pkg.mod:function`` or ``file.py:function``: what it returns when called (`from_object`)

    Raises ConfigError TC-C301 (absent), TC-C302 (mis-shaped), TC-C306 (not understood). Naming a Python callable is
    consent to run it; npz files are read without pickle.
    """
    with located(str(Path(source))):
        return _load(source, seed, val, test)


def _load(source: str, seed: int, val: float, test: float) -> Dataset:
    name, _, argument = source.partition(":")
    if name in NAMED:
        return NAMED[name](argument, seed)
    path = Path(source)
    if path.suffix == ".npz":
        return from_npz(path, seed=seed, val=val, test=test)
    if path.is_dir():
        return from_folder(path, seed=seed, val=val, test=test)
    if argument:
        function = load_callable(source)
        try:
            value = function()
            return from_object(value, source, seed=seed, val=val, test=test)
        except TinycompressError:
            raise
        except Exception as error:  # the user's function, or the data set it made, may raise anything
            what = f"{source} failed: {type(error).__name__}: {error}"
            raise ConfigError("TC-C306", what, fix="call it in Python: its own traceback says where") from error
    known = ", ".join(NAMED)
    fix = f"give an .npz file, a folder, module:function, or one of {known}"
    if path.exists():
        raise ConfigError("TC-C306", f"{source} is not a kind of data that can be read", fix=fix)
    raise ConfigError("TC-C301", f"there is no data at {source!r}", fix=fix)


def load_callable(reference: str) -> Callable[[], Any]:
    """The callable that ``pkg.mod:name`` or ``file.py:name`` names.

    ConfigError TC-C301 when it does not exist, TC-C306 when its module fails or it cannot be called.
    """
    found = load_object(reference, Refusal(ConfigError, absent="TC-C301", failed="TC-C306"))
    if not callable(found):
        raise ConfigError("TC-C306", f"{reference} is a {type(found).__name__}, not a function", fix="name a function")
    return found  # type: ignore[no-any-return]


def from_npz(path: Path, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """Splits of an npz file; see `load_data` for the array names."""
    arrays = read_npz(path)
    return _from_mapping(arrays, str(path), seed, val, test)


_PARTS = ("_train", "_val", "_test")


def _from_mapping(arrays: Mapping[str, Array], name: str, seed: int, val: float, test: float) -> Dataset:
    parts = {suffix: _part(arrays, suffix) for suffix in ("", *_PARTS)}
    whole, train, val_split, test_split = parts.values()
    if whole is not None:
        return split_by_fraction(name, whole, seed, val, test)
    if train is None or test_split is None:
        raise ConfigError(
            "TC-C302",
            f"of the arrays {', '.join(sorted(arrays))} no data set can be made" if arrays else "there are no arrays",
            fix="name the arrays x and y, or x_train, y_train, x_test, y_test (x_val, y_val); those of several inputs "
            "after their input",
        )
    if val_split is None:
        return _with_val(name, train, test_split, seed, val)
    return _checked(Dataset(name, train, val_split, test_split))


def _with_val(name: str, train: Split, test: Split, seed: int, val: float) -> Dataset:
    """The share `val` of the training samples becomes the validation split."""
    count = max(1, round(len(train) * val))
    cut = split_by_seed(name, train, (len(train) - count - 1, count, 1), seed)
    return _checked(Dataset(name, cut.train, cut.val, test))


def _part(arrays: Mapping[str, Array], suffix: str) -> Split | None:
    """The arrays whose names end in `suffix` (with none, in no known one): x and y, or named inputs and targets."""
    mine = {k.removesuffix(suffix): v for k, v in arrays.items() if k.endswith(suffix)}
    if not suffix:
        mine = {k: v for k, v in mine.items() if not k.endswith(_PARTS)}
    several = {k.removeprefix("y_"): v for k, v in mine.items() if k.startswith("y_")}
    targets = mine.get("y", several or None)
    with located(", ".join(f"{name}{suffix}" for name in mine)):
        if "x" in mine:
            return Split(mine["x"], targets)
        inputs = {k: v for k, v in mine.items() if k != "y" and not k.startswith("y_")}
        return Split(inputs, targets) if len(inputs) > 1 and targets is not None else None


def _checked(data: Dataset) -> Dataset:
    parts = {"train": data.train, "val": data.val, "test": data.test}
    shapes = {part: {name: list(shape) for name, shape in split.shapes.items()} for part, split in parts.items()}
    if any(shape != shapes["train"] for shape in shapes.values()):
        listed = ", ".join(f"{part} {' and '.join(map(str, named.values()))}" for part, named in shapes.items())
        fix = "bring all samples to one shape, the model's input shape"
        raise ConfigError("TC-C302", f"splits have different sample shapes: {listed}", where=data.name, fix=fix)
    return data


def from_object(value: Any, name: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """A data set from what a user's callable returned.

    A `Dataset`; a mapping with the npz names; (x, y); a sequence of (input, target) pairs such as a torch `Dataset`; or
    a tuple (train, val, test) of any of the last two. Tensors and arrays are both taken. Several inputs or targets are
    mappings by name in place of x, y, input or target.
    """
    if isinstance(value, Dataset):
        return _checked(value)
    if isinstance(value, Mapping):
        return _from_mapping({k: _array(v) for k, v in value.items()}, name, seed, val, test)
    if isinstance(value, tuple) and len(value) == 3:
        return _checked(Dataset(name, *(_pairs(part, name) for part in value)))
    return split_by_fraction(name, _pairs(value, name), seed, val, test)


def _array(value: Any) -> Array:
    """A tensor, an array, a PIL image or a number as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _arrays(value: Any) -> Array | dict[str, Array]:
    return {str(k): _array(v) for k, v in value.items()} if isinstance(value, Mapping) else _array(value)


def _stacked(values: list[Any], name: str) -> Array | dict[str, Array]:
    """One array of the inputs or targets of all samples, or one per name."""
    if isinstance(values[0], Mapping):
        if any(not isinstance(v, Mapping) or set(v) != set(values[0]) for v in values):
            fix = "give every sample the same names"
            raise ConfigError("TC-C302", f"samples of {name} have different names", where=name, fix=fix)
        return {str(key): _stack([v[key] for v in values], name) for key in values[0]}
    return _stack(values, name)


def _stack(values: list[Any], name: str) -> Array:
    arrays = [_array(v) for v in values]
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            shapes = f"{list(array.shape)}, the first one {list(arrays[0].shape)}"
            raise ConfigError("TC-C302", f"sample {i} is {shapes}", where=name, fix="bring all samples to one shape")
    return np.stack(arrays)


def _pairs(value: Any, name: str) -> Split:
    if isinstance(value, Split):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return Split(_arrays(value[0]), None if value[1] is None else _arrays(value[1]))
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        samples = [value[i] for i in range(len(value))]
        if not samples:
            raise ConfigError("TC-C302", f"{name} returned no samples", where=name, fix="return at least one")
        if all(isinstance(s, tuple | list) and len(s) == 2 for s in samples):
            return Split(_stacked([x for x, _ in samples], name), _stacked([y for _, y in samples], name))
        if all(hasattr(s, "shape") for s in samples):
            return Split(_stack(samples, name))
    raise ConfigError(
        "TC-C306",
        f"{name} returned a {type(value).__name__}",
        fix="return (x, y), a mapping with x and y, a torch Dataset of pairs, or (train, val, test)",
    )


def from_folder(root: Path, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """Images by class folder (`data.folder`), split by `seed`, or as train/, test/ and perhaps val/ say."""
    parts = {p.name: p for p in root.iterdir() if p.is_dir()}
    if not {"train", "test"} <= set(parts):
        return split_by_fraction(str(root), read_classes(root), seed, val, test)
    names = class_names(parts["train"])
    train, held_out = (read_classes(parts[part], names) for part in ("train", "test"))
    if "val" in parts:
        return _checked(Dataset(str(root), train, read_classes(parts["val"], names), held_out))
    return _with_val(str(root), train, held_out, seed, val)
