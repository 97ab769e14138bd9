from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.compress.networks import Net, chain, resnet
from tests.unit.compress.test_training import blobs
from tinycompress.compress import train
from tinycompress.compress.deployed import Deployed
from tinycompress.compress.distill.widths import rescale, student_widths
from tinycompress.compress.groups import find_groups
from tinycompress.compress.recipe import parse_recipe
from tinycompress.compress.run import compress
from tinycompress.compress.task import Budget, Task
from tinycompress.data import Split
from tinycompress.errors import BudgetError, ConfigError, QualityError
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.store import load
from tinycompress.plan.planner import plan

SHORT = {"epochs": 4, "batch": 16, "lr": 0.05}


def recipe(**changes: Any) -> Any:
    return parse_recipe({"threads": 1, "initial": "random", "train": SHORT, **changes})


def use(graph: Any) -> dict[str, float]:
    return Deployed(graph, find_groups(graph)).evaluate({})


GRAPH = chain((8, 12, 8))
FULL = use(GRAPH)
BUDGET = Budget(weights_bytes=int(0.6 * FULL["weights_bytes"]), ram_bytes=int(0.9 * FULL["ram_bytes"]))


@pytest.mark.parametrize(
    "method", ["differentiable", "dsa", "taylor", "slimming", "l1", "l2", "bn", "random", "uniform", "greedy"]
)
def test_every_method_ends_inside_the_budget(method: str) -> None:
    result = compress(GRAPH, blobs(), BUDGET, recipe(prune={"method": method, "end": 0.5}))
    made = plan(result.quantized, ram_bytes=int(BUDGET.resources["ram_bytes"]),
                flash_bytes=int(BUDGET.resources["weights_bytes"]))  # fmt: skip
    assert made.arena_bytes == result.resources["arena_bytes"] <= BUDGET.resources["ram_bytes"]
    assert made.weights_bytes == result.resources["weights_bytes"] <= BUDGET.resources["weights_bytes"]
    assert result.graph.parameters < GRAPH.parameters
    assert result.samples == 16
    assert result.paper["flash_bytes"] == sum(
        result.graph.tensors[c].elements + result.graph.tensors[op.output].shape[-1]
        for op in result.graph.ops for c in (getattr(op, "weights", None),) if c
    )  # fmt: skip


def test_soft_cost_at_integers_is_the_plan() -> None:
    result = compress(GRAPH, blobs(), None, recipe(prune={"method": "none"}, train={**SHORT, "epochs": 1}))
    made = plan(result.quantized)
    fast = Deployed(result.graph, find_groups(result.graph), prefer="speed").evaluate({})
    assert fast["ram_bytes"] == made.arena_lower_bound_bytes


def test_a_whole_compression_is_stored_and_reused(tmp_path: Path) -> None:
    whole = recipe(
        initial="teacher",
        teacher={"kind": "pruned", "rounds": 2, "train": SHORT},
        prune={"method": "differentiable"},
        qat={"epochs": 1, "batch": 16},
    )
    lines: list[str] = []
    said: list[str] = []

    def progress(stage: str, text: str, fraction: float | None = None) -> None:
        lines.append(stage)
        said.append(text)

    first = compress(GRAPH, blobs(), BUDGET, whole, directory=tmp_path, progress=progress)
    assert {"teacher", "teacher-1", "teacher-2", "student", "qat"} <= set(lines)
    students = [text for stage, text in zip(lines, said, strict=True) if stage == "student"]
    size = r"[\d.]+ K?B"
    line = rf"epoch \d/\d, loss [\d.]+, accuracy [01]\.\d{{4}}; RAM {size} of {size}, weights {size} of {size}"
    assert all(re.fullmatch(line, text) for text in students), students
    assert re.fullmatch(r"epoch 1/1, loss [\d.]+", said[-1])
    assert isinstance(first.deployable, QuantGraph)
    assert [s.name for s in first.stages] == ["teacher", "teacher-1", "teacher-2", "student", "qat"]
    densities = [s.facts["density"] for s in first.stages if "density" in s.facts]
    assert densities == pytest.approx([0.8, 0.64], abs=2e-3)
    lines.clear()
    again = compress(GRAPH, blobs(), BUDGET, whole, directory=tmp_path, progress=progress)
    assert lines == []
    assert again.sha256 == first.sha256
    folder = first.save(tmp_path / "result")
    assert isinstance(load(folder / "graph"), QuantGraph)
    assert json.loads((folder / "summary.json").read_text())["sha256"] == first.sha256


