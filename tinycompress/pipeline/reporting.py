"""Puts a run's facts into a report; and the accuracy of float model, reference and target on the test split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinycompress import __version__
from tinycompress.config import BudgetSection
from tinycompress.cost.macs import graph_shapes as shapes_of
from tinycompress.cost.macs import macs, op_macs
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.store import graph_sha256
from tinycompress.plan.feed import feed_work
from tinycompress.plan.model import LayerPlan, Plan
from tinycompress.report import model as m

if TYPE_CHECKING:  # they bring the ELF reader and the emulator, which planning does without
    from tinycompress.build import Firmware
    from tinycompress.pipeline.measuring import TargetRun
    from tinycompress.pipeline.target import Target


def layer_reports(plan: Plan, cycles: tuple[int, ...] | None, *, counted: bool) -> tuple[m.Layer, ...]:
    """One entry per layer of the plan; `cycles` are instructions when `counted`."""
    shapes = shapes_of(plan.graph)
    live: dict[int, int] = {}
    for step, size in zip(plan.steps, plan.live_bytes, strict=True):
        live[step.layer] = max(size, live.get(step.layer, 0))

    def entry(layer: LayerPlan) -> m.Layer:
        work = cycles[layer.index] if cycles is not None else None
        return m.Layer(
            index=layer.index,
            name=layer.op.name,
            op=layer.op.kind,
            kernel=layer.kernel.name,
            macs=int(op_macs(layer.op, shapes)),
            weights_bytes=layer.packed.weights_bytes,
            scratch_bytes=layer.scratch_bytes,
            live_bytes=live.get(layer.index, 0),
            instructions=work if counted else None,
            cycles=None if counted else work,
            output_shape=shapes[layer.op.outputs[0]],
        )

    return tuple(entry(layer) for layer in plan.layers)


def model_report(plan: Plan) -> m.Model:
    """The deployed network's identity and size."""
    graph = plan.graph
    inputs = tuple(_port(graph, i.tensor, i.source_layout) for i in graph.inputs)
    outputs = tuple(_port(graph, name, graph.output_layout(name)) for name in graph.outputs)
    return m.Model(graph.name, graph_sha256(graph), macs(graph), graph.parameters, inputs, outputs)


def _port(graph: QuantGraph, name: str, layout: str) -> m.Port:
    tensor = graph.tensors[name]
    q = tensor.qparams
    scale, zero_point = (q.tensor_scale, q.tensor_zero_point) if q else (None, None)
    return m.Port(name, tensor.shape, tensor.dtype.value, scale, zero_point, layout)


def ram_report(plan: Plan, firmware: Firmware) -> m.Ram:
    """RAM of the library: arena from the plan, static bytes from the ELF, worst-case stack from the call graph."""
    static = firmware.library_sizes.ram_bytes
    return m.Ram(
        arena_bytes=plan.arena_bytes,
        arena_lower_bound_bytes=plan.arena_lower_bound_bytes,
        arena_is_optimal=plan.arena_is_optimal,
        bound_scope=plan.bound_scope,
        io_bytes=0,
        state_bytes=plan.state_bytes,
        static_bytes=static,
        stack_bytes=firmware.stack.bytes,
        total_bytes=plan.arena_bytes + plan.state_bytes + static,
    )


def feed_notes(plan: Plan) -> tuple[str, ...]:
    """What a reader must know of a plan whose input is fed by rows; nothing where it is resident."""
    if plan.fed_input is None:
        return ()
    placement, work = plan.placements[plan.fed_input], feed_work(plan)
    rows, size = len(placement.offsets), placement.row_bytes
    return (
        f"input {plan.fed_input} is fed by rows, {rows} of {size} B: the arena holds only those still needed; the "
        f"{rows * size:,} B from which the measuring firmware copies them are not RAM of the library",
        f"{work.after_last:,} of {work.total:,} MACs are left when the last row arrives, at most {work.largest:,} "
        "after any row",
    )


