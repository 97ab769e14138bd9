"""What a compression returns: the network, what it needs, how well it does, and what each stage bought."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinycompress.compress.recipe import Recipe
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.store import graph_sha256, save


@dataclass(frozen=True)
class StageLine:
    """One stage in the report. `score` is on the validation split; `resources` are those of the deployed form."""

    name: str
    score: float
    parameters: int
    resources: dict[str, float]
    seconds: float
    facts: dict[str, Any]


@dataclass(frozen=True)
class CompressResult:
    """A network inside every budget. `graph` is float and physically small; `quantized` its integer form.

    `recipe` is what made them; `is_trained_quantized` tells that quantization-aware training made `quantized`, which is
    calibrated after training otherwise. `float_score` and `score` (of the integer reference) are on the test split.
    `resources` holds the exact `arena_bytes`, `ram_bytes` and `weights_bytes` of the plan beside the estimates of the
    cost model, `paper` the peak memory, model size and MACs that the literature counts (`paper.PaperModel`, the input
    included). `notes` are sentences for the report.
    """

    graph: Graph
    quantized: QuantGraph
    recipe: Recipe
    is_trained_quantized: bool
    metric: str
    float_score: float
    score: float
    samples: int
    resources: dict[str, float]
    paper: dict[str, float]
    budget: dict[str, float]
    widths: dict[str, int]
    stages: tuple[StageLine, ...]
    notes: tuple[str, ...]

    @property
    def deployable(self) -> Graph | QuantGraph:
        """What the next stage takes: the integer network when training made it, else the float one."""
        return self.quantized if self.is_trained_quantized else self.graph

    @property
    def sha256(self) -> str:
        """Identity of the artifact: equal runs give equal digests (same machine, same thread count)."""
        return graph_sha256(self.deployable)

    def summary(self) -> dict[str, Any]:
        """Everything but the graphs, as JSON values."""
        return {
            "model": self.graph.name,
            "recipe": self.recipe.model_dump(mode="json"),
            "parameters": self.quantized.parameters,
            "metric": self.metric,
            "float": self.float_score,
            "int8": self.score,
            "samples": self.samples,
            "resources": self.resources,
            "paper": self.paper,
            "budget": self.budget,
            "widths": self.widths,
            "stages": [vars(line) for line in self.stages],
            "notes": list(self.notes),
            "sha256": self.sha256,
        }

    def save(self, directory: Path) -> Path:
        """Writes ``graph`` (what is deployed), ``float`` and ``summary.json`` into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        save(self.deployable, directory / "graph")
        save(self.graph, directory / "float")
        (directory / "summary.json").write_text(json.dumps(self.summary(), indent=1) + "\n", encoding="utf-8")
        return directory
