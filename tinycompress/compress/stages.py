"""The stages of a compression, each a stored graph that is reused when its inputs are unchanged."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinycompress.folders import replaced_folder
from tinycompress.ir.graph import Graph
from tinycompress.ir.store import load, save

_SCRATCH = ".tmp-"


@dataclass
class Stage:
    """One finished stage: its graph, its validation score, and facts for the report."""

    name: str
    graph: Graph
    score: float
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


class Stages:
    """Runs stages in a directory (or only in memory) and remembers them in order."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.done: list[Stage] = []

    def checkpoint(self, name: str) -> Path | None:
        """Where a stage's training checkpoints go; removed when the stage is stored."""
        return None if self.directory is None else self.directory / f".{name}-training"

    def run(self, name: str, make: Callable[[], tuple[Graph, float, dict[str, Any]]]) -> Stage:
        """The stored stage of that name, else what `make` returns: graph, validation score, facts."""
        stage = self._stored(name)
        if stage is None:
            started = time.perf_counter()
            graph, score, facts = make()
            stage = Stage(name, graph, score, time.perf_counter() - started, facts)
            self._store(stage)
        self.done.append(stage)
        return stage

    def _stored(self, name: str) -> Stage | None:
        if self.directory is None or not (self.directory / name / "stage.json").exists():
            return None
        folder = self.directory / name
        document = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        return Stage(name, load(folder / "graph"), document["score"], document["seconds"], document["facts"])

    def _store(self, stage: Stage) -> None:
        if self.directory is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.glob(f"{_SCRATCH}{stage.name}-*"):
            shutil.rmtree(left)
        with replaced_folder(self.directory / stage.name, _SCRATCH) as scratch:
            save(stage.graph, scratch / "graph")
            document = {"score": stage.score, "seconds": stage.seconds, "facts": stage.facts}
            (scratch / "stage.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        checkpoint = self.checkpoint(stage.name)
        if checkpoint is not None:
            shutil.rmtree(checkpoint, ignore_errors=True)
