"""A plan as template contexts: names, inputs and outputs, arena table, arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycompress.emit.arrays import initialiser, integer, wrapped
from tinycompress.emit.contexts import (
    ArrayContext,
    IoContext,
    ModelContext,
    ProgramLine,
    QuantizerContext,
    ScratchContext,
    StateContext,
    TensorContext,
    WeightsContext,
)
from tinycompress.emit.describe import input_notes, operator_text, shape_text, tensor_text
from tinycompress.emit.layers import LayerWriter, Naming
from tinycompress.emit.names import Names, comment_text, prefix_for
from tinycompress.errors import UnsupportedOpError
from tinycompress.ir.fixedpoint import integer_range
from tinycompress.ir.graph import GraphInput, Rounding
from tinycompress.ir.tensor import Tensor
from tinycompress.plan.model import ARENA_ALIGN, LayerPlan, Plan

_RESERVED = (
    "inputs", "outputs", "state", "state_reset", "invoke", "run", "program", "quantize_input",
)  # fmt: skip
STEPS_PER_LINE = 24


def name_library(plan: Plan, prefix: str | None = None) -> Naming:
    """C names for everything in the plan. Only the names depend on the user's strings."""
    prefix = prefix or prefix_for(plan.graph.name)
    files = Names((*_RESERVED, *(f"quantize_{i}" for i in plan.graph.input_names)))
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
    scattered = [n for n, p in plan.placements.items() if not p.is_contiguous]
    fills = {fill: f"{'n' if fill < 0 else ''}{abs(fill)}" for fill, _ in plan.padding_rows}
    members = Names()
    scratch = Names()
    return Naming(
        prefix=prefix,
        tensors={name: f"{prefix}_{stem}" for name, stem in stems.items()},
        functions=functions,
        params=params,
        arrays=arrays,
        tables={n: f"{prefix}_{files.fresh(f'{stems[n]}_words')}" for n in scattered},
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
    inputs, outputs = _ios(plan, naming)
    peak = plan.layers[plan.peak_layer] if plan.layers else None
    used = {r.tensor for layer in layers for r in (*layer.reads, *layer.writes)}
    used |= {naming.tensors[state.write] for state in plan.graph.states}
    tensors = tuple(_tensor(plan, naming, n) for n in plan.placements if naming.tensors[n] in used)
    program = () if plan.schedule == "layers" else _program(plan)
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
        states=_states(plan, naming),
        state_argument=f"{naming.prefix}_state *state, " if plan.graph.states else "",
        quantizers=tuple(_quantizers(plan, inputs)),
        has_run=len(inputs) == len(outputs) == 1 and not plan.graph.states,
        is_single_rounding=plan.graph.rounding is Rounding.SINGLE,
        headers=tuple(sorted({"tc_rows.h", "tc_quantize.h", *(layer.kernel.header for layer in plan.layers)})),
        bound_note=_bound_note(plan),
        arena_table=_arena_table(plan, naming),
        tensors=tensors,
        tables=tuple(t for t in tensors if t.table),
        scratch=tuple(
            ScratchContext(naming.scratch[layer.index], *_work_memory(layer))
            for layer in plan.layers
            if layer.index in naming.scratch
        ),
        layers=layers,
        program=program,
        program_steps=len(plan.steps),
        program_type="uint8_t" if len(plan.layers) <= 256 else "uint16_t",
    )


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


def _arena_table(plan: Plan, naming: Naming) -> tuple[str, ...]:
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


def _ios(plan: Plan, naming: Naming) -> tuple[tuple[IoContext, ...], tuple[IoContext, ...]]:
    inputs, outputs = Names(), Names()
    graph = plan.graph
    made_inputs = tuple(
        _io(plan, i.tensor, inputs.fresh(i.tensor), "INPUT", len(graph.inputs) == 1, input_notes(i))
        for i in graph.inputs
    )
    made_outputs = tuple(
        _io(plan, name, outputs.fresh(name), "OUTPUT", len(graph.outputs) == 1, ()) for name in graph.outputs
    )
    return made_inputs, made_outputs


