"""The stages in order: import, compress, quantize, generate, build, run. Artifacts and resume, no stage logic.

Each stage is a property: asking for one makes (or reuses) those before it. Keys chain, so a changed setting redoes
exactly the stages that depend on it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tinycompress import __version__
from tinycompress.config import Config, config_json
from tinycompress.errors import BudgetError, ConfigError
from tinycompress.rundir import RunDir, digest, file_digest, require_writable

if TYPE_CHECKING:
    from tinycompress.boards import Board, Calibration
    from tinycompress.build import Firmware
    from tinycompress.data import Dataset
    from tinycompress.emit import Program
    from tinycompress.ir.graph import Graph, QuantGraph
    from tinycompress.ir.tensor import Array
    from tinycompress.pipeline.analysis import Analysis
    from tinycompress.pipeline.deploying import Outcome
    from tinycompress.pipeline.measuring import HostRun
    from tinycompress.pipeline.target import Target
    from tinycompress.plan.model import Plan
    from tinycompress.report.model import Layer, Report


class Progress(Protocol):
    """What a stage says while it works; `fraction` of the stage in 0…1 where it is known."""

    def __call__(self, stage: str, text: str, fraction: float | None = None) -> None: ...


def silent(stage: str, text: str, fraction: float | None = None) -> None:
    """Progress that goes nowhere."""


class Pipeline:
    """One run: a configuration, its directory, and the stages."""

    def __init__(self, config: Config, run: RunDir, progress: Progress = silent) -> None:
        self.config = config
        self.run = run
        self.progress = progress

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, config: Config, run: Path | None = None, *, fresh: bool = False, progress: Progress = silent
    ) -> Iterator[Pipeline]:
        """A pipeline over the locked directory `run` (default ``runs/<model>-<key>``, the key over all settings)."""
        from tinycompress.pipeline.checks import require_sensible

        require_sensible(config)
        path = run or Path("runs") / f"{_model_label(config)}-{digest(config_json(config), __version__)[:10]}"
        with RunDir.open(path, fresh=fresh) as directory:
            yield cls(config, directory, progress)

    @functools.cached_property
    def board(self) -> Board:
        """The board of the run."""
        from tinycompress.pipeline.checks import board_of

        return board_of(self.config)

    @functools.cached_property
    def dataset(self) -> Dataset | None:
        """The user's data, when a source is given."""
        from tinycompress.data import load_data

        source = self.config.data.source
        return None if source is None else load_data(source, seed=self.config.seed)

    # -- import ------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _import_key(self) -> str:
        source = self.config.model.source or ""
        parts: list[Any] = [__version__, config_json(self.config)["model"]]
        for name in (source.partition(":")[0], self.config.model.weights):
            path = Path(name) if name else None
            if path is not None and path.is_file():
                parts.append(file_digest(path))
                parts += _external_facts(path) if self.config.model.external_data else []
            elif path is not None and (path / "graph.json").is_file():
                parts += [file_digest(path / "graph.json"), file_digest(path / "tensors.npz")]
        return digest(*parts)

    @functools.cached_property
    def imported(self) -> Graph | QuantGraph:
        """The network as it was brought."""
        from tinycompress.ir.store import load, save
        from tinycompress.pipeline.loading import load_model

        def make(folder: Path) -> None:
            self.progress("import", self.config.model.source or "")
            save(load_model(self.config.model), folder / "graph")

        return load(self.run.stage("import", self._import_key, make) / "graph")

    # -- compress ----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _compress_key(self) -> str:
        if self.config.compress is None:
            return self._import_key
        settings = config_json(self.config)
        relevant = {k: settings[k] for k in ("compress", "budget", "data", "task", "seed", "board")}
        return digest(self._import_key, relevant, self.dataset.sha256 if self.dataset else None)

    @functools.cached_property
    def _compress_folder(self) -> Path:
        def make(folder: Path) -> None:
            self._require_float()
            from tinycompress.pipeline.advice import advising
            from tinycompress.pipeline.compressing import compress_stage

            with advising(self):
                compress_stage(self, folder, self.run.work("compress", self._compress_key))

        return self.run.stage("compress", self._compress_key, make)

    def _require_float(self) -> None:
        from tinycompress.ir.graph import QuantGraph

        if isinstance(self.imported, QuantGraph):
            raise ConfigError(
                "TC-C132",
                f"{self.imported.name} is quantized already and cannot be compressed",
                where=self.config.model.source,
                fix="bring the float network; `tinycompress deploy` without [compress] takes this one as it is",
            )

    @functools.cached_property
    def compressed(self) -> Graph | QuantGraph:
        """The network after compression (integer after quantization-aware training), or the imported one."""
        from tinycompress.ir.store import load

        return self.imported if self.config.compress is None else load(self._compress_folder / "graph")

    @functools.cached_property
    def float_network(self) -> Graph | None:
        """The float network that accuracy is compared with; None when the network came quantized."""
        from tinycompress.ir.graph import QuantGraph
        from tinycompress.ir.store import load

        graph = self.imported if self.config.compress is None else load(self._compress_folder / "float")
        return None if isinstance(graph, QuantGraph) else graph

    @property
    def compression(self) -> dict[str, Any]:
        """What the compress stage wrote of itself, with its result in sentences as `lines`."""
        import json

        from tinycompress.report.compression import summary_lines

        summary: dict[str, Any] = json.loads((self._compress_folder / "summary.json").read_text(encoding="utf-8"))
        return {**summary, "lines": summary_lines(summary)}

    # -- quantize ----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _quantize_key(self) -> str:
        settings = config_json(self.config)
        relevant = {k: settings[k] for k in ("quantize", "data", "seed")}
        return digest(self._compress_key, relevant, self.dataset.sha256 if self.dataset else None)

    @functools.cached_property
    def quantized(self) -> QuantGraph:
        """The integer network that is deployed."""
        from tinycompress.ir.graph import QuantGraph
        from tinycompress.ir.store import load, save
        from tinycompress.pipeline.quantizing import quantize_for_deployment

        def make(folder: Path) -> None:
            graph = self.compressed
            self.progress("quantize", graph.name)
            save(quantize_for_deployment(graph, self.config, self.dataset), folder / "graph")

        graph = load(self.run.stage("quantize", self._quantize_key, make) / "graph")
        assert isinstance(graph, QuantGraph)
        return graph

    # -- plan and generate -------------------------------------------------------------------------------------------

    @functools.cached_property
    def plan(self) -> Plan:
        """The checked plan for the board."""
        from tinycompress.pipeline.advice import advising
        from tinycompress.pipeline.planning import plan_beside_code, require_macs

        graph, budget, how = self.quantized, self.config.budget, self.config.plan
        with advising(self):
            self.progress("plan", f"{graph.name} for {self.board.id}")
            made = plan_beside_code(graph, self.board, budget, schedule=how.schedule, feed=how.feed)
            require_macs(made, budget)
            return made

    def _plan_beside(self, other_bytes: int) -> Plan:
        """The plan that leaves `other_bytes` of the flash budget to the library's code and other constants."""
        from tinycompress.pipeline.planning import plan_for, weights_limit

        graph, budget, how = self.quantized, self.config.budget, self.config.plan
        self.progress("plan", f"{graph.name} for {self.board.id}, beside {other_bytes} B of code and other constants")
        flash = weights_limit(budget, other_bytes)
        return plan_for(graph, self.board, budget.ram_bytes, flash, schedule=how.schedule, feed=how.feed)

    def analyze(self, *, front: bool = False) -> Analysis:
        """What the network needs on the board, and whether it fits; with `front` what other RAM budgets would buy."""
        from tinycompress.pipeline.advice import advice
        from tinycompress.pipeline.analysis import analyze

        return analyze(
            self.quantized,
            self.board,
            self.config.budget,
            schedule=self.config.plan.schedule,
            feed=self.config.plan.feed,
            front=front,
            advise=lambda error: advice(error, self),
        )

    @functools.cached_property
    def program(self) -> Program:
        """The generated C, in the run directory's `program`."""
        from tinycompress.emit import generate

        made: list[Program] = []

        def make(folder: Path) -> None:
            plan = self.plan
            self.progress("generate", f"C of {plan.graph.name}")
            made.append(generate(plan, folder))

        folder = self.run.remake("program", make)
        return replace(made[0], directory=folder)

    def firmware(self, target: Target, *, hooks: bool = False) -> Firmware:
        """The measuring firmware around the program, in the run directory; with `hooks` it profiles and traces.

        The library without hooks is held to the budgets for RAM and flash: where its code takes what the plan gave to
        weights, planning, generating and building are done once more with that much less. BudgetError TC-B112 when it
        is still too large.
        """
        from tinycompress.pipeline.advice import advising
        from tinycompress.pipeline.planning import excess_flash, require_fit

        firmware = self._build(target, hooks=hooks)
        if hooks:
            return firmware
        if excess_flash(firmware, self.config.budget) > 0:
            with contextlib.suppress(BudgetError):  # require_fit says it in bytes of the library
                self.plan = self._plan_beside(firmware.library_sizes.flash_bytes - self.plan.weights_bytes)
                del self.program
                firmware = self._build(target, hooks=False)
        with advising(self):
            require_fit(self.plan, firmware, self.config.budget)
        return firmware

    def _build(self, target: Target, *, hooks: bool) -> Firmware:
        from tinycompress.pipeline.measuring import build_for

        made: list[Firmware] = []
        name = "firmware-hooks" if hooks else "firmware"
        program, board = self.program, target.firmware_board(self.board)

        def make(folder: Path) -> None:
            self.progress("build", f"{name} for {board.id} with {self.config.build.toolchain}")
            made.append(build_for(program, board, self.config.build.toolchain, folder / "out", hooks=hooks))

        folder = self.run.remake(name, make) / "out"
        return replace(made[0], elf=folder / made[0].elf.name, bin=folder / made[0].bin.name)

    def require(self, target: Target, outputs: Path | None = None) -> None:
        """Raise before the long work what would fail after it: no such board, no model, nowhere to write, no board.

        ConfigError TC-C121, TC-C201, TC-C3xx (data), DeviceError TC-D190, and whatever importing the model raises.
        """
        board, _, _ = self.board, self.dataset, self.imported
        require_writable(outputs)
        target.require(board)

    # -- run ---------------------------------------------------------------------------------------------------------

    def samples(self, inputs: Path | None = None) -> dict[str, Array]:
        """Integer inputs by name to compare on: --inputs, else the test split, else seeded noise and extremes."""
        from tinycompress.pipeline.sampling import integer_samples

        return integer_samples(self.quantized, self.config, self.dataset, inputs)

    def simulate(self, *, inputs: Path | None = None, outputs: Path | None = None) -> HostRun:
        """The program on this machine under sanitizers, every tensor of every sample compared with the reference."""
        from tinycompress.emit.simulate import simulate
        from tinycompress.ir.inputs import source_outputs
        from tinycompress.pipeline.deploying import write_outputs
        from tinycompress.pipeline.measuring import HostRun, compare

        require_writable(outputs)
        samples, program = self.samples(inputs), self.program
        self.progress("simulate", f"{program.prefix} under sanitizers")
        done = simulate(program, samples, self.run.path / "simulate")
        if outputs is not None:
            write_outputs(outputs, source_outputs(done.outputs, self.quantized))
        return HostRun(done.compiler, done.checks, compare(program, samples, done.outputs, done.traces))

    def profile(self, target: Target) -> tuple[Layer, ...]:
        """Work per layer on the target: instructions in an emulator, cycles on a board."""
        from tinycompress.pipeline.measuring import encoded
        from tinycompress.pipeline.reporting import layer_reports

        self.require(target)
        samples, hooked = self.samples(), self.firmware(target, hooks=True)
        self.progress("profile", target.name)
        with target.session(hooked) as session:
            session.write_inputs(encoded(self.quantized, samples, 0))
            cycles = tuple(session.profile())
        return layer_reports(self.plan, cycles, counted=target.emulate)

    def calibrate(self, target: Target) -> Calibration:
        """Cycles per instruction of the board, from this network on it and in the emulator."""
        from tinycompress.pipeline.calibrating import calibrate

        return calibrate(self, target)

    def deploy(self, target: Target, *, inputs: Path | None = None, outputs: Path | None = None) -> Report:
        """Everything: build, flash or emulate, run, compare, score, report.

        MismatchError TC-V101 when a byte differs, BudgetError TC-B110, TC-B111 over a budget that only a run can judge,
        QualityError TC-Q101 below the accuracy floor; the report is written first in each case.
        """
        outcome = self.outcome(target, inputs=inputs, outputs=outputs)
        if outcome.failure is not None:
            raise outcome.failure
        return outcome.report

    def outcome(self, target: Target, *, inputs: Path | None = None, outputs: Path | None = None) -> Outcome:
        """As `deploy`, but what it would raise once there is a report stands beside the report."""
        from tinycompress.pipeline.deploying import deploy

        return deploy(self, target, inputs=inputs, outputs=outputs)


def _external_facts(path: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of the files that hold an ONNX model's weights."""
    if path.suffix != ".onnx":
        return []
    from tinycompress.frontends.onnx_file import external_files

    found = [(file, file.stat()) for file in external_files(path) if file.is_file()]
    return [(str(file), status.st_size, status.st_mtime_ns) for file, status in found]


def _model_label(config: Config) -> str:
    source = config.model.source or "model"
    stem = config.model.name or (source.rpartition(":")[2] if ":" in source else Path(source).stem)
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in stem)[:40] or "model"
