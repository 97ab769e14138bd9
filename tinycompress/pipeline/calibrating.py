"""Cycles per instruction of a board: one network measured on it and counted in the emulator, the same firmware in both.

What the factor cannot know (how another network's mix of kernels meets wait states and caches) is its error.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinycompress.boards import Calibration
from tinycompress.build import Firmware
from tinycompress.pipeline.measuring import encoded
from tinycompress.pipeline.target import Target

if TYPE_CHECKING:
    from tinycompress.pipeline.stages import Pipeline

LEAST_SHARE = 0.01
"""Layers with less of the instructions than this say nothing about the error: the profiler's own work weighs there."""


def calibrate(pipeline: Pipeline, target: Target) -> Calibration:
    """The calibration of the board of the run, from the network of the run.

    Raises what `Target.require`, the build, the probe and the link raise.
    """
    board = pipeline.board
    counting = Target(emulate=True, engine=board.emulator.engine)
    pipeline.require(target)
    counting.require(board)
    firmware, hooked = pipeline.firmware(target), pipeline.firmware(target, hooks=True)
    repeats = pipeline.config.deploy.inferences
    cycles, layer_cycles = _work(pipeline, target, firmware, hooked, repeats)
    instructions, layer_instructions = _work(pipeline, counting, firmware, hooked, 1)
    name = pipeline.quantized.name
    source = f"{name} measured: {cycles:,.0f} cycles for {instructions:,.0f} instructions"
    return fit(cycles, instructions, layer_cycles, layer_instructions, source)


def fit(
    cycles: float, instructions: float, layer_cycles: Sequence[int], layer_instructions: Sequence[int], source: str
) -> Calibration:
    """Cycles per instruction of the whole inference; the error is that of the layer which deviates most from it.

    A network made of nothing but such layers would be estimated that wrongly. Layers under LEAST_SHARE are left out.
    """
    factor = cycles / instructions
    least = LEAST_SHARE * sum(layer_instructions)
    own = [c / i for c, i in zip(layer_cycles, layer_instructions, strict=True) if i >= least]
    error = max(abs(layer / factor - 1) for layer in own)
    return Calibration(round(factor, 4), round(error, 4), source)


def as_toml(calibration: Calibration) -> str:
    """The [calibration] table of a board's file."""
    source = calibration.source.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"[calibration]\ncycles_per_instruction = {calibration.cycles_per_instruction}\n"
        f'error = {calibration.error}\nsource = "{source}"'
    )


def _work(
    pipeline: Pipeline, target: Target, firmware: Firmware, hooked: Firmware, repeats: int
) -> tuple[float, list[int]]:
    """Cycles (or instructions) of one inference, the median of `repeats`, and those of each layer."""
    graph = pipeline.quantized
    inputs = encoded(graph, pipeline.samples(), 0)
    pipeline.progress("measure", target.name)
    with target.session(firmware) as session:
        session.write_inputs(inputs)
        whole = statistics.median(session.measure(repeats).cycles)
    pipeline.progress("profile", target.name)
    with target.session(hooked) as session:
        session.write_inputs(inputs)
        return whole, session.profile()
