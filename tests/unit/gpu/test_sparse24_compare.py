"""The comparison: what runs without a GPU, what is refused, what the tables say, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.compress.test_training import blobs
from tests.unit.gpu.emulation import compile_host
from tests.unit.gpu.test_sparse24_recipes import small
from tinycompress.compress.recipe import TrainSettings
from tinycompress.errors import DeviceError, MismatchError, ToolchainError
from tinycompress.gpu import compare as cmp
from tinycompress.gpu import networks, program, report, sweep_report, timing
from tinycompress.gpu.program import has_gpu
from tinycompress.gpu.recipes import TrainingPlan
from tinycompress.ir.store import save

torch.set_num_threads(1)
ROOT = Path(__file__).parents[3]
needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="this machine can measure times")


@pytest.fixture(scope="module")
def comparison() -> report.Comparison:
    samples = blobs().train.inputs
    plan = TrainingPlan(blobs(), TrainSettings(epochs=2, batch=16, lr=0.02))
    settings = cmp.Settings((samples,), plan, ("dense", "magnitude", "one-shot"), batches=(1, 8))
    return cmp.compare(small(), settings)


def test_sparse24_comparison_scores_and_sizes(comparison: report.Comparison) -> None:
    rows = [(v.name, v.is_permuted) for v in comparison.variants]
    assert rows == [
        ("as it is", False), ("dense", False), ("magnitude", False), ("magnitude", True), ("one-shot", False),
        ("one-shot", True),
    ]  # fmt: skip
    dense = 8 * 9 * 2 + 8 * 9 * 8 + 4 * 128
    assert [v.weights_bytes for v in comparison.variants[:2]] == [dense, dense]
    assert {v.weights_bytes for v in comparison.variants[2:]} == {8 * 9 * 2 + 0.625 * (8 * 9 * 8 + 4 * 128)}
    assert all(v.score is not None and 0 <= v.score <= 1 for v in comparison.variants)
    assert all(gain.after >= gain.before for gain in comparison.gains)


def test_sparse24_comparison_checks_the_packing(comparison: report.Comparison) -> None:
    first, second, last = comparison.layers
    assert first.reason == "2 input channels are not a multiple of 4"
    assert first.storage_ratio == {}
    for line in (second, last):
        assert line.storage_ratio == {"int8": 0.625, "fp16": 0.5625}
        assert line.packing_error["int8"] == 0
        assert line.packing_error["fp16"] < 1e-2


@needs_no_gpu
def test_sparse24_times_are_refused_without_a_gpu(comparison: report.Comparison) -> None:
    assert comparison.refusal.startswith("no times: TC-D402: times need ")
    assert all(line.times == () for line in comparison.layers)
    assert all(v.network_us == {} for v in comparison.variants)
    assert all(row[-2:] == ["", ""] for row in report.variant_rows(comparison)[1])
    with pytest.raises(DeviceError, match="the cells stay empty"):
        timing.require_gpu()


def test_sparse24_tables_say_where_it_loses(comparison: report.Comparison) -> None:
    fast = report.LayerTime("torch cutlass", "fp16", 1, 30.0, 15.0, 0.0005, "")
    slow = report.LayerTime("torch cutlass", "fp16", 1, 4.0, 5.0, 0.0, "")
    none = report.LayerTime("torch", "int8", 1, None, None, None, "PyTorch sees no GPU")
    layers = (
        comparison.layers[0],
        replace(comparison.layers[1], times=(fast, none)),
        replace(comparison.layers[2], times=(slow,)),
    )
    timed = replace(comparison, layers=layers, refusal="")
    text = report.verdict_lines(timed)
    assert text[0] == (
        f"torch cutlass fp16 batch 1: eligible layers 34.0 us dense, 20.0 us 2:4, 1.70x; "
        f"2:4 is slower in 1 of 2 layers ({layers[2].name})"
    )
    header, rows = report.layer_rows(timed)
    assert all(len(row) == len(header) for row in rows)
    assert rows[1][4] == "no"
    assert set(report.METHOD) <= set(text)
    held = next(line for line in text if line.startswith("torch cannot hold as fp16: "))
    assert f"{layers[1].name} (8 rows are not a multiple of 16)" in held
    assert rows[1][5:] == ["torch cutlass", "fp16", "1", "30.0", "15.0", "2.00x", "0.5625", "0.0005"]
    assert rows[2][:5] == [""] * 5
    assert rows[2][-1] == "PyTorch sees no GPU"


def test_sparse24_board_latency_stands_beside_the_others(comparison: report.Comparison) -> None:
    """Estimated, said so, and for a batch as many times one sample."""
    board = report.Variant("stm32f746 int8", False, 0.5, 100.0, {}, 19.25)
    row = report.variant_rows(replace(comparison, variants=(board,)))[1][0]
    assert row == ["stm32f746 int8", "", "0.5000", "100", "19.2 estimated", "154.0 estimated"]


def test_sparse24_without_training_data_the_rest_is_said_to_be_left_out() -> None:
    settings = cmp.Settings((blobs().train.inputs,), dtypes=("int8",))
    found = cmp.compare(small(), settings)
    rows = [(v.name, v.is_permuted) for v in found.variants]
    again = [(name, is_permuted) for name in ("magnitude", "exact-obs") for is_permuted in (False, True)]
    assert rows == [("as it is", False), *again]
    assert len({v.weights_bytes for v in found.variants[1:]}) == 1
    assert found.notes == ("left out: dense, one-shot, sr-ste, and every score; they need training data (--data)",)
    assert found.notes[0] in report.verdict_lines(found)


def test_sparse24_quantized_network_is_compared_by_its_mask_alone() -> None:
    graph = networks.convolutional(32)
    found = cmp.compare(graph, cmp.Settings(()))
    assert [v.name for v in found.variants] == ["as it is", "magnitude"]
    assert found.notes[0].endswith("a quantized network cannot be trained, bring the float one")
    assert found.gains == ()


def test_sparse24_wrong_bytes_end_with_their_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """After everything else: what was trained and scored before is not lost."""

    def wrong(*_: object, **__: object) -> object:
        raise MismatchError("TC-V402", "1 of 9 output bytes differ")

    monkeypatch.setattr(cmp, "require_gpu", lambda: None)
    monkeypatch.setattr(cmp, "time_programs", wrong)
    found = cmp.compare(networks.convolutional(32), cmp.Settings(()))
    assert found.exit_code == MismatchError.exit_code
    assert "TC-V402" in found.refusal
    assert len(found.variants) == 2


def test_sparse24_break_even_and_target() -> None:
    def row(size: int, dense: float, sparse: float, engine: str = "torch cusparselt") -> dict[str, object]:
        return {"engine": engine, "dtype": "fp16", "size": size, "dense_us": dense, "sparse_us": sparse}

    rows = [row(256, 5, 9), row(1024, 20, 21), row(2048, 90, 80), row(4096, 600, 380), row(8192, 4000, 2900)]
    first = "torch cusparselt fp16: 2:4 is faster from 2048 on"
    target = "torch fp16: 1.5x at 4096 and above by its best backend: "
    assert sweep_report.break_even(rows) == [first, target + "NOT met (least 1.38x)"]
    assert sweep_report.break_even(rows[:-1]) == [first, target + "met (least 1.58x)"]
    better = row(8192, 4000, 2500, "torch cutlass")
    assert sweep_report.break_even([*rows, better])[-1] == target + "met (least 1.58x)"
    assert sweep_report.break_even(rows[:2]) == ["torch cusparselt fp16: 2:4 is never faster here"]
    assert sweep_report.break_even([{**row(256, 5, 9), "dense_us": None}]) == []


def test_sparse24_sweep_document_as_lines() -> None:
    document = {
        "versions": {
            "device": "GPU", "compute": "9.0", "driver": "580.1", "driver_api": 13000, "torch": "2",
            "torch_cuda": "13.0", "nvcc": "13.0.88", "tinycompress": "0",
        },
        "steps": [{"name": "squares", "outcome": "done"}, {"name": "network x", "outcome": "failed: TC-T201: no"}],
        "squares": [{"size": 256, "dense_us": 5.0, "sparse_us": 4.0}],
        "networks": [
            {
                "name": "conv32", "batch": 1, "dense_us": 40.0, "sparse_us": 44.0,
                "layers": [
                    {"name": "conv0", "dense_us": 8.0, "sparse_us": 9.0, "is_sparse": True, "shape": [32, 144, 196]},
                    {"name": "mean", "dense_us": 2.0, "sparse_us": 2.0, "is_sparse": False, "shape": None},
                ],
            }
        ],
        "peer": [
            {"dtype": "int8", "shape": [256] * 3, "backend": "cutlass", "reason": "PyTorch: not on this GPU"},
            {
                "dtype": "fp16", "shape": [256] * 3, "backend": "cusparselt", "dense_us": 6.0, "sparse_us": 5.0,
                "error": 0.0004, "form": "algorithm 3, transposed", "reason": "",
            },
        ],
        "layers": [
            {"dtype": "fp16", "shape": [32, 144, 196], "backend": "cutlass", "dense_us": 3.0, "sparse_us": 4.5},
            {"dtype": "fp16", "shape": [32, 144, 196], "backend": "cusparselt", "dense_us": 3.0, "sparse_us": 4.0},
            {"dtype": "int8", "shape": [32, 144, 196], "backend": "cusparselt", "dense_us": None, "sparse_us": None},
        ],
        "seconds": 1.0,
    }  # fmt: skip
    text = "\n".join(sweep_report.sweep_lines(document))
    assert text.startswith("GPU (compute 9.0), driver 580.1 (CUDA 13.0), torch 2 (CUDA 13.0), nvcc 13.0.88, ")
    assert "network x: failed: TC-T201: no" in text
    assert "tinycompress int8: 2:4 is faster from 256 on" in text
    assert "PyTorch: not on this GPU" in text
    assert "0.91x" in text
    assert "0.0004  algorithm 3, transposed" in text
    conv = next(line for line in text.splitlines() if line.startswith("  conv0"))
    assert conv.split() == ["conv0", "32x144x196", "2:4", "8.0", "9.0", "0.89x", "3.0", "4.0", "0.75x"]
    assert "tinycompress int8: eligible layers 8.0 us dense, 9.0 us 2:4, 0.89x; 2:4 is slower in 1 of 1" in text
    assert "torch fp16: eligible layers 3.0 us dense, 4.0 us 2:4, 0.75x; 2:4 is slower in 1 of 1 layers (conv0)" in text
    assert "torch int8: eligible" not in text


def test_sparse24_sweep_networks_are_two_of_four_and_alive() -> None:
    from tinycompress.execute.reference import run
    from tinycompress.gpu.generate import sparse_candidates

    graph = networks.convolutional(32)
    assert len(sparse_candidates(graph)) == networks.DEPTH + 1
    x = np.random.default_rng(0).integers(-128, 128, (4, *graph.tensors["x"].shape), dtype=np.int8)
    tensors = run(graph, {"x": x}).tensors
    assert all(np.unique(tensors[f"conv{i}_y"]).size > 20 for i in range(networks.DEPTH))


def test_sparse24_programs_are_timed_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The timing path with host programs in place of nvcc's: the checks run, the times are empty."""
    monkeypatch.setattr(timing, "compile_cuda", compile_host)
    graph = networks.convolutional(32)
    (found,) = timing.time_programs(graph, ("conv1", "fc"), (2,), tmp_path)
    assert found.dense.network_us is None
    assert timing.program_layer_times(graph, [found])["conv1"][0].dense_us is None
    monkeypatch.setattr(timing, "run_reference", lambda *_, **__: _Zeros({"y": np.full((8, 10), 99, dtype=np.int8)}))
    with pytest.raises(MismatchError, match="output bytes differ") as error:
        list(timing.time_programs(graph, ("conv1",), (2,), tmp_path))
    assert error.value.code == "TC-V402"