def test_rewound_teachers_have_the_exact_density() -> None:
    changed = recipe(teacher={"kind": "pruned", "rounds": 3, "train": {**SHORT, "epochs": 1}}, prune={"method": "none"})
    result = compress(GRAPH, blobs(), None, changed)
    total = sum(GRAPH.tensors[getattr(op, "weights")].elements for op in GRAPH.ops if hasattr(op, "weights"))  # noqa: B009
    for k, stage in enumerate((s for s in result.stages if s.name.startswith("teacher-")), start=1):
        assert abs(stage.facts["density"] * total - 0.8**k * total) <= k


@pytest.mark.parametrize("control", ["scratch-e", "scratch-b"])
def test_controls_train_the_found_shape_anew(control: str) -> None:
    result = compress(GRAPH, blobs(), BUDGET, recipe(control=control, prune={"method": "l1", "end": 0.5}))
    names = [s.name for s in result.stages]
    assert names == ["student", control]
    epochs = result.stages[-1].facts["epochs"]
    assert epochs == 4 if control == "scratch-e" else epochs > 4


PRUNED_TEACHER = {"kind": "pruned", "rounds": 2, "train": {**SHORT, "epochs": 2}}


def test_a_students_widths_come_from_the_pruned_teacher() -> None:
    changed = {"teacher": PRUNED_TEACHER, "prune": {"method": "none"}, "train": {**SHORT, "epochs": 1}}
    published = compress(GRAPH, blobs(), None, recipe(student={"widths": "published"}, **changed))
    teacher = next(stage for stage in published.stages if stage.name == "teacher-2")
    expected = student_widths(GRAPH, find_groups(GRAPH), teacher.facts["surviving"])
    assert published.widths == rescale(expected, find_groups(GRAPH).widths(), 1.0)
    assert sum(published.widths.values()) < sum(find_groups(GRAPH).widths().values())
    fitted = compress(GRAPH, blobs(), BUDGET, recipe(student={"widths": "fitted"}, **changed))
    assert 0.8 * BUDGET.resources["weights_bytes"] < fitted.resources["weights_bytes"]
    assert fitted.resources["weights_bytes"] <= BUDGET.resources["weights_bytes"]


def test_a_published_student_is_pruned_on_or_refused() -> None:
    tight = Budget(weights_bytes=int(0.3 * FULL["weights_bytes"]))
    changed = {"teacher": PRUNED_TEACHER, "student": {"widths": "published"}, "train": {**SHORT, "epochs": 2}}
    for method in ("l1", "uniform"):
        result = compress(GRAPH, blobs(), tight, recipe(prune={"method": method}, **changed))
        assert result.resources["weights_bytes"] <= tight.resources["weights_bytes"]
    with pytest.raises(BudgetError, match=r"TC-B202.*nothing prunes it: weights_bytes \d+ of \d+"):
        compress(GRAPH, blobs(), tight, recipe(prune={"method": "none"}, **changed))


def test_widths_need_a_pruned_teacher_of_the_same_architecture() -> None:
    fitted = {"student": {"widths": "fitted"}}
    with pytest.raises(ConfigError, match=r"TC-C351: widths 'fitted' come from a pruned teacher, .* is 'dense'"):
        compress(GRAPH, blobs(), None, recipe(teacher={"kind": "dense"}, **fitted))
    other = recipe(teacher={**PRUNED_TEACHER, "train": {**SHORT, "epochs": 0}}, **fitted)
    with pytest.raises(ConfigError, match="TC-C351: the teacher's weights"):
        compress(GRAPH, blobs(), None, other, teacher=chain((16, 16, 16), seed=1))


