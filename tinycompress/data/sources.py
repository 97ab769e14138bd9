"""Where data comes from: an npz file, a folder of images, a Python callable, or a named public set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress.data.dataset import Dataset, Split, split_by_fraction, split_by_seed
from tinycompress.data.named import NAMED
from tinycompress.errors import ConfigError
from tinycompress.user_code import Refusal, load_object

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm")


def load_data(source: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """The data set that `source` names.

    * ``mnist``, ``cifar10:PATH``, ``fsdd:PATH``: the named sets (`data.named`)
    * ``FILE.npz``: arrays x, y (split by `seed`), or x_train, y_train, x_test, y_test and optionally x_val, y_val
    * a folder with one sub-folder of images per class, or train/, val/, test/ with such folders inside
    * ``pkg.mod:function`` or ``file.py:function``: what it returns when called (`from_object`)

    Raises ConfigError TC-C301 (absent), TC-C302 (mis-shaped), TC-C306 (not understood). Naming a Python callable is
    consent to run it; npz files are read without pickle.
    """
    name, _, argument = source.partition(":")
    if name in NAMED:
        return NAMED[name](argument, seed)
    path = Path(source)
    if path.suffix == ".npz":
        return from_npz(path, seed=seed, val=val, test=test)
    if path.is_dir():
        return from_folder(path, seed=seed, val=val, test=test)
    if argument:
        return from_object(load_callable(source)(), source, seed=seed, val=val, test=test)
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
    if not path.exists():
        raise ConfigError("TC-C301", f"data file {path} does not exist", where=str(path))
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
    except (ValueError, OSError) as error:
        raise ConfigError("TC-C302", f"{path} cannot be read as npz: {error}", where=str(path)) from error
    return _from_mapping(arrays, path.stem, seed, val, test)


def _from_mapping(arrays: Mapping[str, Any], name: str, seed: int, val: float, test: float) -> Dataset:
    def part(suffix: str) -> Split | None:
        x, y = arrays.get(f"x{suffix}"), arrays.get(f"y{suffix}")
        return None if x is None else Split(np.asarray(x), None if y is None else np.asarray(y))

    train, test_split, val_split = part("_train"), part("_test"), part("_val")
    whole = part("")
    if whole is not None:
        return split_by_fraction(name, whole, seed, val, test)
    if train is None or test_split is None:
        raise ConfigError(
            "TC-C302",
            f"data {name!r} has {', '.join(sorted(arrays)) or 'no arrays'}",
            fix="name the arrays x and y, or x_train, y_train, x_test, y_test (x_val, y_val)",
        )
    if val_split is None:
        count = max(1, round(len(train) * val))
        cut = split_by_seed(name, train, (len(train) - count - 1, count, 1), seed)
        train, val_split = cut.train, cut.val
    return _checked(Dataset(name, train, val_split, test_split))


def _checked(data: Dataset) -> Dataset:
    shapes = {part: split.inputs.shape[1:] for part, split in
              (("train", data.train), ("val", data.val), ("test", data.test))}  # fmt: skip
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{part} {list(shape)}" for part, shape in shapes.items())
        raise ConfigError("TC-C302", f"splits have different sample shapes: {listed}", where=data.name)
    return data


def from_object(value: Any, name: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """A data set from what a user's callable returned.

    A `Dataset`; a mapping with the npz names; (x, y); a sequence of (input, target) pairs such as a torch `Dataset`; or
    a tuple (train, val, test) of any of the last two. Tensors and arrays are both taken.
    """
    if isinstance(value, Dataset):
        return _checked(value)
    if isinstance(value, Mapping):
        return _from_mapping({k: _array(v) for k, v in value.items()}, name, seed, val, test)
    if isinstance(value, tuple) and len(value) == 3:
        return _checked(Dataset(name, *(_pairs(part, name) for part in value)))
    return split_by_fraction(name, _pairs(value, name), seed, val, test)


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _pairs(value: Any, name: str) -> Split:
    if isinstance(value, Split):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return Split(_array(value[0]), None if value[1] is None else _array(value[1]))
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        samples = [value[i] for i in range(len(value))]
        if samples and isinstance(samples[0], tuple | list) and len(samples[0]) == 2:
            try:
                inputs = np.stack([_array(x) for x, _ in samples])
            except ValueError as error:
                raise ConfigError("TC-C302", f"samples of {name} differ in shape: {error}") from error
            return Split(inputs, np.stack([_array(y) for _, y in samples]))
    raise ConfigError(
        "TC-C306",
        f"{name} returned a {type(value).__name__}",
        fix="return (x, y), a mapping with x and y, a torch Dataset of pairs, or (train, val, test)",
    )


def from_folder(root: Path, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> Dataset:
    """Images by class folder, classes in alphabetical order; uint8 [h,w,c], all of one size (Pillow decodes them)."""
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    parts = {p.name: p for p in folders}
    if {"train", "test"} <= set(parts):
        train, held_out = _read_classes(parts["train"]), _read_classes(parts["test"])
        arrays = {"x_train": train.inputs, "y_train": train.targets, "x_test": held_out.inputs}
        arrays["y_test"] = held_out.targets
        if "val" in parts:
            chosen = _read_classes(parts["val"])
            arrays |= {"x_val": chosen.inputs, "y_val": chosen.targets}
        return _from_mapping(arrays, root.name, seed, val, test)
    return split_by_fraction(root.name, _read_classes(root), seed, val, test)


def _read_classes(root: Path) -> Split:
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("TC-C301", "reading images needs Pillow", fix="pip install pillow") from error
    images, labels = [], []
    for label, folder in enumerate(sorted(p for p in root.iterdir() if p.is_dir())):
        for file in sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES):
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "I;16") else "RGB"))
            images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ConfigError(
                    "TC-C302",
                    f"image is {list(images[-1].shape)}, the first one {list(images[0].shape)}",
                    where=str(file),
                    fix="resize the images to one size and one colour mode",
                )
    if not images:
        raise ConfigError("TC-C301", f"no images in the class folders of {root}", where=str(root))
    return Split(np.stack(images), np.asarray(labels, dtype=np.int64))
