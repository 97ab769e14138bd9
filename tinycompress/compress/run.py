"""compress(): teacher, pruning during training, distillation, controls, quantization, verdict; stage by stage."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinycompress.compress.augment import augment
from tinycompress.compress.checkpoint import Checkpoint
from tinycompress.compress.distill.rewinding import masks_of, open_masks, prune_magnitude, sparsity
from tinycompress.compress.groups import find_groups
from tinycompress.compress.network import Network, initialise
from tinycompress.compress.paper import PaperModel
from tinycompress.compress.prune.hook import PruneHook, PruneReport
from tinycompress.compress.prune.hooks import HOOKS
from tinycompress.compress.prune.repair import excess
from tinycompress.compress.recipe import Recipe, TrainSettings
from tinycompress.compress.result import CompressResult, StageLine
from tinycompress.compress.sizing import Sizing
from tinycompress.compress.stages import Stage, Stages
from tinycompress.compress.task import Budget, Task
from tinycompress.compress.team import Team, join
from tinycompress.compress.train import (
    Objective,
    Progress,
    Trainer,
    choose_device,
    float_score,
    resolve_smoothing,
    silent,
    training_targets,
)
from tinycompress.compress.verdict import calibrated, calibration_batches, integer_score, plan_within
from tinycompress.errors import BudgetError, ConfigError, QualityError
from tinycompress.execute.torch_module import GraphModule
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.store import graph_sha256
from tinycompress.passes import prepare_for_deployment, prepare_for_training
from tinycompress.quantize.qat import QatTraining, convert, prepare_qat
from tinycompress.rundir import digest


def compress(
    graph: Graph,
    task: Task,
    budget: Budget | None = None,
    recipe: Recipe | None = None,
    *,
    teacher: Graph | None = None,
    directory: Path | None = None,
    progress: Progress = silent,
    has_dsp: bool = True,
    clock_hz: float = 216e6,
) -> CompressResult:
    """A physically smaller `graph` inside every budget, trained as the recipe says.

    `teacher` is another network to distil from (else the graph itself, when the recipe asks for a teacher). With a
    `directory` every stage is stored and an interrupted run goes on: same inputs and thread count, same result. Memory
    is judged by the exact plan, instructions and latency (at `clock_hz`) by the estimate, accuracy by the integer
    reference on the test split.

    In processes that torchrun started, each calls this with the same arguments, all train together and return the same
    result; only the first one writes to `directory` and reports progress.

    Raises BudgetError TC-B201 (no network this small exists; names the nearest budget), TC-B202 (the result does not
    fit), QualityError TC-Q101 (accuracy floor missed), TC-Q102 (training diverged), ConfigError TC-C3xx (data).
    """
    recipe, budget = recipe or Recipe(), budget or Budget()
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    team = join()
    run = _Run(
        prepare_for_training(graph), task, budget, recipe, progress if team.leads else silent, has_dsp, clock_hz,
        directory if team.leads else None, teacher, team,
    )  # fmt: skip
    if not team.leads:
        return run.follow()
    result = run.result()
    team.tell(result)
    return result


@dataclass(frozen=True)
class _Job:
    """A training run that the first process begins and the others join; without `settings` it is the one of qat."""

    name: str
    graph: Graph
    teacher: Graph | None
    settings: TrainSettings | None = None
    is_pruned: bool = False
    masks: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class _Run:
    source: Graph
    task: Task
    budget: Budget
    recipe: Recipe
    progress: Progress
    has_dsp: bool
    clock_hz: float
    directory: Path | None
    teacher_source: Graph | None
    team: Team
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = self.budget.resources
        self.sizing = Sizing(self.limits, self.recipe, self.has_dsp, self.clock_hz)
        self.device = choose_device(self.recipe.device, self.team)
        folder = None if self.directory is None else self.directory / self._key()[:16]
        self.stages = Stages(folder)
        if self.recipe.student.widths != "full" and self.recipe.teacher.kind not in ("pruned", "candidates"):
            raise ConfigError(
                "TC-C351",
                f"widths {self.recipe.student.widths!r} come from a pruned teacher, teacher.kind is "
                f"{self.recipe.teacher.kind!r}",
                where="compress.student.widths",
                fix="set teacher.kind to 'pruned' or 'candidates'",
            )
        self.task.check_network(self.source)
        if self.teacher_source is not None:
            _check_teacher(self.teacher_source, self.source)

    def _key(self) -> str:
        loss = self.task.loss_name
        task = [self.task.name, self.task.kind, getattr(loss, "__qualname__", loss), self.task.metric_name]
        parts: list[Any] = [self.recipe.model_dump(mode="json"), self.limits, graph_sha256(self.source), task]
        parts += [self.has_dsp, self.clock_hz]
        if self.teacher_source is not None:
            parts.append(graph_sha256(self.teacher_source))
        arrays = [array for split in (self.task.train, self.task.val) for array in split.arrays]
        return digest(*parts, *(np.ascontiguousarray(a).tobytes() for a in arrays))

    # -- training ----------------------------------------------------------------------------------------------------

    def train(
        self,
        name: str,
        graph: Graph,
        settings: TrainSettings,
        *,
        teacher: Network | None = None,
        hook: PruneHook | None = None,
        masks: Mapping[str, Tensor] | None = None,
    ) -> Trainer:
        """Trains `graph` to the end of `settings`, with the other processes of a team, and returns the trainer."""
        soft = None if teacher is None else teacher.graph()
        closed = {op: mask.cpu() for op, mask in (masks or {}).items()}
        self.team.tell(_Job(name, graph, soft, settings, hook is not None, closed))
        objective = Objective(self.task, None, self.recipe.distill, graph=graph)
        trainer = Trainer(
            graph, self.task, settings, self.device, self.recipe.seed, self.recipe.augment, objective, hook,
            self.stages.checkpoint(name), name, self.progress, masks or {}, self.team,
        )  # fmt: skip
        objective.smoothing = resolve_smoothing(settings, teacher, trainer.inputs)
        objective.teacher = teacher if self.recipe.distill.is_on else None
        trainer.run()
        return trainer

    def follow(self) -> CompressResult:
        """Trains with the first process whatever it begins, until it has the result; returns that."""
        while not isinstance(job := self.team.hear(), CompressResult):
            teacher = None if job.teacher is None else Network(job.teacher, self.device)
            with contextlib.suppress(QualityError):  # the first process has the same loss, and says so
                if job.settings is None:
                    self._train_aware(job.graph, teacher)
                    continue
                masks = {op: mask.to(self.device) for op, mask in job.masks.items()}
                hook = self._hook() if job.is_pruned else None
                self.train(job.name, job.graph, job.settings, teacher=teacher, hook=hook, masks=masks)
        return job

    def _trained(self, trainer: Trainer, **facts: Any) -> tuple[Graph, float, dict[str, Any]]:
        return trainer.network.graph(), trainer.scores(self.task.val), facts

    # -- teacher -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def start(self) -> Graph:
        """The network that is compressed, before any training of ours."""
        return self.source if self.recipe.initial == "weights" else initialise(self.source, self.recipe.seed)

    @functools.cached_property
    def teachers(self) -> list[tuple[str, Graph]]:
        """Candidate teachers, dense first: (name, graph). Empty when the recipe has none."""
        settings = self.recipe.teacher
        if settings.kind == "none":
            return []
        base = self.start if self.teacher_source is None else prepare_for_training(self.teacher_source)
        if self.teacher_source is not None and self.recipe.initial != "weights":
            base = initialise(base, self.recipe.seed)
        dense = self.stages.run("teacher", lambda: self._trained(self.train("teacher", base, settings.train)))
        found = [("dense", dense.graph)]
        if settings.kind == "dense":
            return found
        for number in range(1, settings.rounds + 1):
            stage = self.stages.run(f"teacher-{number}", functools.partial(self._rewind, found[-1][1], number))
            found.append((f"round {number}", stage.graph))
        return found

    def _rewind(self, before: Graph, number: int) -> tuple[Graph, float, dict[str, Any]]:
        """One round: the smallest weights go, then the whole learning-rate schedule runs again from these weights."""
        network = Network(before, self.device)
        masks = open_masks(network) if number == 1 else masks_of(network)
        masks = prune_magnitude(network, masks, self.recipe.teacher.fraction)
        trainer = self.train(f"teacher-{number}", before, self.recipe.teacher.train, masks=masks)
        alive = sparsity(trainer.network, masks)
        facts = {"density": alive.density, "surviving": dict(alive.per_constant)}
        return self._trained(trainer, **facts)

    @functools.cached_property
    def teacher(self) -> Network | None:
        """The teacher in use: the last one, or the one whose trial student validates best."""
        if not self.teachers:
            return None
        name, graph = self.teachers[-1]
        if self.recipe.teacher.kind == "candidates":
            name, graph = max(self.teachers, key=lambda candidate: self._trial(*candidate))
            self.notes.append(f"teacher chosen by the student's validation score: {name}")
        return Network(graph, self.device)

    def _trial(self, name: str, graph: Graph) -> float:
        short = self.recipe.train.model_copy(update={"epochs": self.recipe.teacher.trial_epochs})
        student = self.sizing.uniform(self.start)
        label = f"trial-{name.replace(' ', '-')}"
        teacher = Network(graph, self.device)
        return self.stages.run(label, lambda: self._trained(self.train(label, student, short, teacher=teacher))).score

    # -- student -----------------------------------------------------------------------------------------------------

    def student(self) -> Graph:
        """The trained, pruned float network; of two candidates the one that validates better."""
        base = self.start
        if self.recipe.initial == "teacher" and self.teachers and self.teacher_source is None:
            base = self.teachers[0][1]
        begun, hook = base, self._hook()
        if self.recipe.student.widths != "full":
            assert self.teacher is not None
            begun = self.sizing.from_teacher(base, self.teacher)
        if self._method == "uniform":
            begun = self.sizing.uniform(begun)
        if self._method != self.recipe.prune.method:
            self.notes.append("no channels of this network can be pruned: its widths stay")
        if hook is None:
            self.sizing.check_fits(begun)
        stage = self.stages.run("student", functools.partial(self._student, "student", begun, hook))
        self.notes += stage.facts.get("prune", {}).get("warnings", [])
        return self._control(self._better(stage, base) if hook is not None else stage.graph)

    def _better(self, pruned: Stage, base: Graph) -> Graph:
        """The pruned network, or the uniform one where the recipe asks for it and it validates better."""
        choice, is_tight = self.recipe.student.uniform, self.sizing.is_tight(self.start)
        if choice == "never" and is_tight:
            self.notes.append(
                "the smallest network takes over half of a budget: student.uniform = 'tight' may do better"
            )
        if choice == "never" or (choice == "tight" and not is_tight):
            return pruned.graph
        name = "student-uniform"
        make = functools.partial(self._student, name, self.sizing.uniform(base), None)
        uniform = self.stages.run(name, make)
        kept = uniform if uniform.score > pruned.score else pruned
        scores = f"{pruned.score:.4f} pruned, {uniform.score:.4f} uniform"
        self.notes.append(f"{kept.name} is kept: {self.task.metric_name} on validation {scores}")
        return kept.graph

    @property
    def _method(self) -> str:
        """The recipe's way of pruning, none where no channels can be pruned."""
        return self.recipe.prune.method if find_groups(self.source).prunable else "none"

    def _hook(self) -> PruneHook | None:
        """What prunes during training; None when the recipe's method does not, or nothing is limited."""
        settings, epochs = self.recipe.prune, self.recipe.train.epochs
        if self._method in ("none", "uniform") or not self.limits:
            return None
        sizing = self.sizing
        return HOOKS[settings.method](settings, self.limits, sizing.model, epochs, self.recipe.seed, sizing.fits)

    def _student(self, name: str, base: Graph, hook: PruneHook | None) -> tuple[Graph, float, dict[str, Any]]:
        trainer = self.train(name, base, self.recipe.train, teacher=self.teacher, hook=hook)
        widths = trainer.network.groups.widths()
        report = PruneReport(find_groups(self.start).widths(), widths) if hook is None else hook.report
        curve = [[line.epoch, line.loss, line.score, line.seconds, line.parameters] for line in trainer.history]
        return self._trained(trainer, prune=vars(report), curve=curve)

    def _control(self, student: Graph) -> Graph:
        """The final shape trained anew (Scratch-E or Scratch-B) when the recipe asks for that control."""
        if self.recipe.control == "none":
            return student
        settings = self.recipe.train
        if self.recipe.control == "scratch-b":
            ratio = self.sizing.use(self.start)["macs"] / self.sizing.use(student)["macs"]
            epochs = round(settings.epochs * min(self.recipe.scratch_cap, ratio))
            settings = settings.model_copy(update={"epochs": epochs})
        fresh = initialise(student, self.recipe.seed + 1)
        name = self.recipe.control
        return self.stages.run(
            name, lambda: self._trained(self.train(name, fresh, settings, teacher=self.teacher), epochs=settings.epochs)
        ).graph

    # -- verdict -----------------------------------------------------------------------------------------------------

    def result(self) -> CompressResult:
        """Runs everything that is not stored yet, and judges it; what is raised knows the stages that were done."""
        try:
            return self._judged()
        except (BudgetError, QualityError) as error:
            if self.stages.done:
                error.known = {**error.known, "stages": [vars(line) for line in self._lines()]}
            raise

    def _judged(self) -> CompressResult:
        self.sizing.check_feasible(self.start)
        graph = self.student()
        quantized, trained = self._quantized(graph)
        groups = find_groups(graph)
        use = self.sizing.use(graph)
        plan = plan_within(quantized, self.limits, use["flash_bytes"] - use["weights_bytes"], has_dsp=self.has_dsp)
        use["flash_bytes"] += plan.weights_bytes - use["weights_bytes"]
        use |= {"arena_bytes": plan.arena_bytes, "weights_bytes": plan.weights_bytes}
        use["ram_bytes"] = plan.arena_bytes + plan.state_bytes
        missed = {n: e for n, e in excess(use, self.limits).items() if e > 0}
        if missed:
            listed = ", ".join(f"{n} {use[n]:.0f} of {self.limits[n]:.0f}" for n in missed)
            raise BudgetError("TC-B202", f"the result is over its budget: {listed}", fix="raise prune.safety")
        floating = float_score(Network(graph, self.device), self.task, self.task.test)
        score = integer_score(quantized, self.task, self.task.test)
        floor = self.budget.min_accuracy
        if floor is not None and not score >= floor:
            raise QualityError(
                "TC-Q101",
                f"{self.task.metric_name} of the integer network is {score:.4f}, {floor - score:.4f} below the floor "
                f"of {floor:.4f} (float {floating:.4f}, {len(self.task.test)} samples)",
                fix="train longer, distil from a better teacher, or allow a larger network",
            )
        paper = {n: float(v) for n, v in PaperModel(graph, groups).evaluate({}).items()}
        return CompressResult(
            graph, quantized, self.recipe, trained, self.task.metric_name, floating, score, len(self.task.test), use,
            paper, self.limits, groups.widths(), tuple(self._lines()), tuple(self.notes),
        )  # fmt: skip

    def _quantized(self, graph: Graph) -> tuple[QuantGraph, bool]:
        """The integer network: quantization-aware training when the recipe asks for it, else calibration."""
        if self.recipe.qat.epochs == 0:
            return calibrated(graph, self.task), False
        quantized = self.stages.run("qat", functools.partial(self._aware, graph)).graph
        assert isinstance(quantized, QuantGraph)
        return quantized, True

    def _aware(self, graph: Graph) -> tuple[Graph, float, dict[str, Any]]:
        module = self._train_aware(graph, self.teacher if self.recipe.distill.is_on else None)
        quantized = prepare_for_deployment(convert(module))
        return quantized, integer_score(quantized, self.task, self.task.val), {}

    def _train_aware(self, graph: Graph, teacher: Network | None) -> GraphModule:
        """Quantization-aware training of `graph`, with the other processes of a team."""
        self.team.tell(_Job("qat", graph, None if teacher is None else teacher.graph()))
        settings = self.recipe.qat
        network = Network(graph, self.device)
        module = prepare_qat(graph, calibration_batches(graph, self.task), method=settings.method).to(self.device)
        training = QatTraining(
            module, network.inputs(self.task.train.samples), training_targets(self.task, self.device),
            Objective(self.task, teacher, self.recipe.distill, graph=graph), epochs=settings.epochs,
            batch=settings.batch, learning_rate=settings.lr, seed=self.recipe.seed, team=self.team,
            augment=lambda batch, generator: augment(batch, self.recipe.augment, generator),
        )  # fmt: skip
        checkpoint = Checkpoint(self.stages.checkpoint("qat"), self.team, self.device)
        checkpoint.resume(training)
        for epoch in range(training.done, settings.epochs):
            loss = training.epoch()
            self.progress("qat", f"epoch {epoch + 1}/{settings.epochs}, loss {loss:.4f}", (epoch + 1) / settings.epochs)
            checkpoint.keep(training, epoch)
        return module

    def _lines(self) -> list[StageLine]:
        lines = []
        for stage in self.stages.done:
            resources = {} if isinstance(stage.graph, QuantGraph) else self.sizing.use(stage.graph)
            lines.append(
                StageLine(stage.name, stage.score, stage.graph.parameters, resources, stage.seconds, stage.facts)
            )
        return lines


def _check_teacher(teacher: Graph, student: Graph) -> None:
    """ConfigError TC-C315 when the teacher does not take and give what the student does."""

    def edges(graph: Graph) -> list[list[int]]:
        return [list(graph.tensors[name].shape) for name in (*graph.input_names, *graph.outputs)]

    if edges(teacher) != edges(student):
        raise ConfigError(
            "TC-C315",
            f"the teacher's inputs and outputs are {edges(teacher)}, the network's {edges(student)}",
            where=teacher.name,
            fix="take a teacher of the same task: same input, same outputs",
        )
