"""Cuts a float head and tail off an integer core, at Quantize and Dequantize.

Converters leave float edges around quantized models: the input is quantized by the first operator, the output
dequantized (or softmaxed in float) by the last ones. Deployed code is integer only, so those operators stay with the
user; what was cut is said in the graph's notes and the input remembers that its data is float.
"""

from __future__ import annotations

from dataclasses import replace

from tinycompress.errors import ModelError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput
from tinycompress.ir.tensor import DType


def has_integer_core(graph: Graph) -> bool:
    """Whether any operator computes on integers."""
    return any(all(_is_integer(graph, n) for n in (*op.inputs, *op.outputs)) for op in graph.ops)


def require_float(graph: Graph) -> None:
    """Raise ModelError TC-M208 when a network without an integer core has a quantized input or output all the same."""
    for name in (*graph.input_names, *graph.outputs):
        tensor = graph.tensors[name]
        if tensor.dtype in (DType.INT8, DType.INT16):
            raise ModelError(
                "TC-M208",
                f"{name} is {tensor.dtype.value}, but no operator computes on integers",
                where=graph.name,
                fix="convert the model with float inputs and outputs, or with its operators quantized",
            )


def cut_float_edges(graph: Graph) -> Graph:
    """`graph` without the float operators before its first and after its last integer tensors.

    Float operators between integer ones stay (and `ir.verify.to_quant_graph` names them).
    """
    return _cut_tail(_cut_head(graph))


def _is_integer(graph: Graph, name: str) -> bool:
    return graph.tensors[name].dtype is not DType.FLOAT32


def _cut_head(graph: Graph) -> Graph:
    """Quantized tensors made from float inputs alone become the inputs."""
    from_float = {n for n in graph.input_names if not _is_integer(graph, n)}
    origin = {n: n for n in from_float}
    entries: dict[str, str] = {}
    removed: set[str] = set()
    for op in graph.ops:
        activations = [n for n in op.inputs if not graph.tensors[n].is_constant]
        if not activations or not all(n in from_float for n in activations):
            continue
        removed.add(op.name)
        for name in op.outputs:
            if _is_integer(graph, name):
                entries[name] = origin[activations[0]]
            else:
                from_float.add(name)
                origin[name] = origin[activations[0]]
    needed = {n for op in graph.ops if op.name not in removed for n in op.inputs} | set(graph.outputs)
    if not entries or needed & from_float:
        # Some float values are still wanted: leave everything, so that the operators that want them are named.
        return graph
    layouts = {i.tensor: i for i in graph.inputs}
    inputs = [i for i in graph.inputs if i.tensor not in from_float]
    for name, source in entries.items():
        is_direct = graph.tensors[name].shape == graph.tensors[source].shape
        layout = layouts[source].source_layout if is_direct else ""
        inputs.append(GraphInput(name, layout, "float32", layouts[source].preprocess))
    cut = [op for op in graph.ops if op.name in removed]
    note = f"float head cut: {_listed(cut)}; the input is what it made of {', '.join(entries.values())}"
    kept = replace(graph, inputs=tuple(inputs), notes=(*graph.notes, note))
    kept = kept.with_ops(op for op in graph.ops if op.name not in removed)
    # The user's name stays with the only input made from it; the operator's own name would mean nothing to them.
    sources = list(entries.values())
    return rename_tensors(kept, {name: source for name, source in entries.items() if sources.count(source) == 1})


def rename_tensors(graph: Graph, names: dict[str, str]) -> Graph:
    """The graph with tensors renamed everywhere; new names must be free."""
    tensors = {names.get(n, n): replace(t, name=names.get(n, n)) for n, t in graph.tensors.items()}
    return replace(
        graph,
        inputs=tuple(replace(i, tensor=names.get(i.tensor, i.tensor)) for i in graph.inputs),
        outputs=tuple(names.get(n, n) for n in graph.outputs),
        tensors=tensors,
        ops=tuple(op.renamed(names) for op in graph.ops),
        states=tuple(replace(s, write=names.get(s.write, s.write)) for s in graph.states),
    )


def _cut_tail(graph: Graph) -> Graph:
    """Integer tensors that only float outputs are made from become the outputs."""
    removed: set[str] = set()
    outputs = list(graph.outputs)
    layouts = dict(zip(graph.outputs, graph.output_layouts, strict=False))
    changed = True
    while changed:
        changed = False
        for op in reversed(graph.ops):
            if op.name in removed or not _only_feeds_outputs(graph, op, outputs, removed):
                continue
            if any(_is_integer(graph, n) for n in op.outputs) or any(n in graph.input_names for n in op.inputs):
                continue
            removed.add(op.name)
            position = min(outputs.index(n) for n in op.outputs if n in outputs)
            outputs = [n for n in outputs if n not in op.outputs]
            sources = [n for n in op.inputs if not graph.tensors[n].is_constant and n not in outputs]
            outputs[position:position] = sources
            layouts |= {n: _layout_before(graph, op, n, layouts) for n in sources if layouts}
            changed = True
    if not removed or not all(_is_integer(graph, n) for n in outputs):
        return graph
    cut = [op for op in graph.ops if op.name in removed]
    note = f"float tail cut: {_listed(cut)}; the output is {', '.join(outputs)}"
    known = tuple(layouts.get(n, "") for n in outputs)
    kept = replace(
        graph, outputs=tuple(outputs), notes=(*graph.notes, note), output_layouts=known if any(known) else ()
    )
    return kept.with_ops(op for op in graph.ops if op.name not in removed)


def _layout_before(graph: Graph, op: o.Op, source: str, layouts: dict[str, str]) -> str:
    """The axis order of a cut operator's operand: its result's, where that has the same shape."""
    is_same = graph.tensors[source].shape == graph.tensors[op.outputs[0]].shape
    return layouts.get(op.outputs[0], "") if is_same else ""


def _only_feeds_outputs(graph: Graph, op: o.Op, outputs: list[str], removed: set[str]) -> bool:
    return any(n in outputs for n in op.outputs) and all(
        consumer.name in removed for n in op.outputs for consumer in graph.consumers(n)
    )


def _listed(ops: list[o.Op]) -> str:
    return ", ".join(f"{op.name} ({op.kind})" for op in ops)