class _Zeros:
    def __init__(self, outputs: dict[str, np.ndarray]) -> None:
        self.outputs = outputs


def test_sparse24_missing_nvcc_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "find_nvcc", lambda: None)
    with pytest.raises(ToolchainError, match="nvcc is not here") as error:
        program.compile_cuda(tmp_path / "x.cu", tmp_path / "x")
    assert error.value.code == "TC-T201"
    assert program.nvcc_version() is None


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tinycompress", "compare-gpu", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@needs_no_gpu
def test_sparse24_command_prints_one_json_document(tmp_path: Path) -> None:
    save(small(), tmp_path / "graph")
    data = blobs(count=120)
    parts = {
        f"{axis}_{name}": getattr(split, field)
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
        for axis, field in (("x", "inputs"), ("y", "targets"))
    }
    np.savez(tmp_path / "data.npz", **parts)
    flags = ("--data", "data.npz", "--epochs", "1", "--prune", "magnitude,sr-ste", "--dtype", "int8", "--batch", "4")
    done = command(tmp_path, "graph", *flags, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [v["name"] for v in document["variants"]] == [
        "as it is",
        "magnitude",
        "magnitude",
        "sr-ste",
        "sr-ste",
        "stm32f746 int8",
    ]
    assert document["refusal"].startswith("no times: TC-D402")
    assert document["layers"][1]["storage_ratio"] == {"int8": 0.625}


@pytest.mark.parametrize("is_quantized", [False, True])
def test_sparse24_command_refuses_what_it_cannot_train(is_quantized: bool, tmp_path: Path) -> None:
    save(networks.convolutional(32) if is_quantized else small(), tmp_path / "graph")
    done = command(tmp_path, "graph", "--prune", "magnitude,sr-ste", "--calibration", "random")
    assert done.returncode == 2
    assert ("TC-C403" if is_quantized else "TC-C404") in done.stderr
    assert "sr-ste: " in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--batch", "0"), "not a list of batch sizes"),
        (("--batch", "1,x"), "not a list of batch sizes"),
        (("--dtype", "int4"), "there is no 'int4'"),
        (("--prune", "one-shoot"), "did you mean 'one-shot'"),
    ],
)
def test_sparse24_command_rejects_flags(flags: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = command(tmp_path, "graph", *flags)
    assert done.returncode == 2
    assert "TC-C401" in done.stderr
    assert words in done.stderr
    assert done.stdout == ""