def flash_report(plan: Plan, firmware: Firmware) -> m.Flash:
    """Flash of the library in the ELF; all its constants but the packed weights are `constants_bytes`."""
    sizes = firmware.library_sizes
    constants = sizes.rodata_bytes + sizes.data_bytes
    weights = min(plan.weights_bytes, constants)  # the linker may leave out an array that no code reads
    return m.Flash(sizes.code_bytes, weights, sizes.flash_bytes, constants - weights)


def build_report(
    plan: Plan,
    firmware: Firmware,
    run: TargetRun,
    target: Target,
    *,
    imported: Graph,
    seed: int,
    dataset_sha256: str | None,
    accuracy: m.Accuracy | None,
    budget: BudgetSection,
) -> m.Report:
    """The whole report of one deployment."""
    board = firmware.board
    counted = m.Counted(run.cycles[0]) if target.emulate else None
    report = m.Report(
        schema=m.SCHEMA,
        provenance=m.Provenance(
            __version__,
            firmware.compiler,
            firmware.flags,
            target.name if target.emulate else None,
            seed,
            dataset_sha256,
        ),
        model=model_report(plan),
        board=board.id,
        target=target.name,
        rounding=plan.graph.rounding.value,
        ram=ram_report(plan, firmware),
        flash=flash_report(plan, firmware),
        firmware=m.FirmwareSize(firmware.firmware_sizes.ram_bytes, firmware.firmware_sizes.flash_bytes),
        counted=counted,
        estimated=_estimate(counted, firmware),
        measured=None if target.emulate else _measured(run),
        layers=layer_reports(plan, run.layer_cycles, counted=target.emulate),
        validation=run.validation,
        accuracy=accuracy,
        notes=(*imported.notes, *(n for n in plan.graph.notes if n not in imported.notes), *feed_notes(plan)),
        capacity=m.Capacity(board.ram_bytes, board.flash_bytes),
    )
    return m.check(replace(report, limits=_limits(report, plan, budget)))


def _limits(report: m.Report, plan: Plan, budget: BudgetSection) -> tuple[m.Limit, ...]:
    """Every budget that is set, with what was used of it."""
    if report.measured is not None:
        late: float | None = report.measured.p95_ms
    else:
        late = report.estimated.latency_ms * (1 + report.estimated.error) if report.estimated else None
    used: dict[str, tuple[float | None, str]] = {
        "ram_bytes": (report.ram.total_bytes, "exact"),
        "flash_bytes": (report.flash.total_bytes, "exact"),
        "weights_bytes": (plan.weights_bytes, "exact"),
        "macs": (report.model.macs, "exact"),
        "instructions": (report.counted.instructions if report.counted else None, "counted"),
        "latency_ms": (late, "measured" if report.measured else "estimated"),
        "min_accuracy": (report.accuracy.int8 if report.accuracy else None, "computed"),
    }
    asked = budget.model_dump(exclude_none=True)
    return tuple(m.Limit(name, float(limit), *used[name]) for name, limit in asked.items())


def _estimate(counted: m.Counted | None, firmware: Firmware) -> m.Estimated | None:
    calibration = firmware.board.calibration
    if counted is None or calibration is None:
        return None
    cycles = counted.instructions * calibration.cycles_per_instruction
    basis = f"counted instructions x {calibration.cycles_per_instruction} cycles each ({calibration.source})"
    return m.Estimated(cycles * 1e3 / firmware.board.clock_hz, calibration.error, basis)


def _measured(run: TargetRun) -> m.Measured:
    times = np.asarray(run.cycles, dtype=np.float64) * 1e3 / run.clock_hz
    return m.Measured(
        clock_hz=run.clock_hz,
        n=len(times),
        median_ms=float(np.median(times)),
        p95_ms=float(np.percentile(times, 95)),
        min_ms=float(times.min()),
        max_ms=float(times.max()),
        stack_bytes=run.stack_bytes,
    )
