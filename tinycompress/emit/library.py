"""A plan as template contexts: names, arena table, tensors, program, arrays."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tinycompress.emit.arrays import initialiser, integer, wrapped
from tinycompress.emit.contexts import (
    ArrayContext,
    IoContext,
    ModelContext,
    ProgramLine,
    ScratchContext,
    TensorContext,
    WeightsContext,
)
from tinycompress.emit.describe import operator_text, shape_text
from tinycompress.emit.interface import dequantizers, feed, inputs_and_outputs, quantizers, states
from tinycompress.emit.layers import LayerWriter, Naming
from tinycompress.emit.names import Names, comment_text, prefix_for
from tinycompress.emit.usage import usage
from tinycompress.ir.graph import Rounding
from tinycompress.plan.model import ARENA_ALIGN, INPUT_ROWS, LayerPlan, Plan

_RESERVED = (
    "inputs", "outputs", "state", "state_reset", "invoke", "run", "program", "quantize_input", "dequantize_output",
)  # fmt: skip
_RESERVED_FED = ("begin", "row", "push_row", "end", "advance", "progress", "progress_fits", "quantize_row")
STEPS_PER_LINE = 24


def name_library(plan: Plan, prefix: str | None = None) -> Naming:
    """C names for everything in the plan. Only the names depend on the user's strings."""
    prefix = prefix or prefix_for(plan.graph.name)
    reserved = (*_RESERVED, *_RESERVED_FED) if plan.fed_input else _RESERVED
    conversions = (
        *(f"quantize_{name}" for name in plan.graph.input_names),
        *(f"dequantize_{name}" for name in plan.graph.outputs),
    )
    files = Names((*reserved, *conversions))
    functions: dict[int, str] = {}
    params: dict[int, str] = {}
    arrays: dict[tuple[int, str], str] = {}
    for layer in plan.layers:
        stem = files.fresh(layer.op.name, "layer")
        functions[layer.index] = f"{prefix}_{stem}"
        params[layer.index] = f"{prefix}_{files.fresh(f'{stem}_params')}"
        for array in layer.packed.arrays:
            arrays[layer.index, array.field] = f"{prefix}_{files.fresh(f'{stem}_{array.field}')}"
    stems = {name: files.fresh(name) for name in plan.placements}
    tables: dict[tuple[int, ...], str] = {}
    for name, placement in plan.placements.items():
        if not placement.is_contiguous and placement.offsets not in tables:
            tables[placement.offsets] = f"{prefix}_{files.fresh(f'{stems[name]}_words')}"
    fills = {fill: f"{'n' if fill < 0 else ''}{abs(fill)}" for fill, _ in plan.padding_rows}
    members = Names()
    scratch = Names()
    return Naming(
        prefix=prefix,
        tensors={name: f"{prefix}_{stem}" for name, stem in stems.items()},
        functions=functions,
        params=params,
        arrays=arrays,
        tables={n: tables[p.offsets] for n, p in plan.placements.items() if p.offsets in tables},
        states={s.read: members.fresh(s.read) for s in plan.graph.states},
        padding={fill: f"{prefix}_{files.fresh(f'padding_{text}')}" for fill, text in fills.items()},
        scratch={
            layer.index: f"{prefix.upper()}_SCRATCH_{scratch.fresh(layer.op.name, 'layer').upper()}"
            for layer in plan.layers
            if layer.scratch_bytes or layer.accumulator_bytes
        },
    )


