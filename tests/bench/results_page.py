"""docs/RESULTS.md from the stored results: mean and standard deviation over seeds, and what was not run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ABOUT = {
    "demo": (
        "The demo recipe",
        "",
        "`tinycompress/recipes/mnist.toml`: 5 000 MNIST images (3 500 / 500 / 1 000), a dense network trained, then "
        "pruned to 16 KB of weights and 8 KB of arena with its dense form as teacher, then trained quantized; the seed "
        "also draws the split. int8 is after quantization-aware training. Near 98.5 % on 1 000 images a 95 % interval "
        "is about ± 0.8 points.",
    ),
    "cifar": (
        "CIFAR-10, ResNet-8 to a model and memory budget",
        "differentiable",
        "First 20 000 training images of CIFAR-10 (JPEG q75 copy), every test image of that copy (8 983), 15 epochs, "
        "batch 128, flips and shifts, no teacher. The budget is weights / SRAM in KB of the deployed plan. `uniform` "
        "is the widest equal scaling, trained from scratch; `scratch-b` trains the shape that differentiable pruning "
        "found, anew, for 30 epochs; `random` ranks channels at random. 96/48 holds the dense network (weights "
        "81 082 B, arena 49 152 B): every arm would be that network, so one row says it. Short runs on few images: "
        "compare rows only.",
    ),
    "long": (
        "CIFAR-10, ResNet-8 trained longer",
        "",
        "Every training image of that copy (45 000), 60 epochs, differentiable pruning, one seed: the distance to the "
        "aims of 87 % at 12 KB of weights and 16 KB of SRAM, and of 90 % at 50 KB and 50 KB. One seed is no claim.",
    ),
    "distillation": (
        "Prune-then-distill against its controls, spoken digits",
        "no teacher",
        "One student (uniform width, at most 4 KB of weights) per row, 25 epochs; teachers are the full-width network, "
        "dense or after 2 and 4 rounds of magnitude pruning with learning-rate rewinding. `label smoothing matched` is "
        "smoothed to the dense teacher's mean confidence; `dense teacher 75 epochs` is the control for the epochs "
        "that two rounds of pruning add to a teacher.",
    ),
    "speech": (
        "Spoken digits, one speaker held out",
        "",
        "FSDD with five speakers, 49 x 16 log-mel, a DS-CNN-like network of width 48; the test split is a speaker that "
        "training never heard. The pruned rows are distilled from the dense network.",
    ),
    "mnist": (
        "Criteria on MNIST",
        "differentiable",
        "5 000 MNIST images (3 500 / 500 / 1 000 by seed), the demo network to 4 KB of weights and 3 KB of arena, "
        "25 epochs, no teacher. One standard error of an accuracy near 97 % on 1 000 images is 0.5 points.",
    ),
}


def write_page(results: Path, page: Path, expected: Mapping[str, Sequence[tuple[str, str, int]]]) -> None:
    """Writes the page; `expected` lists every row (setting, arm, seed) of every table, so that gaps are named."""
    lines = [
        "# Results of compression",
        "",
        "Made by `python -m tests.bench.experiments report` from the JSON files in `docs/results/`, which hold every",
        "recipe in full. Accuracy is on the test split, in percent: mean over seeds, ± standard deviation when there",
        "are at least two. int8 is the integer reference, quantized after training. Weights and arena are those of the",
        "exact plan, which packs weights wider, for faster kernels, where there is room. CPU, one thread per run.",
        "The last column, where there is one, is int8 less that of the arm it names, paired by seed.",
        "",
    ]
    for table, rows in expected.items():
        title, base, about = ABOUT[table]
        command = f"python -m tests.bench.experiments run {table} --work DIR"
        lines += [f"## {title}", "", about, "", f"Command (again until it is silent): `{command}`", ""]
        lines += _table([json.loads(f.read_text()) for f in sorted((results / table).glob("*.json"))], rows, base)
    lines += ["## 2:4 for desktop GPUs", ""]
    lines += ["Accuracy, bytes and latency of 2:4 stand in [results/gpu24.md](results/gpu24.md)."]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _table(found: list[dict[str, Any]], rows: Sequence[tuple[str, str, int]], base: str) -> list[str]:
    """One line per (setting, arm); the last column compares with the arm `base` of the same setting and seeds."""
    done = {(r["setting"], r["arm"], r["seed"]): r for r in found}
    titles = ["budget", "arm", "seeds", "float", "int8", "parameters", "weights B", "arena B", "MACs"]
    titles += [f"− {base}"] if base else []
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for setting, arm in dict.fromkeys((s, a) for s, a, _ in rows):
        seeds = [s for x, y, s in rows if (x, y) == (setting, arm)]
        here = [done[setting, arm, s] for s in seeds if (setting, arm, s) in done]
        good = [r for r in here if "error" not in r]
        if not here:
            lines.append(f"| {setting} | {arm} | not run |" + " |" * (len(titles) - 3))
            continue
        if not good:
            lines.append(f"| {setting} | {arm} | {here[0]['error']} |" + " |" * (len(titles) - 3))
            continue
        cells = [setting, arm, " ".join(str(r["seed"]) for r in good)]
        cells += [_spread([100 * r[k] for r in good]) for k in ("float", "int8")]
        cells.append(_range([r["stages"][-1]["parameters"] for r in good]))
        cells += [_range([r["resources"][k] for r in good]) for k in ("weights_bytes", "arena_bytes", "macs")]
        if base:
            others = [(r, done.get((setting, base, r["seed"]), {})) for r in good if arm != base]
            differences = [100 * (r["int8"] - other["int8"]) for r, other in others if "int8" in other]
            cells.append(_spread(differences, "+") if differences else "")
        lines.append("| " + " | ".join(cells) + " |")
    missing = [f"{s} {a} seed {n}" for s, a, n in rows if (s, a, n) not in done]
    if missing and len(missing) < len(rows):
        lines += ["", f"Not run ({len(missing)} of {len(rows)}): {', '.join(missing)}."]
    return [*lines, ""]


def _spread(values: list[float], sign: str = "") -> str:
    mean = f"{statistics.fmean(values):{sign}.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _range(values: list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return f"{low}" if low == high else f"{low} … {high}"
