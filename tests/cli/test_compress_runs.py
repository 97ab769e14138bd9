"""`compress` on what users bring, its result taken further, and several compressions at once in one table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import onnx_network, tinycompress
from tests.cli.test_resume import NETWORK, RECIPE, start

ONE_EPOCH = ("--epochs", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of the user's own, 8x8 images of two classes in the layout of every network here, and a recipe."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 96)
    x = rng.standard_normal((96, 1, 8, 8)).astype(np.float32) + y[:, None, None, None]
    np.savez(tmp_path / "data.npz", x=x, y=y)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "tinycompress.toml").write_text(RECIPE)
    onnx_network(tmp_path / "net.onnx")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("source", ["net.py:make", "net.onnx", "tinycompress.zoo:mnist_small"])
def test_a_compressed_network_goes_on(source: str, folder: Path) -> None:
    """Compressed inside its budget, exported as a file, read back, generated; the same whatever the user brought."""
    recipe = "[compress]\nthreads = 1\n[compress.train]\nepochs = 1\nbatch = 16\n"
    (folder / "tinycompress.toml").write_text(recipe)
    flags = ["--input-shape", "1,8,8"] if source.startswith("net.py") else []
    if source.startswith("tinycompress"):
        rng = np.random.default_rng(0)
        np.savez(folder / "data.npz", x=rng.integers(0, 256, (48, 1, 28, 28), np.uint8), y=np.arange(48) % 10)
    limit = {"net.py:make": 450, "net.onnx": 500}.get(source, 8000)
    arguments = ["compress", source, *flags, "--data", "data.npz", "--recipe", "tinycompress.toml", "--run", "run"]
    (folder / "tinycompress.toml").write_text(f"{recipe}[budget]\nweights_bytes = {limit}\n")
    done = tinycompress(*arguments, "--json", "--output", "small.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["resources"]["weights_bytes"] <= limit
    assert summary["recipe"]["train"]["epochs"] == 1
    for small in ("small.onnx", "run/compress/graph"):
        made = tinycompress("generate", small, "--calibration", "random", "--json", "--run", "generated", cwd=folder)
        assert made.returncode == 0, made.stderr
    assert list((folder / "generated" / "program").glob("*.c"))


@pytest.mark.slow
def test_compressions_at_once_land_in_one_table(folder: Path) -> None:
    """Two processes in one folder; the table has both runs and names what has no result yet."""
    methods = ("l1", "random")
    running = [start("compress", *ONE_EPOCH, "--method", m, "--run", f"runs/{m}", cwd=folder) for m in methods]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    (folder / "runs" / "begun").mkdir()
    done = tinycompress("report", *sorted((folder / "runs").iterdir()), "--json", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == f"no result (yet) in {folder / 'runs' / 'begun'}\n"
    lines = json.loads(done.stdout)
    assert [line["method"] for line in lines] == list(methods)
    assert all(0 < line["weights_bytes"] <= line["budget"]["weights_bytes"] for line in lines)
    table = tinycompress("report", "runs/l1", "runs/random", cwd=folder).stdout
    assert [row.split()[0] for row in table.splitlines()[:3]] == ["run", "runs/l1", "runs/random"]
    assert "accuracy on the test split; weights, arena: exact" in table
    alone = tinycompress("report", "runs/random", cwd=folder).stdout
    assert "student" in alone, alone
    assert "budget: weights" in alone, alone


@pytest.mark.slow
def test_a_floor_missed_still_shows_what_each_stage_bought(folder: Path) -> None:
    arguments = ("compress", "net.onnx", "--data", "data.npz", *ONE_EPOCH, "--min-accuracy", "1.1", "--run", "run")
    printed = tinycompress(*arguments, "--json", cwd=folder)
    assert printed.returncode == 8, printed.stderr
    document = json.loads(printed.stdout)
    assert document["failure"]["code"] == "TC-Q101"
    assert [stage["name"] for stage in document["stages"]] == ["student"]
    table = tinycompress(*arguments, cwd=folder)
    assert table.returncode == 8
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["stage", "student"]
