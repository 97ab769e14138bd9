"""Where a training run keeps its state between epochs, so that a killed one goes on, and all its processes agree."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any, Protocol

import torch

from tinycompress.compress.team import Team
from tinycompress.folders import replaced_folder
from tinycompress.ir.store import load, save

State = dict[str, Any]
"""What `torch.load` reads with weights_only: tensors, numbers, text, lists and dicts; and under ``graph`` a Graph."""

_EPOCH, _SCRATCH = "epoch-", ".tmp-"


class Resumable(Protocol):
    """A training run that can stop at an epoch's end and go on from there to the same bytes."""

    def state(self) -> State: ...

    def load_state(self, state: State) -> None: ...


class Checkpoint:
    """The state of a training run in `folder` (None keeps nothing), and the same in every process of `team`.

    Each epoch is a sub-folder that appears whole, by rename, before the one before goes: whenever the process is
    killed, the last finished epoch is there.
    """

    def __init__(self, folder: Path | None, team: Team, device: torch.device) -> None:
        self.folder = folder
        self.team = team
        self.device = device

    def resume(self, training: Resumable) -> None:
        """Puts `training` where the last run stopped; where nothing is stored all begin as the first process does."""
        state = self._read() if self.team.leads else None
        if state is not None:
            training.load_state(state)
        self._agree(training)

    def keep(self, training: Resumable, epoch: int) -> None:
        """Stores the state after `epoch`; the other processes take over the first one's."""
        if self.folder is not None and self.team.leads:
            self._write(self.folder, training.state(), epoch)
        self._agree(training)

    def _agree(self, training: Resumable) -> None:
        if self.team.size == 1:
            return
        if self.team.leads:
            state = training.state()
            packed = io.BytesIO()
            torch.save({k: v for k, v in state.items() if k != "graph"}, packed)
            self.team.tell((state.get("graph"), packed.getvalue()))
            return
        graph, packed_state = self.team.hear()
        found: State = torch.load(io.BytesIO(packed_state), map_location=self.device, weights_only=True)
        training.load_state(found if graph is None else {**found, "graph": graph})

    @staticmethod
    def _write(folder: Path, state: State, epoch: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        final = folder / f"{_EPOCH}{epoch:06d}"
        with replaced_folder(final, _SCRATCH) as scratch:
            torch.save({k: v for k, v in state.items() if k != "graph"}, scratch / "training.pt")
            if "graph" in state:
                save(state["graph"], scratch / "graph")
        for entry in folder.iterdir():
            if entry != final:
                shutil.rmtree(entry)

    def _read(self) -> State | None:
        if self.folder is None or not self.folder.exists():
            return None
        epochs = sorted(p for p in self.folder.iterdir() if p.name.startswith(_EPOCH))
        if not epochs:
            return None
        state: State = torch.load(epochs[-1] / "training.pt", map_location=self.device, weights_only=True)
        if (epochs[-1] / "graph").exists():
            state["graph"] = load(epochs[-1] / "graph")
        return state
