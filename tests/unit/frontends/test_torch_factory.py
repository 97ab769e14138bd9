"""Factories run, weights are only data, and .pt2 files are refused unless trusted."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tinycompress.config import ModelSection
from tinycompress.errors import ModelError, UnsafeModelError
from tinycompress.frontends.factory import load_module
from tinycompress.frontends.torch_export import import_exported_program
from tinycompress.pipeline.loading import load_model

USER_FILE = """
import torch
from neighbour import WIDTH

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 2)
    def forward(self, x):
        return self.layer(x)

ready = Small()
number = 3
def broken():
    raise RuntimeError("no data directory")
def nothing():
    return None
"""


class Touch:
    """Pickles as a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 3\n")
    path = tmp_path / "user_net.py"
    path.write_text(USER_FILE)
    return path


@pytest.mark.parametrize("name", ["Small", "ready"])
def test_file_factory(user_file: Path, name: str) -> None:
    module = load_module(f"{user_file}:{name}")
    assert isinstance(module, nn.Module)
    assert not module.training


def test_module_factory_is_found_in_the_working_directory(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(user_file.parent)
    assert isinstance(load_module("user_net:Small"), nn.Module)


def test_zoo_networks_are_factories_that_know_their_shape() -> None:
    graph = load_model(ModelSection(source="tinycompress.zoo:resnet8"))
    assert graph.tensor(graph.input_names[0]).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        ("{dir}/absent.py:Small", "TC-M110", "does not exist"),
        ("{file}:Smal", "TC-M110", "no 'Smal'"),
        ("no_such_package.net:Small", "TC-M110", "no Python module"),
        ("{file}", "TC-M110", "does not name"),
        ("{file}:broken", "TC-M111", "no data directory"),
        ("{file}:nothing", "TC-M111", "NoneType"),
        ("{file}:number", "TC-M111", "int"),
    ],
)
def test_what_cannot_be_built_says_why(user_file: Path, reference: str, code: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_module(reference.format(dir=user_file.parent, file=user_file))
    assert caught.value.code == code


def test_a_user_file_that_needs_an_absent_package_says_which(tmp_path: Path) -> None:
    path = tmp_path / "needy.py"
    path.write_text("import surely_not_installed\n")
    with pytest.raises(ModelError, match="surely_not_installed") as caught:
        load_module(f"{path}:net")
    assert caught.value.code == "TC-M111"


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": torch.tensor(3)}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_loaded(user_file: Path, wrap, prefix: str) -> None:
    state = {f"{prefix}layer.weight": torch.full((2, 3), 7.0), f"{prefix}layer.bias": torch.zeros(2)}
    path = user_file.parent / "weights.pt"
    torch.save(wrap(state), path)
    module = load_module(f"{user_file}:Small", path)
    assert torch.equal(module.layer.weight, torch.full((2, 3), 7.0))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"layer.weight": torch.zeros(2, 3)}, "lacks layer.bias"),
        ({"layer.weight": torch.zeros(2, 4), "layer.bias": torch.zeros(2)}, r"layer.weight is \[2, 4\]"),
        ({"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2), "x": torch.zeros(1)}, "also has x"),
        ([1, 2], "no state dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(user_file: Path, state, words: str) -> None:
    path = user_file.parent / "weights.pt"
    torch.save(state, path)
    with pytest.raises(ModelError, match=words) as caught:
        load_module(f"{user_file}:Small", path)
    assert caught.value.code == "TC-M113"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_damaged_weights_are_refused(user_file: Path, content: bytes) -> None:
    path = user_file.parent / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_module(f"{user_file}:Small", path)
    assert caught.value.code == "TC-M113"


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_weights_that_would_run_code_are_refused(user_file: Path, write) -> None:
    marker, path = user_file.parent / "ran", user_file.parent / "weights.pt"
    write({"layer.weight": Touch(marker)}, path)
    with pytest.raises(UnsafeModelError) as caught:
        load_module(f"{user_file}:Small", path)
    assert caught.value.code == "TC-M112"
    assert not marker.exists()


def exported(path: Path, change) -> None:
    """An exported program whose archive entries went through `change(name, data)`."""
    plain = path.with_suffix(".plain.pt2")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, change(entry.filename, source.read(entry)))


def pickled_exploit(marker: Path):
    """torch.export.load falls back to an unsafe unpickle of the sample inputs."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("sample_inputs/model.pt"):
            return data
        changed = marker.with_suffix(".pt")
        torch.save(Touch(marker), changed)
        return changed.read_bytes()

    return change


def expression_exploit(marker: Path):
    """torch.export.load evaluates size expressions of model.json."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        model = json.loads(data)
        code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
        sizes = model["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[1] = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}
        return json.dumps(model).encode()

    return change


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exploit", [pickled_exploit, expression_exploit])
def test_exported_program_is_refused_unless_trusted(tmp_path: Path, exploit) -> None:
    marker, path = tmp_path / "ran", tmp_path / "net.pt2"
    exported(path, exploit(marker))
    with pytest.raises(UnsafeModelError) as caught:
        load_model(ModelSection(source=str(path)))
    assert caught.value.exit_code == 3
    assert "--trust-model" in str(caught.value)
    assert not marker.exists()
    try:
        import_exported_program(path)
    except ModelError as error:
        assert error.code == "TC-M120"  # noqa: PT017
    assert marker.exists(), "the file is an exploit: reading it, once trusted, runs its code"


@pytest.mark.filterwarnings("ignore")
def test_trusted_exported_program_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    exported(path, lambda name, data: data)
    graph = load_model(ModelSection(source=str(path), trust=True))
    assert [op.kind for op in graph.ops] == ["FullyConnected"]


def test_damaged_exported_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError) as caught:
        import_exported_program(path)
    assert caught.value.code == "TC-M120"