def test_every_round_trains_the_whole_schedule_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[str, list[float]] = {}
    epoch = train.Trainer._epoch

    def recorded(self: train.Trainer, number: int) -> float:
        loss = epoch(self, number)
        rates.setdefault(self.stage, []).append(self._rate())
        return loss

    monkeypatch.setattr(train.Trainer, "_epoch", recorded)
    compress(GRAPH, blobs(), None, recipe(teacher={**PRUNED_TEACHER, "train": SHORT}, prune={"method": "none"}))
    assert rates["teacher"] == rates["teacher-1"] == rates["teacher-2"]
    assert len(set(rates["teacher"])) == SHORT["epochs"]


@pytest.mark.parametrize(("choice", "share"), [("always", 0.6), ("tight", 0.6), ("tight", 0.3)])
def test_the_uniform_network_is_a_second_candidate(choice: str, share: float) -> None:
    tried = choice == "always" or share < 0.5
    budget = Budget(weights_bytes=int(share * FULL["weights_bytes"]))
    changed = recipe(student={"uniform": choice}, prune={"method": "differentiable", "min_channels": 3})
    result = compress(GRAPH, blobs(), budget, changed)
    stages = {stage.name: stage for stage in result.stages}
    assert ("student-uniform" in stages) == tried
    assert result.resources["weights_bytes"] <= budget.resources["weights_bytes"]
    if tried:
        kept = max(("student", "student-uniform"), key=lambda name: stages[name].score)
        assert result.widths == stages[kept].facts["prune"]["after"]
        assert any(note.startswith(f"{kept} is kept: accuracy on validation") for note in result.notes)
        uniform = stages["student-uniform"]
        assert uniform.resources["weights_bytes"] <= budget.resources["weights_bytes"]


def test_candidate_teachers_are_tried_on_the_student() -> None:
    changed = recipe(
        teacher={"kind": "candidates", "rounds": 1, "train": SHORT, "trial_epochs": 1}, prune={"method": "uniform"}
    )
    result = compress(GRAPH, blobs(), BUDGET, changed)
    assert [s.name for s in result.stages if s.name.startswith("trial")] == ["trial-dense", "trial-round-1"]
    assert any("teacher chosen" in note for note in result.notes)


def test_an_impossible_budget_is_refused_before_training() -> None:
    with pytest.raises(BudgetError, match=r"TC-B201.*nearest feasible budget: weights_bytes = \d+"):
        compress(GRAPH, blobs(), Budget(weights_bytes=100), recipe())


def test_a_missed_accuracy_floor_is_a_quality_error() -> None:
    floor = Budget(weights_bytes="1 MB", min_accuracy=1.01)
    with pytest.raises(QualityError, match=r"TC-Q101: accuracy of the integer network is .* below the floor of 1.0100"):
        compress(GRAPH, blobs(), floor, recipe(train={**SHORT, "epochs": 1}, prune={"method": "none"}))


def test_data_of_another_shape_or_with_more_classes_is_refused() -> None:
    task = blobs()
    flat = replace(task, train=Split(task.train.inputs[:, :4], task.train.targets))
    with pytest.raises(ConfigError, match="TC-C107"):
        compress(GRAPH, flat, None, recipe())
    with pytest.raises(ConfigError, match="TC-C303"):
        compress(GRAPH, blobs(classes=7), None, recipe())


def vectors(count: int = 3) -> Task:
    """Labelled vectors of 16 values in `count` classes."""
    rng = np.random.default_rng(0)
    return Task(*(Split(rng.standard_normal((24, 16)), np.arange(24) % count) for _ in range(3)))