def model_context(plan: Plan, naming: Naming, headers: Mapping[str, str], model_hash: str) -> ModelContext:
    """Everything the header and the schedule say. `headers` is the text of the kernel headers by file name."""
    writer = LayerWriter(plan, naming, headers)
    layers = tuple(writer.context(layer) for layer in plan.layers)
    inputs, outputs = inputs_and_outputs(plan)
    peak = plan.layers[plan.peak_layer] if plan.layers else None
    used = {r.tensor for layer in layers for r in (*layer.reads, *layer.writes)}
    used |= {naming.tensors[state.write] for state in plan.graph.states}
    used |= {naming.tensors[plan.fed_input]} if plan.fed_input else set()
    tensors = tuple(_tensor(plan, naming, n) for n in plan.placements if naming.tensors[n] in used)
    program = _program(plan) if plan.is_interleaved or plan.fed_input else ()
    reads_state = any(r.base != "arena" for layer in layers for r in layer.reads)
    run_buffers = _run_buffers(naming.macro, inputs, outputs, bool(plan.graph.states))
    made, read = tuple(quantizers(plan, inputs)), tuple(dequantizers(plan, outputs))
    functions = {q.function for q in made} | {d.function for d in read} | ({"run"} if run_buffers else set())
    return ModelContext(
        prefix=naming.prefix,
        macro=naming.macro,
        model_hash=model_hash,
        layer_count=len(plan.layers),
        arena_bytes=plan.arena_bytes,
        arena_align=ARENA_ALIGN,
        arena_note=f"peak working set, at layer {peak.index} ({comment_text(peak.op.name)})" if peak else "in and out",
        state_bytes=plan.state_bytes,
        inputs=inputs,
        outputs=outputs,
        states=states(plan, naming),
        state_argument=f"{naming.prefix}_state *state, " if plan.graph.states else "",
        quantizers=made,
        dequantizers=read,
        run_buffers=run_buffers,
        usage=usage(naming.prefix, inputs, outputs, functions, has_state=bool(plan.graph.states)),
        feed=feed(plan, naming, layers_read_state=reads_state),
        is_single_rounding=plan.graph.rounding is Rounding.SINGLE,
        headers=tuple(sorted({"tc_rows.h", "tc_quantize.h", *(layer.kernel.header for layer in plan.layers)})),
        bound_note=_bound_note(plan),
        arena_table=_arena_table(plan),
        tensors=tensors,
        tables=tuple({t.table: t for t in reversed(tensors) if t.table}.values())[::-1],
        scratch=tuple(
            ScratchContext(naming.scratch[layer.index], *_work_memory(layer))
            for layer in plan.layers
            if layer.index in naming.scratch
        ),
        layers=layers,
        program=program,
        program_steps=len(plan.steps),
        program_type="uint8_t" if len(plan.layers) + bool(plan.fed_input) <= 256 else "uint16_t",
    )


def _run_buffers(macro: str, inputs: tuple[IoContext, ...], outputs: tuple[IoContext, ...], has_state: bool) -> str:
    if len(inputs) != 1 or len(outputs) != 1 or has_state:
        return ""
    sizes = [
        f"{macro}_{kind}_BYTES" if io.elements == io.bytes else str(io.elements)
        for kind, io in (("INPUT", inputs[0]), ("OUTPUT", outputs[0]))
    ]
    return f"const {inputs[0].c_type} in[{sizes[0]}], {outputs[0].c_type} out[{sizes[1]}]"


def _bound_note(plan: Plan) -> str:
    if plan.arena_is_optimal:
        return f"optimal for {plan.bound_scope}"
    return f"lower bound {plan.arena_lower_bound_bytes} B for {plan.bound_scope}"


def _tensor(plan: Plan, naming: Naming, name: str) -> TensorContext:
    placement = plan.placements[name]
    table = naming.tables.get(name)
    description = f"{name} {shape_text(plan.graph.tensors[name])}"
    if placement.view_of:
        description += f", the bytes of {placement.view_of}"
    return TensorContext(
        name=naming.tensors[name],
        description=description,
        rows=len(placement.offsets),
        row_bytes=placement.row_bytes,
        at=placement.offsets[0],
        table=table,
        words=wrapped(f"{offset // 4}u" for offset in placement.offsets) if table else "",
    )


def _lifetimes(plan: Plan) -> dict[str, tuple[str, str]]:
    """First and last layer that touch each tensor, as text; `in` and `out` stand for the caller."""
    first: dict[str, str] = dict.fromkeys(plan.graph.input_names, "in")
    last: dict[str, str] = dict(first)
    for layer in plan.layers:
        for name in layer.op.outputs:
            first[name] = last[name] = str(layer.index)
        for name in layer.op.inputs:
            last[name] = str(layer.index)
    for view in plan.views:
        first[view.output] = first.get(view.inputs[0], "")
        last.setdefault(view.output, first[view.output])
    last.update(dict.fromkeys(plan.graph.outputs, "out"))
    return {name: (first[name], last[name]) for name in first if name in plan.placements}


