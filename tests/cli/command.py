"""The command line as a subprocess, and the small networks that the tests of this room give it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]
Outcome = tuple[int, str, str]
"""Exit status, stdout and stderr of a command that ran inside the test's own process."""


def environment(**settings: str) -> dict[str, str]:
    """The caller's environment without its settings, with a fixed width and one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TINYCOMPRESS_") or k == "TINYCOMPRESS_CACHE"}
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    fixed = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return {**kept, **fixed, **settings}


def command(*arguments: str | Path) -> list[str]:
    """What a shell would run for `tinycompress ARGUMENTS`."""
    return [sys.executable, "-m", "tinycompress", *map(str, arguments)]


def tinycompress(*arguments: str | Path, cwd: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """One invocation to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, env=environment(**settings)
    )


def fails(done: subprocess.CompletedProcess[str], status: int, code: str) -> str:
    """Assert that a run ended with `status` and diagnostic `code`, silently on stdout; its stderr."""
    assert (done.returncode, f"error[{code}]" in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def onnx_network(path: Path, *, name: str = "net", nan: bool = False, rows: int | str = 8) -> Path:
    """A float ONNX network on `[1, rows, 8]`: 3x3 convolution to 4 channels, ReLU, fully connected to 2.

    `name` is its graph's and its output's name; with `nan` one weight is NaN; a text for `rows` makes it dynamic.
    """
    rng = np.random.default_rng(7)
    kernel = rng.standard_normal((4, 1, 3, 3)).astype(np.float32)
    if nan:
        kernel[0, 0, 0, 0] = np.nan
    weights: dict[str, NDArray[np.float32]] = {
        "kernel": kernel,
        "dense": rng.standard_normal((4 * 6 * 6, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], name=f"{name}/conv"),
        helper.make_node("Relu", ["c"], ["r"], name=f"{name}/relu"),
        helper.make_node("Flatten", ["r"], ["f"], name=f"{name}/flatten"),
        helper.make_node("MatMul", ["f", "dense"], [f"{name}_out"], name=f"{name}/dense"),
    ]
    return _write(path, name, nodes, [1, 1, rows, 8], f"{name}_out", [1, 2], weights)


def unsupported_network(path: Path) -> Path:
    """An ONNX network with two operators nobody supports."""
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="first_bad"),
        helper.make_node("Erf", ["d"], ["e"], name="between"),
        helper.make_node("NonZero", ["e"], ["y"], name="second_bad"),
    ]
    return _write(path, "bad", nodes, [1, 1, 4, 4], "y", [1, 1], {})


def reshape_network(path: Path) -> Path:
    """An ONNX network that only flattens its input."""
    nodes = [helper.make_node("Flatten", ["x"], ["y"], name="flatten")]
    return _write(path, "net", nodes, [1, 1, 4, 4], "y", [1, 16], {})


def _write(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    output: str,
    output_shape: list[int],
    weights: dict[str, NDArray[np.float32]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path
