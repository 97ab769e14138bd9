"""Every network of the zoo, compressed to half its weights: used well, stored, exported, run elsewhere, generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tinycompress.compress.groups import find_groups
from tinycompress.compress.recipe import parse_recipe
from tinycompress.compress.run import compress
from tinycompress.compress.sizing import Sizing
from tinycompress.compress.task import Budget, Task
from tinycompress.data import Split
from tinycompress.emit import generate
from tinycompress.execute.torch_module import GraphModule
from tinycompress.export.onnx import export_onnx
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import real_inputs
from tinycompress.ir.store import load
from tinycompress.passes import prepare_for_training
from tinycompress.plan.planner import plan
from tinycompress.zoo import ZOO, ZooNetwork

RANKED = ("resnet20", "resnet56", "vgg11", "mobilenet_v2")
"""Networks so large that pricing soft widths takes minutes; their filters are ranked by norm."""


def noise(entry: ZooNetwork, outputs: int) -> Task:
    """24 random samples in the user's layout; an autoencoder's test labels say which are anomalies."""
    rng = np.random.default_rng(0)
    inputs = rng.random((24, *entry.input_shape[1:])).astype(np.float32)
    inputs *= 255.0 if entry.preprocess.value_range else 1.0
    is_autoencoder = entry.name.startswith("ad_")
    labels = np.arange(24) % (2 if is_autoencoder else outputs)
    train, val, test = (Split(inputs[a:b], labels[a:b]) for a, b in ((0, 12), (12, 16), (16, 24)))
    if is_autoencoder:
        return Task(train, val, test, "autoencoder", metric="auc", name="noise")
    return Task(train, val, test, name="noise")


def use(graph: Graph) -> dict[str, float]:
    return Sizing({}, parse_recipe(None), has_dsp=True, clock_hz=216e6).use(graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_is_compressed_to_half(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    entry = ZOO[name]
    torch.manual_seed(0)
    graph = prepare_for_training(import_module(entry.build(), entry.input_shape, name, entry.preprocess))
    task = noise(entry, graph.tensors[graph.outputs[0]].shape[-1])
    budget = Budget(weights_bytes=int(0.5 * use(graph)["weights_bytes"]))
    method = "l1" if name in RANKED else "differentiable"
    recipe = parse_recipe({"threads": 1, "train": {"epochs": 1, "batch": 6}, "prune": {"method": method}})
    result = compress(graph, task, budget, recipe)

    limit = budget.resources["weights_bytes"]
    assert 0.95 * limit <= result.resources["weights_bytes"] <= limit
    assert np.isfinite([result.float_score, result.score]).all()
    if task.kind == "autoencoder":
        assert 0.0 <= result.score <= 1.0
    assert result.widths == find_groups(result.graph).widths()
    assert sum(result.widths.values()) < sum(find_groups(graph).widths().values())

    folder = result.save(tmp_path / "result")
    reloaded = load(folder / "float")
    samples = task.test.inputs[:2]
    with torch.no_grad():
        expected = GraphModule(reloaded).eval()(torch.from_numpy(real_inputs(samples, reloaded))).numpy()
    session = runtime.InferenceSession(export_onnx(reloaded), providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    scale = max(1.0, float(np.abs(expected).max()))
    for sample, wanted in zip(real_inputs(samples, reloaded), expected, strict=True):
        shaped = np.moveaxis(sample, -1, 0) if list(port.shape[1:]) != list(sample.shape) else sample
        (found,) = session.run(None, {port.name: shaped[None]})
        np.testing.assert_allclose(found[0], wanted, atol=2e-4 * scale)

    made = plan(result.quantized, flash_bytes=int(limit))
    assert made.weights_bytes == result.resources["weights_bytes"]
    program = generate(made, tmp_path / "program")
    assert {path.suffix for path in program.directory.iterdir()} == {".c", ".h", ".txt"}