def _arena_table(plan: Plan) -> tuple[str, ...]:
    """The arena's buffers by offset: where, how large, during which layers, what."""
    producers = {name: layer for layer in plan.layers for name in layer.op.outputs}
    overwritten = _overwritten(plan)
    rows: list[tuple[int, int, str]] = []
    for name, (begin, end) in _lifetimes(plan).items():
        placement = plan.placements[name]
        if placement.in_state:
            continue
        layer = producers.get(name)
        what = f"{layer.op.name}: {operator_text(layer.op, plan.graph)}" if layer else "input"
        what += ", fed by rows" if name == plan.fed_input else ""
        if name in overwritten:
            what += f", written over {overwritten[name]}"
        if placement.view_of:
            what = f"view of {placement.view_of}"
        shape = shape_text(plan.graph.tensors[name])
        where = f"{placement.offsets[0]:7}" if placement.is_contiguous else "   rows"
        size = placement.row_bytes * len(placement.offsets)
        text = f" {where} {size:7}   {f'{begin}..{end}':8}  {name} {shape}  {what}"
        rows.append((placement.offsets[0], 0, text))
    for layer in plan.layers:
        if layer.scratch_bytes or layer.accumulator_bytes:
            at, size = _work_memory(layer)
            what = "running sums" if layer.accumulator_bytes else "scratch"
            live = f"{layer.index}..{layer.index}"
            rows.append((at, 1, f" {at:7} {size:7}   {live:8}  {what} of {layer.op.name}"))
    if plan.fed_input:
        at, size = plan.progress_offset, plan.progress_bytes
        rows.append((at, 2, f" {at:7} {size:7}   {'in..out':8}  progress between rows"))
    return tuple(text for _, _, text in sorted(rows))


def _work_memory(layer: LayerPlan) -> tuple[int, int]:
    """(offset, bytes) of what a kernel gets as `scratch`: its running sums, else its scratch."""
    if layer.accumulator_bytes:
        return layer.accumulator_offset, layer.accumulator_bytes
    return layer.scratch_offset, layer.scratch_bytes


def _overwritten(plan: Plan) -> dict[str, str]:
    """Outputs that an element-wise layer writes over an operand, row by row, and that operand."""
    found: dict[str, str] = {}
    for layer in plan.layers:
        for position in layer.kernel.in_place:
            name, made = layer.op.inputs[position], layer.op.outputs[0]
            if name in plan.placements and plan.placements[name].offsets == plan.placements[made].offsets:
                found.setdefault(made, name)
    return found


def _program(plan: Plan) -> tuple[ProgramLine, ...]:
    """The steps in lines, each with what it runs; a line begins with a row of a fed input, else of the first layer."""
    opener = INPUT_ROWS if plan.fed_input else 0
    lines: list[list[int]] = [[]]
    for step in plan.steps:
        opens_again = step.layer == opener and lines[-1] and lines[-1][-1] != opener
        if opens_again or len(lines[-1]) == STEPS_PER_LINE:
            lines.append([])
        lines[-1].append(step.layer)
    result = []
    for line in lines:
        runs = [(layer, len(list(group))) for layer, group in itertools.groupby(line)]
        names = " ".join(f"{_step_name(plan, i)}{f' x{n}' if n > 1 else ''}" for i, n in runs)
        result.append(ProgramLine(names, wrapped(str(opcode(plan, layer)) for layer in line)))
    return tuple(result)


def _step_name(plan: Plan, layer: int) -> str:
    return "row" if layer == INPUT_ROWS else plan.layers[layer].op.name


def opcode(plan: Plan, layer: int) -> int:
    """What stands in the program for a step of `layer`; rows of the input follow the layers."""
    return len(plan.layers) if layer == INPUT_ROWS else layer


def weights_context(plan: Plan, naming: Naming) -> WeightsContext:
    """All constant arrays: packed weights in layer order, padding rows, initial states."""
    arrays = []
    for layer in plan.layers:
        for packed in layer.packed.arrays:
            arrays.append(
                ArrayContext(
                    name=naming.arrays[layer.index, packed.field],
                    c_type=packed.c_type,
                    count=int(packed.data.size),
                    alignment=max(packed.alignment, packed.data.dtype.itemsize),
                    comment=f"{layer.op.name}: {packed.comment}",
                    values=initialiser(packed.data),
                )
            )
    for fill, size in plan.padding_rows:
        comment = f"a row of zero point {fill}: vertical padding"
        values = wrapped(integer(fill) for _ in range(size))
        arrays.append(ArrayContext(naming.padding[fill], "int8_t", size, 4, comment, values))
    for state in plan.graph.states:
        if state.initial is not None:
            data = plan.graph.tensors[state.initial].constant
            name = f"{naming.prefix}_{naming.states[state.read]}_initial"
            kind = plan.graph.tensors[state.initial].dtype.c_type
            arrays.append(ArrayContext(name, kind, int(data.size), 4, f"first {state.read}", initialiser(data)))
    return WeightsContext(naming.prefix, naming.macro, tuple(arrays))
