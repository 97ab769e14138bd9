"""Images in one folder per class: classes in alphabetical order, uint8 [h,w,c], one size for all; Pillow decodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinycompress.data.dataset import Array, Split
from tinycompress.errors import ConfigError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".webp", ".tif", ".tiff")


def class_names(root: Path) -> list[str]:
    """Names of the class folders in `root`, in order; hidden folders are none."""
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def read_classes(root: Path, names: Sequence[str] | None = None) -> Split:
    """Every image of the class folders in `root`; its label is the place of its folder among `names` (default: all).

    With `names`, of the training folder, a class may be absent. ConfigError TC-C301 without class folders, TC-C302 for
    a folder that is no class or holds no images, a file that cannot be decoded, and images of different shapes.
    """
    found = class_names(root)
    if not found:
        raise ConfigError(
            "TC-C301",
            f"there are no class folders in {root}",
            where=str(root),
            fix="one sub-folder of images per class",
        )
    names = found if names is None else names
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ConfigError(
            "TC-C302", f"{root.name} has classes that train has not: {', '.join(unknown)}", where=str(root),
            fix="name the class folders alike",
        )  # fmt: skip
    images: list[Array] = []
    labels: list[int] = []
    for name in found:
        for file in _images(root / name):
            images.append(_pixels(file))
            labels.append(names.index(name))
            if images[-1].shape != images[0].shape:
                raise ConfigError(
                    "TC-C302",
                    f"image is {list(images[-1].shape)}, the first one {list(images[0].shape)}",
                    where=str(file),
                    fix="resize the images to one size and one colour mode",
                )
    return Split(np.stack(images), np.asarray(labels, dtype=np.int64))


def _images(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    images = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        others = ", ".join(sorted({f.suffix or f.name for f in files})) or "no files"
        raise ConfigError(
            "TC-C302",
            f"class folder {folder.name!r} has no images, but {others}",
            where=str(folder),
            fix=f"one sub-folder of images per class ({', '.join(IMAGE_SUFFIXES)}); a split needs train/ and test/",
        )
    return images


def _pixels(file: Path) -> Array:
    """The image as uint8 [h,w,1] or [h,w,3]; 16-bit grey keeps its upper byte, transparency goes."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("TC-C301", "reading images needs Pillow", fix="pip install pillow") from error
    try:
        with Image.open(file) as image:
            if image.mode.startswith("I;16"):
                return (np.asarray(image) >> 8).astype(np.uint8)[..., None]
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        fix = "replace the file, or take it out of the folder"
        raise ConfigError("TC-C302", f"the image cannot be decoded: {error}", where=str(file), fix=fix) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
