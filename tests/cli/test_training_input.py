"""What a user may get wrong around training, through the command line; and several inputs, which are right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import Outcome

NETWORKS = """
import numpy as np, torch

class Pairs(torch.utils.data.Dataset):
    def __len__(self): return 60
    def __getitem__(self, i): return torch.full((4,), float(i % 3)), i % 3

def pairs(): return Pairs()
def failing(): raise RuntimeError("the disk is gone")

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = torch.nn.Linear(4, 6), torch.nn.Linear(2, 6), torch.nn.Linear(12, 3)
    def forward(self, left, right):
        return self.head(torch.relu(torch.cat([self.left(left), self.right(right)], 1)))

def two(): return Two()
def lost(output, target): return output.sum() * float("nan")
def wrong(output, target): return output.undefined
"""

SETTINGS = """
[model]
source = "net.py:{network}"
input_shape = {shape}
[data]
source = "{data}"
[task]
{task}
[compress]
threads = 1
device = "{device}"
train = {{ epochs = 2, batch = 16 }}
prune = {{ method = "none" }}
"""

Attempt = Callable[..., Outcome]


@pytest.fixture
def attempt(inside: Callable[..., Outcome]) -> Attempt:
    """`attempt(data=…)` compresses a network of 4 inputs and 3 classes in an empty folder."""
    Path("net.py").write_text(NETWORKS)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    np.savez("good.npz", x=x, y=y)
    np.savez("classes.npz", x=x, y=y + 1)
    np.savez("shape.npz", x=x[:, :3], y=y)
    np.savez("lengths.npz", x=x, y=y[:50])
    np.savez("words.npz", x=x, y=np.array(["cat", "dog", "eel"])[y])
    np.savez("nan.npz", x=np.where(x > 2, np.nan, x), y=y)
    np.savez("floats.npz", x=x, y=y + 0.5)
    np.savez("two.npz", left=x, right=x[:, :2], y=y)
    np.savez("truth.npz", x=x, y=y > 0)
    np.savez("rows.npz", x=x, y=np.eye(3)[y])
    np.savez("none.npz", x=x[:0], y=y[:0])
    np.savez("one.npz", x=x[:1], y=y[:1])
    np.savez("large.npz", x=np.where(x > 2, 1e300, x), y=y)
    np.savez("half.npz", x_train=x, y_train=y)
    np.savez("only.npz", x=x)
    np.savez("splits.npz", x_train=x, y_train=y, x_test=x[:, :3], y_test=y)
    np.savez("test.npz", x_train=x, y_train=y, x_test=np.where(x > 2, np.nan, x), y_test=y)
    np.savez("objects.npz", x=x, y=np.array([{}] * 60))
    Path("torn.npz").write_bytes(Path("good.npz").read_bytes()[:200])
    for name in ("images/a", "images/b"):
        Path(name).mkdir(parents=True)
        Path(name, "0.png").write_bytes(b"no image")

    def run(data: str = "good.npz", task: str = "", device: str = "cpu", network: str = "make", shape: str = "[4]",
            *flags: str) -> Outcome:  # fmt: skip
        text = SETTINGS.format(data=data, task=task, device=device, network=network, shape=shape)
        Path("tinycompress.toml").write_text(text)
        return inside("compress", "--run", "run", *flags)

    return run


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        ("absent.npz", "TC-C301", "data file absent.npz does not exist"),
        ("torn.npz", "TC-C302", "torn.npz cannot be read as npz"),
        ("lengths.npz", "TC-C302", "the numbers of samples differ: 60 inputs but 50 targets"),
        ("words.npz", "TC-C302", "targets hold <U3, not numbers"),
        ("classes.npz", "TC-C303", "labels go from 1 to 3, the network has 3 outputs"),
        ("floats.npz", "TC-C303", "train labels are float64 of shape [42], not one integer per sample"),
        ("truth.npz", "TC-C303", "train labels are bool of shape [42], not one integer per sample"),
        ("rows.npz", "TC-C303", "train labels are float64 of shape [42, 3], not one integer per sample"),
        ("none.npz", "TC-C302", "inputs of shape [0, 4] hold no samples"),
        ("one.npz", "TC-C304", "1 sample cannot be split into train, val and test"),
        (
            "large.npz",
            "TC-C305",
            "inputs hold NaN, infinity or numbers beyond float32, the first is number",
        ),
        ("half.npz", "TC-C302", "of the arrays x_train, y_train no data set can be made"),
        ("only.npz", "TC-C302", "a classification task needs targets"),
        ("splits.npz", "TC-C302", "splits have different sample shapes: train [4], val [4], test [3]"),
        ("test.npz", "TC-C305", "test.npz: x_test, y_test"),
        ("objects.npz", "TC-C302", "'y' holds Python objects"),
        ("images", "TC-C302", "images/a/0.png"),
        ("nan.npz", "TC-C305", "inputs hold NaN, infinity or numbers beyond float32"),
        ("shape.npz", "TC-C107", "samples are [3], input"),
        ("two.npz", "TC-C107", "the samples are left, right; the model takes"),
        ("net.py:failing", "TC-C306", "net.py:failing failed: RuntimeError: the disk is gone"),
        ("net.py:absent", "TC-C301", "net.py has no 'absent'"),
    ],
)
def test_data_that_cannot_be_trained_on(attempt: Attempt, data: str, code: str, said: str) -> None:
    status, out, err = attempt(data)
    assert (status, out) == (2, "")
    assert f"error[{code}]" in err
    assert said in err
    (place,) = re.findall(r"^  at:  (.*)$", err, re.MULTILINE)
    assert data in place
    assert "\n  fix: " in err


@pytest.mark.parametrize(
    ("task", "status", "code", "said"),
    [
        ('loss = "net.py:lost"', 8, "TC-Q102", "the loss became nan at step 0 (epoch 1)"),
        ('loss = "net.py:wrong"', 2, "TC-C319", "the loss wrong failed: AttributeError"),
        ('loss = "cross-entropy"', 2, "TC-C310", "cross_entropy"),
        ('kind = "regression"', 2, "TC-C303", "the network's output is [3], a target of train []"),
        ('kind = "autoencoder"', 2, "TC-C303", "the network's output is [3], its input [4]"),
    ],
)
def test_tasks_that_do_not_fit(attempt: Attempt, task: str, status: int, code: str, said: str) -> None:
    found, out, err = attempt(task=task)
    assert (found, out) == (status, "")
    assert f"error[{code}]" in err
    assert said in err
    assert "\n  at:  " in err
    assert "\n  fix: " in err


def test_cuda_where_there_is_none(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, err = attempt(device="cuda")
    assert status == 2
    assert "error[TC-C314]" in err


def test_a_torch_dataset_trains(attempt: Attempt) -> None:
    status, out, err = attempt("net.py:pairs")
    assert status == 0, err
    assert "test accuracy (n=12)" in out


def test_two_inputs_train_by_name(attempt: Attempt) -> None:
    status, out, err = attempt("two.npz", "", "cpu", "two", "[[4], [2]]", "--json")
    assert status == 0, err
    assert json.loads(out)["samples"] == 12
