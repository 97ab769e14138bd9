"""The README's commands, recipe, C block and Python block are executed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinycompress.config import load_config
from tinycompress.export import to_tflite
from tinycompress.ir.graph import QuantGraph
from tinycompress.quantize.ptq import quantize

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def network() -> QuantGraph:
    """A small integer network named `model`."""
    from dataclasses import replace

    from tinycompress.api import load
    from tinycompress.zoo import mnist_small

    calibration = np.random.default_rng(0).random((8, 28, 28, 1), dtype=np.float32)
    return replace(quantize(load(mnist_small()), calibration), name="model")


def test_every_command_line_parses() -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("tinycompress ")]
    assert len(commands) >= 4
    for command in commands:
        help_text = subprocess.run(
            [sys.executable, "-m", "tinycompress", command[0], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for flag in (part for part in command if part.startswith("--")):
            assert flag in help_text, f"{command[0]} has no {flag}"


def test_the_make_targets_exist() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"(?m)(?:^|`)make ([a-z][a-z-]*)", README)
    assert {"demo", "test"} <= set(targets)
    assert all(target in listed for target in targets)


def test_the_recipe_is_valid(tmp_path: Path) -> None:
    (recipe,) = blocks("toml")
    (tmp_path / "tinycompress.toml").write_text(recipe)
    config = load_config(tmp_path / "tinycompress.toml", environ={})
    assert config.budget.min_accuracy == 0.95
    assert config.compress == {}


def test_the_c_block_compiles_and_runs(network: QuantGraph, tmp_path: Path) -> None:
    import tinycompress as tc
    from tinycompress.build.host import host_compiler

    tc.generate(tc.plan(network, "stm32f746"), tmp_path)
    (code,) = blocks("c")
    (tmp_path / "main.c").write_text(code)
    sources = ["main.c", "model.c", "model_weights.c"]
    subprocess.run([*host_compiler(), "-std=c11", *sources, "-o", "demo"], cwd=tmp_path, check=True)
    output = subprocess.run(["./demo"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert -128 <= int(output) <= 127


def test_the_python_block_runs(network: QuantGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.tflite").write_bytes(to_tflite(network))
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    namespace = {"sample": np.zeros((28, 28, 1), np.int8)}
    exec(compile(code, "README.md", "exec"), namespace)
    assert namespace["outputs"]
