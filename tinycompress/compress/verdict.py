"""The last word on a compressed network: the exact plan of its integer form, and its accuracy in the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycompress.compress.task import Task
from tinycompress.data import Split, spread
from tinycompress.data.dataset import Array
from tinycompress.errors import BudgetError
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.inputs import real_batches, source_outputs
from tinycompress.passes import prepare_for_deployment
from tinycompress.plan.model import Plan
from tinycompress.plan.planner import plan
from tinycompress.quantize.evaluate import predict
from tinycompress.quantize.ptq import quantize

CALIBRATION_SAMPLES = 256


def calibrated(graph: Graph, task: Task) -> QuantGraph:
    """`graph` quantized after training, calibrated on samples spread evenly over the training split."""
    return prepare_for_deployment(quantize(graph, calibration_batches(graph, task)))


def calibration_batches(graph: Graph, task: Task) -> dict[str, Array]:
    """Real inputs by name, of samples spread evenly over the training split."""
    chosen = spread(len(task.train), CALIBRATION_SAMPLES)
    return real_batches(task.train.take(chosen).samples, graph)


def integer_score(graph: QuantGraph, task: Task, split: Split) -> float:
    """The task's metric of the integer network, executed by the reference that every target must equal."""
    return score_integers(graph, task, split, predict(graph, real_batches(split.samples, graph)))


def score_integers(graph: QuantGraph, task: Task, split: Split, outputs: Mapping[str, Array]) -> float:
    """The task's metric of integer outputs by name, whoever computed them."""
    real = {name: dequantize_values(outputs[name], graph.tensors[name].quantization) for name in graph.outputs}
    return score_reals(graph, task, split, real)


def score_reals(graph: Graph, task: Task, split: Split, outputs: Mapping[str, Array]) -> float:
    """The task's metric of real outputs by name.

    Targets have the axis order of the user's model; an autoencoder's are its inputs, channels last like the outputs.
    """
    found = {name: outputs[name] for name in graph.outputs}
    if task.kind != "autoencoder":
        found = source_outputs(found, graph)
    given, seen = (tuple(arrays.values()) for arrays in (found, real_batches(split.samples, graph)))
    return task.score(given[0] if len(given) == 1 else given, split, seen[0] if len(seen) == 1 else seen)


def plan_within(graph: QuantGraph, budget: Mapping[str, float], code_bytes: float, *, has_dsp: bool = True) -> Plan:
    """The plan under the memory budgets; what flash leaves after `code_bytes` is for weights.

    Raises BudgetError TC-B101 or TC-B102 naming the layer when the network does not fit.
    """
    weights = [budget[n] - spent for n, spent in (("weights_bytes", 0.0), ("flash_bytes", code_bytes)) if n in budget]
    ram = int(budget["ram_bytes"]) if "ram_bytes" in budget else None
    limit = max(0, int(min(weights))) if weights else None
    return plan(graph, has_dsp=has_dsp, ram_bytes=ram, flash_bytes=limit)


def fits(graph: Graph, budget: Mapping[str, float], code_bytes: float, *, has_dsp: bool = True) -> bool:
    """Whether the integer form of a float graph has a plan inside the memory budgets; its weights do not matter."""
    rng = np.random.default_rng(0)
    samples = tuple(rng.standard_normal((2, *graph.tensors[n].shape)).astype(np.float32) for n in graph.input_names)
    quantized = prepare_for_deployment(quantize(graph, samples, weights="minmax", activations="minmax"))
    try:
        plan_within(quantized, budget, code_bytes, has_dsp=has_dsp)
    except BudgetError:
        return False
    return True