def _io(plan: Plan, name: str, member: str, kind: str, is_only: bool, notes: tuple[str, ...]) -> IoContext:
    tensor = plan.graph.tensors[name]
    q = tensor.qparams
    return IoContext(
        member=member,
        macros=(f"{kind}_{member.upper()}", kind) if is_only else (f"{kind}_{member.upper()}",),
        c_type=tensor.dtype.c_type,
        elements=tensor.elements,
        bytes=tensor.bytes,
        offset=plan.placements[name].offsets[0],
        source=tensor.source or name,
        description=tensor_text(tensor),
        notes=notes if q else (),
        scale=_float(q.tensor_scale) if q else None,
        zero_point=q.tensor_zero_point if q else None,
    )


def _float(value: float) -> str:
    """A C float constant that reads back as the same float32."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def _states(plan: Plan, naming: Naming) -> tuple[StateContext, ...]:
    states = []
    for state in plan.graph.states:
        tensor = plan.graph.tensors[state.read]
        written = plan.placements[state.write]
        if written.in_state or state.write in naming.tables:
            raise UnsupportedOpError(
                "TC-M504", f"state {state.read!r} keeps {state.write!r}, which is itself state", where=plan.graph.name
            )
        initial = str(tensor.quantization.tensor_zero_point if tensor.qparams else 0)
        if state.initial is not None:
            initial = f"{naming.prefix}_{naming.states[state.read]}_initial[i]"
        states.append(
            StateContext(
                member=naming.states[state.read],
                c_type=tensor.dtype.c_type,
                elements=tensor.elements,
                description=tensor_text(tensor),
                initial=initial,
                write_at=f"{naming.tensors[state.write]}.offset",
            )
        )
    return tuple(states)


def _quantizers(plan: Plan, inputs: tuple[IoContext, ...]) -> list[QuantizerContext]:
    found = []
    for item, io in zip(plan.graph.inputs, inputs, strict=True):
        tensor = plan.graph.tensors[item.tensor]
        if tensor.qparams is not None and tensor.dtype.itemsize <= 2:
            function = "quantize_input" if len(inputs) == 1 else f"quantize_{io.member}"
            found.append(_quantizer(item, tensor, function))
    return found


def _quantizer(item: GraphInput, tensor: Tensor, function: str) -> QuantizerContext:
    p = item.preprocess
    channels = tensor.shape[-1] if tensor.shape else 1
    outer = tensor.elements // channels
    channels_first = len(tensor.shape) > 1 and len(item.source_layout) > 1 and item.source_layout[0] == "C"
    low, high = integer_range(tensor.dtype)
    per_channel = len(p.mean) > 1 or len(p.std) > 1
    mean, std = (v * channels if per_channel and len(v) == 1 else v for v in (p.mean, p.std))
    layout = f" ({item.source_layout})" if item.source_layout else ""
    return QuantizerContext(
        function=function,
        comment=f"The user's {tensor.elements} values{layout} as input {item.tensor!r}, preprocessing included.",
        c_type=tensor.dtype.c_type,
        outer=outer,
        channels=channels,
        source_index=f"c * {outer} + i" if channels_first else f"i * {channels} + c",
        is_identity=p.is_identity,
        user_scale=_float(p.scale),
        mean=tuple(_float(v) for v in mean),
        std=tuple(_float(v) for v in std),
        scale=_float(tensor.quantization.tensor_scale),
        zero_point=tensor.quantization.tensor_zero_point,
        low=low,
        high=high,
    )


def _program(plan: Plan) -> tuple[ProgramLine, ...]:
    """The steps in lines of STEPS_PER_LINE, each with the layers it runs."""
    lines = []
    for start in range(0, len(plan.steps), STEPS_PER_LINE):
        steps = plan.steps[start : start + STEPS_PER_LINE]
        runs: list[list[int]] = []
        for step in steps:
            if runs and runs[-1][0] == step.layer:
                runs[-1][1] += 1
            else:
                runs.append([step.layer, 1])
        names = " ".join(f"{plan.layers[i].op.name}{f' x{n}' if n > 1 else ''}" for i, n in runs)
        lines.append(ProgramLine(names, wrapped(str(step.layer) for step in steps)))
    return tuple(lines)


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
