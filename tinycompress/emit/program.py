"""A generated library: its directory, its files, the facts of its plan, and the way to call it from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinycompress.emit.contexts import IoContext, ModelContext
from tinycompress.emit.host import HostProgram, build_host
from tinycompress.plan.model import ARENA_ALIGN, Plan


@dataclass(frozen=True)
class Program:
    """A directory of C made from `plan`. `files` are the names in it; exported names begin with `prefix`.

    `model` holds what the header says: members, macros and sizes of inputs, outputs and state.
    """

    directory: Path
    plan: Plan
    prefix: str
    files: tuple[str, ...]
    model: ModelContext = field(repr=False)

    @property
    def header(self) -> str:
        """File name of the contract header."""
        return f"{self.prefix}.h"

    @property
    def sources(self) -> tuple[Path, ...]:
        """The C files to compile."""
        return tuple(self.directory / name for name in self.files if name.endswith(".c"))

    @property
    def inputs(self) -> tuple[IoContext, ...]:
        """Inputs in the order of the inputs struct."""
        return self.model.inputs

    @property
    def outputs(self) -> tuple[IoContext, ...]:
        """Outputs in the order of the outputs struct."""
        return self.model.outputs

    @property
    def arena_bytes(self) -> int:
        return self.plan.arena_bytes

    @property
    def arena_align(self) -> int:
        return ARENA_ALIGN

    @property
    def state_bytes(self) -> int:
        return self.plan.state_bytes

    @property
    def state_reset(self) -> str:
        """The function that sets the state before the first inference; empty when there is no state."""
        return f"{self.prefix}_state_reset" if self.model.states else ""

    @property
    def layer_count(self) -> int:
        return len(self.plan.layers)

    @property
    def model_hash(self) -> str:
        """What <PREFIX>_MODEL_HASH says."""
        return self.model.model_hash

    def host(self, *, compiler: Sequence[str] | None = None, flags: Sequence[str] = ()) -> HostProgram:
        """The library compiled for this machine and loaded, every tensor observable.

        `compiler` is a command line prefix (default: the system's C compiler, else zig); `flags` are added to it.
        Raises ToolchainError TC-T150 with the compiler's words when it does not compile.
        """
        return build_host(self.directory, self.sources, self.prefix, self.model, self.plan, compiler, flags)
