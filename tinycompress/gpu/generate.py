"""A QuantGraph as a CUDA program: one .cu, one header of weights, and the kernels they include."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tinycompress import __version__, assets
from tinycompress.emit.describe import operator_text, shape_text, tensor_text
from tinycompress.emit.names import Names, prefix_for
from tinycompress.emit.render import kernel_closure, render
from tinycompress.errors import ConfigError, UnsupportedOpError
from tinycompress.gpu.contexts import NetworkContext, StepContext, TensorContext
from tinycompress.gpu.lowering import Lowering
from tinycompress.gpu.masks import as_rows, find_layers, is_two_of_four
from tinycompress.gpu.operators import LOWER, obstacles
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.store import graph_sha256

_SHORT_SHA = 12
SWEEP = "tc_gpu_sweep.cu"
_RESERVED = ("constants", "tensors", "steps", "inputs", "outputs", "main", "run", "g", "layer")


@dataclass(frozen=True)
class GpuSource:
    """A generated program: its directory, the .cu file, and the activations in the order of their numbers."""

    directory: Path
    source: Path
    graph: QuantGraph
    sparse: tuple[str, ...]
    tensors: tuple[str, ...]


def generate_cuda(graph: QuantGraph, directory: Path, *, sparse: Collection[str] | None = None) -> GpuSource:
    """Writes the CUDA program of `graph` into `directory` (made when absent); the same graph gives the same bytes.

    `sparse` names the layers that run as 2:4; by default every eligible layer whose weights have the pattern, () for a
    dense program. UnsupportedOpError TC-M590 lists everything that has no kernel; ConfigError TC-C402 for a layer in
    `sparse` that is not eligible or not 2:4.
    """
    problems = obstacles(graph)
    if problems:
        raise UnsupportedOpError("TC-M590", "; ".join(problems), where=graph.name)
    chosen = _sparse_layers(graph, sparse)
    context = network_context(graph, chosen)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / f"{context.prefix}_gpu.cu"
    files = {
        source.name: render("gpu_network.cu.j2", n=context),
        f"{context.prefix}_gpu_weights.h": render("gpu_weights.h.j2", n=context),
        **kernel_files(),
    }
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")
    return GpuSource(directory, source, graph, chosen, tuple(_activations(graph)))


def kernel_files() -> dict[str, str]:
    """The hand-written headers a program includes, unmodified, by file name."""
    own = {path.name: path.read_text(encoding="utf-8") for path in sorted(_kernels().glob("*.h"))}
    return own | kernel_closure({"tc_layer_norm.h", "tc_matmul.h", "tc_softmax.h"})


def write_sweep(directory: Path) -> Path:
    """The program that times square products (tc_gpu_sweep.cu) with its headers, in `directory` (made when absent)."""
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / SWEEP
    for name, text in {SWEEP: (_kernels() / SWEEP).read_text(encoding="utf-8"), **kernel_files()}.items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")
    return source


def _kernels() -> Path:
    return assets.directory("codegen") / "kernels" / "cuda"


def sparse_candidates(graph: QuantGraph) -> tuple[str, ...]:
    """Eligible layers whose integer weights are 2:4."""
    return tuple(
        layer.name
        for layer in find_layers(graph)
        if layer.is_eligible and is_two_of_four(as_rows(graph.tensors[layer.weights].constant))
    )


def _sparse_layers(graph: QuantGraph, wanted: Collection[str] | None) -> tuple[str, ...]:
    possible = sparse_candidates(graph)
    if wanted is None:
        return possible
    wrong = sorted(set(wanted) - set(possible))
    if wrong:
        known = {layer.name: layer.reason or "its weights are not 2:4" for layer in find_layers(graph)}
        reasons = "; ".join(f"{name}: {known.get(name, 'there is no such layer')}" for name in wrong)
        raise ConfigError("TC-C402", reasons, where=graph.name, fix="prune the layer to 2:4, or leave it dense")
    return tuple(name for name in possible if name in set(wanted))


def _activations(graph: QuantGraph) -> list[str]:
    return [*graph.input_names, *(name for op in graph.ops for name in op.outputs)]


def _tensors(graph: QuantGraph, names: Names) -> tuple[TensorContext, ...]:
    found: list[TensorContext] = []
    numbers: dict[str, int] = {}
    views = {op.output: op.inputs[0] for op in graph.ops if isinstance(op, o.Reshape)}
    for number, name in enumerate(_activations(graph)):
        tensor = graph.tensors[name]
        numbers[name] = number
        alias = found[numbers[views[name]]].alias if name in views else number
        index = names.fresh(f"T_{name}").upper()
        found.append(TensorContext(name, index, tensor.bytes, alias, f"{name}: {tensor_text(tensor)}"))
    return tuple(found)


def network_context(graph: QuantGraph, sparse: Collection[str]) -> NetworkContext:
    """What the templates print."""
    prefix = prefix_for(graph.name)
    names = Names(_RESERVED)
    tensors = _tensors(graph, names)
    index = {tensor.name: tensor.index for tensor in tensors}
    lowering = Lowering(graph, sparse, index, names)
    steps = []
    for op in graph.ops:
        if isinstance(op, o.Reshape):
            continue
        made = ", ".join(shape_text(graph.tensors[n]) for n in op.outputs)
        taken = ", ".join(shape_text(graph.tensors[n]) for n in op.inputs if not graph.tensors[n].is_constant)
        pattern = "   2:4" if op.name in sparse else ""
        comment = [f"{op.name}   {operator_text(op, graph)}   {taken} -> {made}{pattern}"]
        if op.source:
            comment.append(" from " + " + ".join(f'"{s}"' for s in op.source))
        function = names.fresh(f"launch_{op.name}")
        steps.append(StepContext(op.name, function, tuple(comment), tuple(LOWER[type(op)](op, lowering))))
    return NetworkContext(
        version=__version__,
        model=graph.name,
        model_sha=graph_sha256(graph)[:_SHORT_SHA],
        prefix=prefix,
        macro=prefix.upper(),
        rounding=graph.rounding.value,
        is_single_rounding=graph.rounding is Rounding.SINGLE,
        sparse_note=f"{len(sparse)} of {len(find_layers(graph))} layers with weights",
        constants=tuple(lowering.constants),
        tensors=tensors,
        steps=tuple(steps),
        inputs=tuple(index[name] for name in graph.input_names),
        outputs=tuple(index[name] for name in graph.outputs),
    )