@pytest.mark.parametrize("method", ["differentiable", "taylor", "uniform"])
def test_a_network_without_channels_to_prune_is_trained_as_it_is(method: str) -> None:
    net = Net((16,))
    graph = net.graph(net.fc("x", 3))
    settings = recipe(prune={"method": method}, train={**SHORT, "epochs": 1}, qat={"epochs": 1})
    result = compress(graph, vectors(), Budget(flash_bytes="4 KB"), settings)
    assert result.graph.parameters == graph.parameters
    assert "no channels of this network can be pruned: its widths stay" in result.notes
    with pytest.raises(BudgetError, match=r"TC-B20[12].*smaller architecture"):
        compress(graph, vectors(), Budget(flash_bytes="1 KB"), settings)


def test_a_network_without_weights_has_nothing_to_train() -> None:
    net = Net((16,))
    graph = net.graph(net.relu("x"))
    with pytest.raises(ConfigError, match="TC-C352: 'net' has no weights to train"):
        compress(graph, vectors(16), None, recipe())


def test_autoencoders_and_regressions_are_pruned_too() -> None:
    rng = np.random.default_rng(0)
    net = Net((16,))
    graph = net.graph(net.fc(net.relu(net.fc(net.relu(net.fc("x", 12)), 12)), 16))
    low_rank = (rng.standard_normal((160, 3)) @ rng.standard_normal((3, 16))).astype(np.float32)
    odd = rng.standard_normal((20, 16)).astype(np.float32) * 2
    held_out = Split(np.concatenate([low_rank[:20], odd]), np.repeat([0, 1], 20))
    task = Task(Split(low_rank[40:]), Split(low_rank[20:40]), held_out, kind="autoencoder", name="vectors")
    size = use(graph)["weights_bytes"]
    adam = {"epochs": 20, "batch": 16, "lr": 0.01, "optimizer": "adam"}
    budget = Budget(weights_bytes=int(0.7 * size))
    result = compress(graph, task, budget, recipe(train=adam))
    assert result.metric == "negative_mse"
    scored = replace(task, val=held_out, metric="auc")
    assert compress(graph, scored, budget, recipe(train=adam)).score > 0.6


def test_the_users_own_loss_and_metric_are_used() -> None:
    import torch

    calls: list[int] = []

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(len(target))
        return torch.nn.functional.cross_entropy(output, target)

    def errors(outputs: np.ndarray, targets: np.ndarray) -> float:
        return -float((outputs.argmax(1) != targets).sum())

    task = replace(blobs(), loss=loss, metric=errors)
    result = compress(GRAPH, task, None, recipe(prune={"method": "none"}, train={**SHORT, "epochs": 1}))
    assert calls
    assert result.metric == "errors"
    assert result.score <= 0


def test_residual_networks_are_pruned_with_matching_additions() -> None:
    graph = resnet(classes=4, size=8, widths=(6, 8, 10))
    images = blobs(channels=3)
    full = use(graph)
    result = compress(graph, images, Budget(weights_bytes=int(0.5 * full["weights_bytes"])), recipe())
    assert set(result.widths) == {g.name for g in find_groups(graph).prunable}
    assert result.stages[0].facts["prune"]["before"] == find_groups(graph).widths()


def test_a_pruned_network_runs_anywhere(tmp_path: Path) -> None:
    """Stored, reloaded, exported to ONNX and run by plain PyTorch and ONNX Runtime: the same outputs."""
    import torch

    from tinycompress.execute.torch_module import GraphModule
    from tinycompress.export.onnx import export_onnx

    runtime = pytest.importorskip("onnxruntime")
    result = compress(GRAPH, blobs(), BUDGET, recipe(prune={"method": "l1", "end": 0.5}))
    folder = result.save(tmp_path / "result")
    reloaded = load(folder / "float")
    samples = blobs().test.inputs[:4]
    with torch.no_grad():
        expected = GraphModule(reloaded).eval()(torch.from_numpy(samples)).numpy()
    session = runtime.InferenceSession(export_onnx(result.graph), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    for sample, wanted in zip(samples, expected, strict=True):
        shaped = sample.transpose(2, 0, 1) if entry.shape[1] == 2 else sample
        (found,) = session.run(None, {entry.name: shaped[None]})
        np.testing.assert_allclose(found[0], wanted, atol=1e-5)
